"""Peaks that were measured on this machine: kept, used, never undercut, and forgotten."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.test_memory import LLAMA, SMOLLM2, work
from tests.test_plan import CPU, FAQ, H200, PEFT, SMALL, recipe
from unsloth_ft import measured
from unsloth_ft.measured import Measured
from unsloth_ft.memory import estimate
from unsloth_ft.memory_values import EVALUATION, TRAINING, Batch, Work
from unsloth_ft.outlook import measured_rate, remember_rate
from unsloth_ft.plan import resolve
from unsloth_ft.plan_memory import cost


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNSLOTH_FT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNSLOTH_FT_REMEMBER", "1")
    return tmp_path / "cache"


def on_cpu(rows: int, longest: int, **values) -> Work:
    batch = Batch.padded(rows, longest)
    return work(model=SMOLLM2, backend="fused", device="cpu", load_in_4bit=False, training=batch, evaluation=batch, **values)


def of(found: Work, ratio: float, source: str = "run") -> Measured:
    """As if a run had taken so many times what the table says."""
    return Measured(found, {TRAINING: int(ratio * estimate(found).phase(TRAINING).tensor_bytes)}, source)


def with_peaks(found: Work, *points: Measured) -> Work:
    return replace(found, corrections=measured.corrections([point.as_json() for point in points]))


# What is kept


def test_what_is_remembered_is_known_on_the_same_machine_and_backend_alone(cache: Path):
    one, again = of(on_cpu(8, 128), 1.2), of(on_cpu(8, 128), 1.3)
    measured.remember(one, CPU)
    assert [Measured.of(entry) for entry in measured.known(CPU, "fused")] == [one]
    measured.remember(again, CPU)  # the same work: the newer one counts
    measured.remember(of(on_cpu(8, 128), 1.1, "probe"), CPU)
    assert [(entry["source"], entry["peaks"]) for entry in measured.known(CPU, "fused")] == [
        ("run", again.peaks), ("probe", of(on_cpu(8, 128), 1.1).peaks),
    ]  # fmt: skip
    assert measured.known(CPU, "peft") == measured.known(H200, "fused") == measured.known(replace(CPU, cpu_count=4), "fused") == []
    assert [path.name for path in cache.iterdir()] == ["peaks.json"]


def test_the_newest_64_are_kept():
    for tokens in range(70):
        measured.remember(of(on_cpu(1, 64 + tokens), 1.0), CPU)
    kept = [entry["work"]["training"]["longest"] for entry in measured.known(CPU, "fused")]
    assert kept == list(range(64 + 6, 64 + 70))


def test_another_version_of_the_backend_measures_anew(monkeypatch: pytest.MonkeyPatch):
    measured.remember(of(on_cpu(8, 128), 1.2), CPU)
    monkeypatch.setattr(measured, "version", lambda package: "0.20.0" if package == "peft" else "2.11.0")
    assert measured.known(CPU, "fused") == []
    assert [measured.machine_key(CPU, name) for name in ("fused", "unsloth")] == [
        "EPYC 9V74, 2 cores; fused; peft 0.20.0; torch 2.11.0", "EPYC 9V74, 2 cores; unsloth; unsloth 2.11.0; torch 2.11.0",
    ]  # fmt: skip


def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_run(cache: Path):
    cache.write_text("a file", encoding="utf-8")
    says = (
        "what was measured here is not kept for later plans: $UNSLOTH_FT_CACHE or ~/.cache/unsloth-ft can't be written (File exists). "
        "Set UNSLOTH_FT_CACHE to a folder that can be."
    )
    assert measured.remember(of(on_cpu(8, 128), 1.2), CPU) == (says,)
    assert remember_rate("a", 1.0) == (says,)
    assert (measured.known(CPU, "fused"), measured_rate("a")) == ([], None)


def test_processes_that_measure_at_once_all_keep_what_they_measured(cache: Path):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda tokens: measured.remember(of(on_cpu(1, 64 + tokens), 1.0), CPU), range(40)))
    assert sorted(entry["work"]["training"]["longest"] for entry in measured.known(CPU, "fused")) == list(range(64, 104))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "peaks": {}}', '{"format": 1, "peaks": []}', '{"format": 1}'])
def test_a_damaged_file_is_none_and_is_written_anew(text: str, cache: Path):
    cache.mkdir()
    measured.file().write_text(text, encoding="utf-8")
    assert measured.known(CPU, "fused") == []
    measured.remember(of(on_cpu(8, 128), 1.2), CPU)
    assert len(measured.known(CPU, "fused")) == 1


def test_an_entry_of_another_version_is_left_out():
    good = of(on_cpu(8, 128), 1.2).as_json()
    bad = [
        {}, {"work": good["work"]}, good | {"peaks": {TRAINING: "much"}}, good | {"peaks": {TRAINING: 0}}, good | {"peaks": []},
        good | {"peaks": {TRAINING: float("inf")}},
        good | {"work": good["work"] | {"colour": "blue"}}, good | {"work": good["work"] | {"r": "many"}},
    ]  # fmt: skip
    assert measured.corrections(bad) == ()
    assert measured.corrections([*bad, good]) == measured.corrections([good]) != ()


def test_nothing_is_kept_or_known_where_that_is_switched_off(monkeypatch: pytest.MonkeyPatch):
    measured.remember(of(on_cpu(8, 128), 1.2), CPU)
    monkeypatch.setenv("UNSLOTH_FT_REMEMBER", "0")
    assert measured.known(CPU, "fused") == []
    measured.remember(of(on_cpu(1, 64), 1.2), CPU)
    monkeypatch.setenv("UNSLOTH_FT_REMEMBER", "1")
    assert len(measured.known(CPU, "fused")) == 1


def test_what_is_kept_can_be_forgotten(cache: Path):
    from tests.cli.calling import call

    measured.remember(of(on_cpu(8, 128), 1.2), CPU)
    (cache / "rates.json").write_text("{}", encoding="utf-8")
    (cache / "a model").mkdir()
    assert call("doctor", "--forget").out == "forgotten: peaks.json, rates.json\n"
    assert [path.name for path in cache.iterdir()] == ["a model"]
    assert json.loads(call("doctor", "--forget", "--json").out) == {"forgotten": []}


# What it makes of the estimate


@pytest.mark.parametrize("ratio", [0.6, 0.9, 1.0, 1.4, 3.0])
def test_the_same_work_is_estimated_as_it_was_measured(ratio: float):
    bare = on_cpu(8, 256)
    point = of(bare, ratio)
    found = estimate(with_peaks(bare, point)).phase(TRAINING)
    assert found.bytes == pytest.approx(point.peaks[TRAINING], abs=16) and found.bytes >= point.peaks[TRAINING]
    assert found.bound == 0.1
    counted = [{part.name: part.bytes for part in one.parts if part.name in ("base weights", "LoRA weights", "gradients", "optimizer state")}
               for one in (found, estimate(bare).phase(TRAINING))]  # fmt: skip
    assert counted[0] == counted[1]


def test_the_plan_says_what_corrected_it_and_a_phase_that_was_not_measured_stays():
    bare = on_cpu(8, 256)
    found = estimate(with_peaks(bare, of(bare, 1.4), of(bare, 1.3, "probe")))
    assert found.basis == f"{estimate(bare).basis}; corrected by 2 peaks that a probe and run measured on this machine"
    assert found.phase(EVALUATION) == estimate(bare).phase(EVALUATION)


@pytest.mark.parametrize(
    "other",
    [
        on_cpu(8, 256, gradient_checkpointing=True),
        on_cpu(8, 256, target_modules=("q_proj",)),
        replace(on_cpu(8, 256), load_in_4bit=True),
        replace(on_cpu(8, 256), model=LLAMA),
    ],
    ids=["checkpointing", "target modules", "4 bits", "model"],
)
def test_other_kinds_of_work_are_estimated_as_before(other: Work):
    assert estimate(with_peaks(other, of(on_cpu(8, 256), 1.4))) == estimate(other)


def test_nothing_that_takes_more_of_everything_is_estimated_below_a_measured_peak():
    small, large = of(on_cpu(8, 256), 2.0), of(on_cpu(8, 1024), 0.8)
    for other in (on_cpu(8, 300), on_cpu(16, 256), on_cpu(8, 256, r=32), on_cpu(9, 256)):
        assert estimate(with_peaks(other, small, large)).phase(TRAINING).bytes >= small.peaks[TRAINING]


def test_the_corrected_estimate_only_grows_with_the_batch():
    points = [of(on_cpu(8, 256), 1.3), of(on_cpu(2, 64), 0.7), of(on_cpu(8, 900), 1.1)]
    found = [estimate(with_peaks(on_cpu(8, longest), *points)).phase(TRAINING).bytes for longest in range(32, 2048, 32)]
    assert all(smaller <= larger for smaller, larger in pairwise(found))


def test_far_from_what_was_measured_the_bound_is_the_table_s_until_three_points_agree():
    far, table = on_cpu(1, 4096), estimate(on_cpu(1, 4096)).phase(TRAINING).bound
    near = [of(on_cpu(8, 64 * at), 1.2 + at / 100) for at in (1, 2, 4)]
    assert estimate(with_peaks(far, *near[:2])).phase(TRAINING).bound == table
    assert estimate(with_peaks(far, *near)).phase(TRAINING).bound == 0.1
    spread = [of(on_cpu(8, 64 * at), ratio) for at, ratio in ((1, 0.5), (2, 1.0), (4, 2.0))]
    assert estimate(with_peaks(far, *spread)).phase(TRAINING).bound == pytest.approx(2.0)  # 0.5, of which the others say 1.5


def test_a_plan_rests_on_what_was_measured_here():
    hardware = replace(CPU, memory_bytes=8 * 2**30)

    def planned(*points: Measured) -> Work:
        found = resolve(recipe(), FAQ, SMALL, hardware, PEFT, corrections=measured.corrections([point.as_json() for point in points]))
        assert found.fitting.fits
        return found.fitting.work

    before = planned()
    assert cost(planned(of(before, 0.9)), 8) <= cost(before, 8) < cost(planned(of(before, 3.0)), 8)
