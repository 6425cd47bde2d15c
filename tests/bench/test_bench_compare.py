from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.sample import CPU, GIB, WORK, four_legs, leg, measurement, out_of_memory
from tests.cli.calling import call
from unsloth_ft.bench.compare import compare, side
from unsloth_ft.bench.measurement import write
from unsloth_ft.errors import UserError


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty bench/results below the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = Path("bench/results")
    folder.mkdir(parents=True)
    return folder


def keep(folder: Path, measurements, run: str = "first") -> None:
    for one in measurements:
        write(replace(one, run=run), folder)


def faster(measurements, factor: float):
    return [replace(one, tokens_per_second=one.tokens_per_second * factor) for one in measurements]


def verdicts(one: str, other: str) -> list[tuple]:
    rows = compare(side(one), side(other)).rows
    return [(row.case, row.leg, row.figure.title, row.figure.verdict(row.ratio), row.within) for row in rows]


def test_a_rerun_is_within_the_spread_or_not(results: Path):
    keep(results, [*leg(), *leg("unsloth-plan")])
    keep(results, [*faster(leg(), 1.001), *faster(leg("unsloth-plan"), 1.3)], run="again")
    assert verdicts("first", "again") == [
        ("speed-faq", "peft-naive", "speed", "no difference: 1.00 × [1.00, 1.01]; 2% would show", True),
        ("speed-faq", "peft-naive", "host memory", "no difference: 1.00 × [1.00, 1.00]; 2% would show", True),
        ("speed-faq", "unsloth-plan", "speed", "faster by 1.30 × [1.29, 1.31]", False),
        ("speed-faq", "unsloth-plan", "host memory", "no difference: 1.00 × [1.00, 1.00]; 2% would show", True),
    ]


def test_a_rerun_inside_the_printed_spread_is_within_it_although_five_repeats_show_a_difference(results: Path):
    keep(results, [measurement(repeat=at, tokens_per_second=speed) for at, speed in enumerate((100.0, 100.0, 100.0, 100.0, 106.0))])
    keep(results, [measurement(repeat=at, tokens_per_second=105.0) for at in range(5)], run="again")
    (speed, _) = verdicts("first", "again")
    assert speed == ("speed-faq", "peft-naive", "speed", "faster by 1.04 × [1.00, 1.07]", True)


def test_a_folder_is_named_by_its_path_too(results: Path, tmp_path: Path):
    keep(results, leg())
    keep(tmp_path / "elsewhere", faster(leg(), 1 / 1.3), run="mine")
    (speed, _) = verdicts("first", str(tmp_path / "elsewhere"))
    assert speed == ("speed-faq", "peft-naive", "speed", "slower by 1.30 × [1.29, 1.31]", False)


def test_two_legs_of_one_run_are_compared_by_repeat(results: Path):
    keep(results, [*leg(speed=200.0), *leg("unsloth-plan", speed=360.0, peak_host_bytes=GIB)])
    assert verdicts("first:peft-naive", "first:unsloth-plan") == [
        ("speed-faq", "unsloth-plan against peft-naive", "speed", "faster by 1.80 × [1.80, 1.80]", None),
        ("speed-faq", "unsloth-plan against peft-naive", "host memory", "less memory by 1.50 × [1.50, 1.50]", None),
    ]


def test_two_identical_legs_are_no_difference(results: Path):
    keep(results, [*leg(), *leg("peft-tuned", speed=200.0)])
    assert {verdict for *_, verdict, _ in verdicts("first:peft-naive", "first:peft-tuned")} == {
        "no difference: 1.00 × [1.00, 1.00]; 2% would show"
    }


def test_unequal_work_is_refused_with_every_difference(results: Path):
    keep(results, [*leg(), *leg("unsloth-plan")])
    broken = leg("unsloth-plan", work=replace(WORK, seed=1, rows="ff" * 32))
    keep(results, [*leg(), *broken], run="again")
    with pytest.raises(UserError) as caught:
        compare(side("first"), side("again"))
    assert str(caught.value) == (
        "first and again did not do the same work, so nothing is compared (again against first):\n"
        "  speed-faq, unsloth-plan: rows ffffffffffff… against b2b2b2b2b2b2…\n"
        "  speed-faq, unsloth-plan: seed 1 against 3,407"
    )


