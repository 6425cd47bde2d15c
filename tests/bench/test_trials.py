from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.sample import CASE, CPU, GPU, WORK, leg, measurement
from unsloth_ft.bench.case import Leg
from unsloth_ft.bench.figures import LONGEST, SPEED
from unsloth_ft.bench.statistics import Ratio
from unsloth_ft.bench.trials import machine, newest, told_apart, trials
from unsloth_ft.bench.validity import judge
from unsloth_ft.bench.views import curves
from unsloth_ft.errors import UserError


def test_a_trial_is_one_runs_case_at_one_point_with_every_legs_repeats():
    found = trials(
        [
            *leg("peft-tuned", repeats=2),
            measurement(run="other"),
            measurement(case="memory-length", point={"length": 512}),
            measurement(case="memory-length", point={"length": 64}),
            *leg("peft-naive", repeats=2),
        ]
    )
    assert [(trial.run, trial.title) for trial in found] == [
        ("2026-11-26-cpu", "memory-length, 64 tokens a row"),
        ("2026-11-26-cpu", "memory-length, 512 tokens a row"),
        ("2026-11-26-cpu", "speed-faq"),
        ("other", "speed-faq"),
    ]
    assert [(one.name, [each.repeat for each in one.measurements]) for one in found[2].legs] == [
        ("peft-naive", [0, 1]),
        ("peft-tuned", [0, 1]),
    ]


def test_memory_caps_are_one_scale_whatever_their_unit():
    caps = ({"memory_cap_gib": 24}, {"memory_cap_mib": 1536}, {"memory_cap_gib": 2, "length": 512})
    found = trials(measurement(point=point) for point in caps)
    assert [(trial.point, trial.point_words) for trial in found] == [
        ((("length", 512), ("memory_cap_mib", 2048)), "512 tokens a row, 2 GiB"),
        ((("memory_cap_mib", 1536),), "1,536 MiB"),
        ((("memory_cap_mib", 24576),), "24 GiB"),
    ]
    drawn = curves(found[1:], SPEED, {"peft-naive": 0})
    assert [point[0] for point in drawn[0].points] == [1.5, 24.0]


def test_legs_stand_in_the_order_of_the_case_and_unknown_ones_behind_them():
    legs = (Leg(kind="peft-tuned", name="zebra"), Leg(kind="peft-tuned", name="ant"))
    asked = CASE.model_copy(update={"legs": legs})
    (trial,) = trials([measurement(leg=name, asked=asked) for name in ("later", "ant", "zebra")])
    assert [one.name for one in trial.legs] == ["zebra", "ant", "later"]


def test_a_figure_is_read_of_finished_repeats_that_have_it():
    repeats = [
        measurement(repeat=0, tokens_per_second=5.0),
        measurement(repeat=1, tokens_per_second=None),
        measurement(repeat=2, tokens_per_second=7.0, outcome="failed"),
        measurement(repeat=3, tokens_per_second=0.0),
        measurement(repeat=4, tokens_per_second=-1.0),
    ]
    (trial,) = trials(repeats)
    assert trial.legs[0].values(lambda one: one.tokens_per_second) == {0: 5.0}
    assert [one.repeat for one in trial.legs[0].not_done] == [2]


def test_the_newest_trial_answers_a_question():
    old = replace(measurement(), run="z-old", date="2026-11-01T00:00:00+00:00")
    other_point = replace(old, run="point", point={"length": 64})
    other_machine = replace(old, run="machine", machine=GPU)
    other_recipe = replace(old, run="recipe", case_values=old.case_values | {"recipe": "qwen3-0.6b"})
    found = newest(trials([old, measurement(), other_point, other_machine, other_recipe]))
    assert sorted(trial.run for trial in found) == ["2026-11-26-cpu", "machine", "point", "recipe"]


def test_load_and_clocks_do_not_make_another_machine():
    busy = CPU | {"load_before": {"cpu_share": 0.4}, "busy_ok": True}
    assert machine(measurement(machine=busy)) == machine(measurement()) == "Intel Xeon (2 cores, 8 GiB)"
    assert machine(measurement(machine=CPU | {"threads": 1})) == "Intel Xeon (1 of 2 cores, 8 GiB)"
    assert machine(measurement(machine=GPU)) == "NVIDIA H200 with 139 GiB, Intel Xeon (16 cores, 128 GiB)"


