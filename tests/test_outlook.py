"""What a plan says beyond its decisions: what else fits, time, host and disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_plan import CPU, H200, PEFT, RTX_4090, SMALL, plan, recipe
from unsloth_ft.hardware import GIB, Gpu
from unsloth_ft.outlook import measured_rate, memory_record, outlook, pace, rate_key, rates_file, remember_rate


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNSLOTH_FT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_fits_is_told_for_both_bases_and_both_ways_and_grows_with_what_saves_memory():
    found = outlook(recipe(), plan(), RTX_4090, tokens_a_row=160).fits
    assert [(one.load_in_4bit, one.gradient_checkpointing) for one in found] == [
        (False, False), (False, "unsloth"), (True, False), (True, "unsloth"),
    ]  # fmt: skip
    (plain, checkpointed, quantized, both) = found
    for least, more, most in ((plain, checkpointed, both), (plain, quantized, both)):
        assert 0 < least.longest_tokens < more.longest_tokens < most.longest_tokens
        assert 0 < least.most_rows < more.most_rows < most.most_rows


def test_the_disk_is_download_checkpoints_and_adapter():
    assert outlook(recipe(), plan(), RTX_4090, tokens_a_row=160).disk_bytes == {
        "base model": 2 * 8_030_261_248,
        "checkpoints": 3 * 12 * 41_943_040,  # two are kept, and one is being written
        "adapter": 4 * 41_943_040,
    }


def test_the_time_on_a_card_is_that_of_its_published_rate_or_of_starting_its_kernels():
    short, long = (pace(plan(hardware=H200), H200, tokens_a_row=tokens) for tokens in (10, 500))
    assert short.step_seconds == pytest.approx(32 * 0.0065)  # one pass of 32 layers
    assert long.step_seconds == pytest.approx(8 * 500 * 28.9e9 / (0.35 * 989.5e12), rel=0.05)
    assert long.run_seconds == pytest.approx(228 * long.step_seconds)
    assert long.basis == (
        "± 30%, at 35% of the card's published rate, as measured on an H100 and an H200; a probe would measure it here"
    )


@pytest.mark.parametrize(("hardware", "what"), [(CPU, "this CPU"), (replace(CPU, gpus=(Gpu("a card", 24 * GIB, (8, 0)),)), "a card")])
def test_a_rate_that_is_not_known_is_not_guessed(hardware, what: str):
    found = pace(plan(hardware=hardware, model=SMALL), hardware, tokens_a_row=100)
    assert (found.step_seconds, found.run_seconds, found.basis) == (None, None, f"the rate of {what} isn't known; --probe measures it")


def test_a_rate_that_was_probed_is_taken_by_later_plans_of_the_same_kind():
    made = plan(model=SMALL, hardware=CPU, backend=PEFT)
    key = rate_key(made.fitting.work, CPU)
    assert key == "EPYC 9V74, 2 cores; peft; bfloat16; 4-bit; LlamaForCausalLM of 576"
    remember_rate("another", 1.0)
    remember_rate(key, 2e11)
    assert (measured_rate(key), measured_rate("another")) == (2e11, 1.0)
    found = pace(made, CPU, tokens_a_row=100)
    assert found.basis == "at the rate that a probe measured on this machine"
    assert found.step_seconds == pytest.approx(8 * 100 * 564e6 / 2e11, rel=0.2)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": "fast"}', '{"a": -1.0}'])
def test_a_damaged_file_of_rates_is_none_and_is_written_anew(text: str):
    rates_file().parent.mkdir(parents=True)
    rates_file().write_text(text, encoding="utf-8")
    assert measured_rate("a") is None
    remember_rate("b", 3.0)
    assert measured_rate("b") == 3.0


def test_the_record_holds_the_table_and_the_outlook():
    told = memory_record(recipe(), plan(), RTX_4090, tokens_a_row=160)
    assert list(told) == [
        "available_bytes", "where", "fits", "micro_batch", "load_in_4bit", "checkpointing", "basis", "phases", "what_fits", "time",
        "host_bytes", "disk_bytes",
    ]  # fmt: skip
    for phase in told["phases"]:
        assert phase["bytes"] == sum(phase["parts"].values())
