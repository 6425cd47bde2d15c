from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.sample import GPU, everything, four_legs, leg, measurement, on_gpu
from tests.cli.calling import call
from tests.report.pages import Reader
from unsloth_ft.bench import markdown, page
from unsloth_ft.bench.contents import contents
from unsloth_ft.bench.measurement import write
from unsloth_ft.bench.report import report
from unsloth_ft.errors import UserError

SECTIONS = [
    "Where we are slower, or need more",
    "Invalid or not finished",
    "Speed and memory",
    "How it grows: data-preparation (Intel Xeon)",
    "How it grows: memory-length (Intel Xeon)",
    "How it grows: memory-rank (Intel Xeon)",
    "The longest row that trains: context (NVIDIA H200)",
    "Export",
    "Start-up of the command line",
    "Checks of the bench itself",
    "How it was measured",
]



@pytest.fixture(scope="module")
def told() -> str:
    return markdown.render(contents(everything()))


@pytest.fixture(scope="module")
def shown() -> Reader:
    return Reader(page.render(contents(everything())))


def of(*measurements) -> str:
    return markdown.render(contents(measurements))


def test_both_renderings_have_every_section(told: str, shown: Reader):
    assert re.findall(r"^## (.*)$", told, re.MULTILINE) == SECTIONS
    assert shown.headings == SECTIONS


def test_an_invalid_leg_is_marked_wherever_its_figures_are(told: str, shown: Reader):
    reason = "unsloth-plan is INVALID: not the work of peft-naive: seed 1 against 3,407"
    row = next(line for line in told.splitlines() if line.startswith("| **unsloth-plan (INVALID)** | 261 tokens/s"))
    assert row == "| **unsloth-plan (INVALID)** | 261 tokens/s [260, 261] | INVALID | 1.50 GiB | INVALID |"
    assert told.count(reason) == shown.text.count(reason) == 2  # at the top, and beside the figures
    assert shown.text.count("unsloth-plan (INVALID)") == 6  # two tables, two bar plots in two sizes


def test_what_did_not_finish_is_said_with_its_reason(told: str, shown: Reader):
    for sentence in (
        "context (NVIDIA H200), 8 GiB: peft-naive, repeat 1: out of memory: CUDA out of memory. Tried to allocate 1.96 GiB.",
        "speed-faq-grouped (Intel Xeon): unsloth-plan, repeat 3: no time: 12 s were left",
    ):
        assert sentence in told
        assert sentence in shown.text
    assert "| 8 GiB | out of memory | 3,072 tokens |" in told


def test_an_error_messages_markup_stays_text(told: str, shown: Reader):
    assert "<script" not in told
    assert "&lt;script>alert(1)&lt;/script> killed by SIGKILL" in told
    assert "<script>alert(1)</script> killed by SIGKILL" in shown.text
    assert "script" not in {tag for tag, _ in shown.elements}