def test_a_long_list_of_differences_is_cut_and_counted(results: Path):
    keep(results, four_legs())
    keep(results, four_legs(work=replace(WORK, seed=1, r=8, rows="ff" * 32)), run="again")
    with pytest.raises(UserError, match=re.escape("\n  and 2 more")) as caught:
        compare(side("first"), side("again"))
    assert len(str(caught.value).splitlines()) == 12


def test_another_machine_and_other_versions_are_said(results: Path):
    keep(results, leg())
    keep(results, leg(machine=CPU | {"cpu": "AMD EPYC"}, versions={"torch": "2.14.0"}), run="again")
    assert compare(side("first"), side("again")).notes == (
        "machine AMD EPYC (2 cores, 8 GiB) against Intel Xeon (2 cores, 8 GiB)",
        "peft none against 0.21.0", "torch 2.14.0 against 2.13.0", "unsloth none against 2026.10.9",
    )  # fmt: skip


def test_a_run_is_compared_with_that_of_its_own_machine_where_there_is_one(results: Path):
    keep(results, leg(speed=900.0, machine=CPU | {"cpu": "AMD EPYC"}), run="elsewhere")
    keep(results, leg())
    keep(results.parent / "mine", leg(), run="again")
    found = compare(side("bench/results"), side("bench/mine"))
    assert [(row.one.median, row.within) for row in found.rows if row.figure.title == "speed"] == [(200.4, True)]
    assert found.notes == ()


def test_a_leg_that_one_side_has_not_or_has_not_finished_is_said(results: Path):
    keep(results, [*leg(), *leg("peft-tuned"), *leg("unsloth-notebook")])
    keep(results, [*leg(), out_of_memory("peft-tuned"), *leg("unsloth-plan")], run="again")
    found = compare(side("first"), side("again"))
    assert [row.leg for row in found.rows] == ["peft-naive", "peft-naive"]
    assert found.notes == (
        "speed-faq, peft-tuned: again: out of memory: CUDA out of memory. Tried to allocate 1.96 GiB.",
        "only in first: speed-faq, unsloth-notebook",
        "only in again: speed-faq, unsloth-plan",
    )


def test_sides_without_a_case_in_common_are_refused(results: Path):
    keep(results, leg())
    keep(results, [measurement(case="other")], run="again")
    with pytest.raises(UserError) as caught:
        compare(side("first"), side("again"))
    assert str(caught.value) == (
        "first and again have no case and leg in common. first has speed-faq (peft-naive). again has other (peft-naive)."
    )


@pytest.mark.parametrize(("name", "message"), [
    ("none", "none: no such folder, and no run in bench/results; expected RUN, a folder, or one of them with :LEG."),
    ("first:mine", 'first:mine: no leg "mine"; it has peft-naive.'),
    ("empty", "empty: no measurements; expected a folder that `unsloth-ft bench run` wrote."),
])  # fmt: skip
def test_what_is_not_there_is_refused(results: Path, name: str, message: str):
    keep(results, leg())
    (results / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        side(name)
    assert str(caught.value) == message


def test_the_command_prints_a_table_or_json(results: Path):
    keep(results, leg())
    keep(results, faster(leg(), 1.3), run="again")
    shown = call("bench", "compare", "first", "again")
    lines = [re.split(r"\s{2,}", line.strip()) for line in shown.out.splitlines()]
    assert lines[:4] == [
        ["A: first"],
        ["B: again"],
        ["case", "leg", "figure", "A", "B", "B against A", "B within A's spread"],
        ["speed-faq", "peft-naive", "speed", "200 tokens/s [200, 201]", "261 tokens/s [260, 261]", "faster by 1.30 × [1.29, 1.31]", "NO"],
    ]
    assert lines[5:] == [["1 of 2 figures of B are within A's spread, or no different from A's."]]
    told = json.loads(call("bench", "compare", "first", "again", "--json").out)
    row = told["rows"][0]
    assert told["rerun"] == {"within": 1, "of": 2}
    assert (row["figure"], row["a"]["median"], row["within_spread"]) == ("speed", 200.4, False)
    assert row["b_over_a"] == {
        "value": pytest.approx(1.3),
        "low": pytest.approx(1.294, abs=1e-3),
        "high": pytest.approx(1.306, abs=1e-3),
        "repeats": 3,
    }