def test_machine_and_recipe_are_in_the_title_only_where_there_are_several():
    one = measurement()
    assert [trial.title for trial in told_apart(trials([one]))] == ["speed-faq"]
    several = [one, replace(one, run="gpu", machine=GPU, case_values=one.case_values | {"recipe": "llama31-8b"})]
    assert [trial.title for trial in told_apart(trials(several))] == [
        "speed-faq (smollm2-135m, Intel Xeon)",
        "speed-faq (llama31-8b, NVIDIA H200)",
    ]


def test_a_case_of_another_version_is_refused_in_a_line():
    with pytest.raises(UserError) as caught:
        trials([measurement(case_values={"what": "?", "colour": "red"})])
    assert str(caught.value) == (
        "2026-11-26-cpu/speed-faq: its case can't be read (colour: Extra inputs are not permitted); it was written by another version."
    )


def cold(kind: str = "peft-tuned", **values):
    """A first repeat on a GPU that no pass went before."""
    return measurement(kind, 0, machine=GPU | {"caches": "cold"}, **values)


def test_a_repeat_that_loaded_kernels_while_it_was_measured_is_not_counted():
    warm = [measurement("peft-tuned", repeat, machine=GPU, tokens_per_second=30.0) for repeat in (1, 2)]
    (trial,) = trials([cold(tokens_per_second=10.0), *warm])
    (found,) = trial.legs
    assert [one.repeat for one in found.done] == [0, 1, 2]
    assert SPEED.values(found) == {1: 30.0, 2: 30.0}  # each keeps its number: it is held against what the others did in that turn
    assert judge(trial).legs["peft-tuned"].own == ("repeat 1 is not counted: its steps loaded their kernels while they were measured",)


def test_a_first_pass_makes_the_first_repeat_count():
    (trial,) = trials([cold(first_pass_seconds=40.0), measurement("peft-tuned", 1, machine=GPU)])
    assert list(SPEED.values(trial.legs[0])) == [0, 1]
    assert judge(trial).legs["peft-tuned"].own == ()


def test_a_leg_with_nothing_better_keeps_it_and_says_so():
    (trial,) = trials([cold(tokens_per_second=10.0)])
    assert SPEED.values(trial.legs[0]) == {0: 10.0}
    assert judge(trial).legs["peft-tuned"].own == ("its steps loaded their kernels while they were measured, in all repeats that it has",)


def test_without_a_gpu_a_first_repeat_counts():
    (trial,) = trials([measurement(machine=CPU | {"caches": "cold"})])
    assert list(SPEED.values(trial.legs[0])) == [0]


def test_a_repeat_that_loaded_kernels_carries_no_verdict_against_one_that_did_not():
    warm = [measurement("peft-tuned", repeat, machine=GPU, tokens_per_second=30.0) for repeat in (1, 2)]
    (trial,) = trials([cold("unsloth-plan", tokens_per_second=10.0), cold(tokens_per_second=10.0), *warm])
    legs = {leg.name: leg for leg in trial.legs}
    assert SPEED.ratio(legs["unsloth-plan"], legs["peft-tuned"]) == Ratio(10.0 / 30.0, None, None, 0)


def test_a_search_that_ended_before_it_knew_is_compared_with_none():
    ours, theirs = (measurement(kind, longest_tokens=tokens, amount={"exact": exact, "shortest_failed_tokens": 9e9}) for kind, tokens, exact in (
        ("unsloth-plan", 4096, 0.0), ("peft-naive", 8192, 1.0),
    ))  # fmt: skip
    (trial,) = trials([theirs, ours])
    assert LONGEST.ratio(*trial.legs) is None
    (exact,) = trials([theirs, replace(ours, amount={"exact": 1.0, "shortest_failed_tokens": 9e9})])
    assert LONGEST.ratio(*exact.legs) == Ratio(2.0, None, None, 1)


def test_fewer_steps_or_other_weights_are_another_question():
    full = leg()
    quick = [replace(one, run="later", case_values=one.case_values | {"steps": 2}) for one in full]
    synthetic = [replace(one, run="last", work=replace(WORK, weights="c3" * 32)) for one in full]
    assert [trial.run for trial in newest(trials([*full, *quick, *synthetic]))] == ["2026-11-26-cpu", "last", "later"]