def test_the_page_loads_nothing(shown: Reader):
    assert {tag for tag, _ in shown.elements} & {"script", "img", "iframe", "object", "form"} == set()
    assert [attributes["href"] for tag, attributes in shown.elements if tag == "link"] == ["data:,"]
    assert [attributes for _, attributes in shown.elements if "src" in attributes or any(name.startswith("on") for name in attributes)] == []
    policy = next(attributes["content"] for _, attributes in shown.elements if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def test_each_plot_is_there_for_a_window_and_for_a_phone(shown: Reader):
    plots = [attributes["aria-label"] for tag, attributes in shown.elements if tag == "svg" and attributes.get("role") == "img"]
    assert len(plots) == 2 * len(set(plots))
    assert {label for label in plots if label and label.startswith(("speed-faq (NVIDIA", "memory-length"))} == {
        "speed-faq (NVIDIA H200): speed",
        "speed-faq (NVIDIA H200): device memory, reserved",
        "speed-faq (NVIDIA H200): seconds a step, raw",
        "speed-faq (NVIDIA H200): loss of each step",
        "memory-length: host memory over tokens a row",
        "memory-length: step over tokens a row",
    }


def test_the_losses_are_told_as_equal_or_with_their_distance():
    assert "- All valid legs have peft-naive's losses to the bit. Repeats of a leg have the same losses to the bit." in of(*four_legs())
    near = [replace(step, loss=step.loss * 1.001) if at == 4 else step for at, step in enumerate(measurement().steps)]
    other = leg("unsloth-plan", steps=tuple(near))
    assert (
        "- The valid legs' losses are within 0.001 of peft-naive's, relative; the band is 0.02"
        " (farthest: unsloth-plan, step 5, 2.45865 against 2.45619)."
    ) in of(*leg(), *other)


def test_a_gpus_memory_energy_and_compiling_warm_up_are_told():
    text = of(*on_gpu("unsloth-plan", 100.0))
    assert "| leg | speed | against unsloth-plan | device memory, reserved | against unsloth-plan | device memory, allocated |" in text
    row = next(line for line in text.splitlines() if line.startswith("| unsloth-plan | 0.25 s"))
    assert [cell for cell in row.split(" | ") if "J/token" in cell or cell == "142 s"] == ["142 s", "0.375 J/token"]
    assert "- Not a quiet machine: other processes used up to 23% of the cores around the repeats." in text
    assert "- driver: 580.95.05" in text


def test_older_results_are_named_and_not_shown():
    older = [replace(one, run="older", date="2026-11-01T00:00:00+00:00", tokens_per_second=55.0) for one in leg()]
    text = of(*older, *leg())
    assert "## Older results of the same cases on the same machine\n\n- older: speed-faq\n" in text
    assert "55.0 tokens/s" not in text


def test_machine_versions_command_and_commit_are_told(told: str, shown: Reader):
    for fact in ("NVIDIA H200 with 139 GiB, Intel Xeon (16 cores, 128 GiB)", "0123456789abcdef0123456789abcdef01234567", "torch 2.13.0"):
        assert fact in told
        assert fact in shown.text
    assert "- command: `unsloth-ft bench run speed-faq`" in told


def test_a_point_with_several_values_names_them():
    capped = [measurement(case="memory-length", point={"memory_cap_gib": cap, "length": length}) for length in (64, 128) for cap in (8, 24)]
    text = of(*capped)
    assert [line for line in text.splitlines() if line.startswith("## How it")] == [
        "## How it grows: memory-length, 8 GiB", "## How it grows: memory-length, 24 GiB", "## How it was measured"
    ]  # fmt: skip
    assert "| 64 tokens a row, 24 GiB | 200 tokens/s |" in text


def test_both_files_are_written(tmp_path: Path):
    for one in four_legs():
        write(one, tmp_path / "results")
    done = call("bench", "report", str(tmp_path / "results"), "--out", str(tmp_path / "report"))
    assert done.out == f"{tmp_path}/report/bench.md\n{tmp_path}/report/bench.html\n"
    assert (tmp_path / "report/bench.md").read_text(encoding="utf-8").startswith("# Bench report\n\nFrom 12 measurements in 1 run.\n")
    assert (tmp_path / "report/bench.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_folder_without_results_is_refused(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError) as caught:
            report(folder, tmp_path)
        assert str(caught.value) == f"{folder}: no measurements; expected a folder that `unsloth-ft bench run` wrote."


def test_half_a_character_in_an_error_can_be_stored(tmp_path: Path):
    broken = measurement("unsloth-plan", outcome="failed", error="bad \ud83d end", work=None, steps=())
    write(broken, tmp_path / "results")
    for path in report(tmp_path / "results", tmp_path):
        assert "bad ? end" in path.read_text(encoding="utf-8")


def test_other_versions_of_one_leg_are_said():
    other = leg("unsloth-plan", versions={"torch": "2.12.0", "peft": "0.21.0", "unsloth": "2026.10.9"})
    assert "- unsloth-plan, otherwise than peft-naive: torch 2.12.0 against 2.13.0." in of(*leg(), *other)


def test_a_leg_on_another_machine_is_invalid():
    assert "machine NVIDIA H200 with 139 GiB" in of(*leg(), *leg("unsloth-plan", machine=GPU))
