from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.bench.sample import CASE, CPU, WORK, four_legs, leg, losses, measurement, out_of_memory
from unsloth_ft.bench.case import Case, Leg
from unsloth_ft.bench.trials import trials
from unsloth_ft.bench.validity import LossGap, judge

METHODS = tuple(Leg(kind=kind) for kind in ("peft-full", "peft-lora", "peft-qlora"))
FULL_OR_LORA = Case(what="Full, LoRA or QLoRA?", legs=METHODS, steps=8, warm_up_steps=2, same_losses=False)
BROKEN = {
    "weights": ("ff" * 32, "weights ffffffffffff… against a1a1a1a1a1a1…"),
    "rows": ("ff" * 32, "rows ffffffffffff… against b2b2b2b2b2b2…"),
    "tokens": (9000, "tokens 9,000 against 8,000"),
    "learned_tokens": (5601, "learned_tokens 5,601 against 5,600"),
    "steps": (9, "steps 9 against 8"),
    "effective_batch_size": (4, "effective_batch_size 4 against 8"),
    "seed": (1, "seed 1 against 3,407"),
    "r": (32, "r 32 against 16"),
    "load_in_4bit": (True, "load_in_4bit true against false"),
    "learning_rate": (1e-4, "learning_rate 0.0001 against 0.0002"),
}


def judged(*measurements):
    (trial,) = trials(measurements)
    return judge(trial)


def reasons(*measurements, name: str = "unsloth-plan") -> tuple[str, ...]:
    return judged(*measurements).legs[name].reasons


def test_four_legs_with_one_work_are_valid():
    found = judged(*four_legs())
    assert found.reference == "peft-naive"
    assert {name: agreement.reasons for name, agreement in found.legs.items()} == {
        "peft-naive": (), "peft-tuned": (), "unsloth-notebook": (), "unsloth-plan": ()
    }  # fmt: skip
    assert found.legs["unsloth-plan"].gap == LossGap(1, 3.0, 3.0, 0.0)
    assert found.legs["unsloth-plan"].repeats == LossGap(1, 3.0, 3.0, 0.0)


@pytest.mark.parametrize("field", BROKEN)
def test_a_leg_with_other_work_is_invalid_and_both_values_are_named(field: str):
    value, words = BROKEN[field]
    broken = leg("unsloth-plan", work=replace(WORK, **{field: value}))
    assert reasons(*leg(), *leg("peft-tuned"), *broken) == (f"not the work of peft-naive: {words}",)
    assert set(BROKEN) == set(WORK.__dataclass_fields__)


def test_the_leg_that_is_alone_is_the_invalid_one_also_when_it_comes_first():
    broken = leg("peft-naive", work=replace(WORK, seed=1))
    found = judged(*broken, *leg("peft-tuned"), *leg("unsloth-plan"))
    assert found.reference == "peft-tuned"
    assert [found.valid(name) for name in ("peft-naive", "peft-tuned", "unsloth-plan")] == [False, True, True]


def test_losses_within_the_band_are_valid_and_the_worst_step_is_told():
    found = judged(*leg(), *leg("unsloth-plan", losses=losses(10, off=0.019)))
    assert (found.legs["unsloth-plan"].reasons, found.legs["unsloth-plan"].gap.step) == ((), 10)
    assert found.legs["unsloth-plan"].gap.relative == pytest.approx(0.019 / 1.019)


@pytest.mark.parametrize(("off", "valid"), [(0.0204, True), (0.0205, False), (-0.0199, True), (-0.0201, False)])
def test_the_band_is_two_percent_of_the_larger_loss(off: float, valid: bool):
    assert judged(*leg(), *leg("unsloth-plan", losses=losses(10, off=off))).valid("unsloth-plan") is valid


def test_losses_outside_the_band_are_invalid_at_whatever_step():
    curve = losses(10)
    curve[9] = 2.0
    assert reasons(*leg(), *leg("unsloth-plan", losses=curve)) == (
        "not the work of peft-naive: losses differ by more than 0.02: step 10: 1.91288 and 2, 0.044 relative",
    )


def test_one_repeat_outside_the_band_is_enough():
    off = measurement("unsloth-plan", 2, losses=losses(10, off=0.05))
    found = reasons(*leg(), *leg("unsloth-plan", repeats=2), off)
    assert found == (
        "its repeats' losses differ by more than 0.02: step 10: 1.91288 and 2.00853, 0.048 relative",
        "not the work of peft-naive: losses differ by more than 0.02: step 10: 1.91288 and 2.00853, 0.048 relative",
    )


def test_a_small_difference_between_repeats_is_told():
    found = judged(*leg("unsloth-plan", repeats=2), measurement("unsloth-plan", 2, losses=losses(10, off=0.001)))
    assert found.legs["unsloth-plan"].reasons == ()
    assert found.legs["unsloth-plan"].repeats.relative == pytest.approx(0.001 / 1.001)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_invalid(loss: float):
    curve = [*losses(9), loss]
    found = reasons(*leg(), *leg("unsloth-plan", losses=curve))
    assert found[0] == f"loss of step 10 is {loss} (repeat 0)"
    assert found[-1] == f"not the work of peft-naive: losses differ by more than 0.02: step 10: 1.91288 and {loss}, inf relative"


def test_full_lora_and_qlora_may_differ_in_what_they_exchange_which_is_said():
    lora = leg("peft-lora", asked=FULL_OR_LORA)
    full = leg("peft-full", asked=FULL_OR_LORA, work=replace(WORK, r=0), losses=losses(10, off=0.5))
    qlora = leg("peft-qlora", asked=FULL_OR_LORA, work=replace(WORK, load_in_4bit=True, weights="cc" * 32), losses=losses(10, start=3.5))
    found = judged(*lora, *full, *qlora)
    assert found.reference == "peft-full"
    assert {name: one.reasons for name, one in found.legs.items()} == {"peft-full": (), "peft-lora": (), "peft-qlora": ()}
    assert found.legs["peft-lora"].notes == ("r 16 against 0",)
    assert found.legs["peft-qlora"].notes == (
        "weights cccccccccccc… against a1a1a1a1a1a1…",
        "r 16 against 0",
        "load_in_4bit true against false",
    )
    assert found.legs["peft-lora"].gap == LossGap(1, 3.0, 3.0, 0.0)  # the first step alone
    assert found.legs["peft-qlora"].gap is None  # another base: no loss in common


def test_full_and_lora_on_one_base_begin_with_one_loss_or_are_invalid():
    lora = leg("peft-lora", asked=FULL_OR_LORA, losses=losses(10, start=3.2))
    assert reasons(*leg("peft-full", asked=FULL_OR_LORA), *lora, name="peft-lora") == (
        "not the work of peft-full: losses differ by more than 0.02: step 1: 3 and 3.2, 0.063 relative",
    )


def test_full_and_lora_on_other_rows_are_invalid():
    lora = leg("peft-lora", asked=FULL_OR_LORA, work=replace(WORK, rows="ff" * 32))
    assert reasons(*leg("peft-full", asked=FULL_OR_LORA), *lora, name="peft-lora") == (
        "not the work of peft-full: rows ffffffffffff… against b2b2b2b2b2b2…",
    )


def test_another_machine_process_or_case_is_invalid():
    other = leg("unsloth-plan", machine=CPU | {"cpu_count": 4}, process="kept", case_values=CASE.differences() | {"seed": 1})
    assert reasons(*leg(), *other) == (
        "not the work of peft-naive: case seed 1 against 3,407",
        "not the work of peft-naive: machine Intel Xeon (2 of 4 cores, 8 GiB) against Intel Xeon (2 cores, 8 GiB)",
        "not the work of peft-naive: process kept against fresh",
    )


def test_other_versions_or_another_commit_are_said():
    other = leg("unsloth-plan", versions={"torch": "2.12.0", "peft": "0.21.0", "trl": "1.14"}, git={"commit": "ff", "changed": True})
    found = judged(*leg(), *other).legs["unsloth-plan"]
    assert found.reasons == ()
    assert found.notes == (
        "torch 2.12.0 against 2.13.0", "trl 1.14 against none", "unsloth none against 2026.10.9",
        "git commit ff against 0123456789abcdef0123456789abcdef01234567", "git changed true against false",
    )  # fmt: skip


def test_a_library_that_pads_where_it_was_asked_not_to_is_said():
    asked = {"padding_free": {"value": True, "reason": "no padding is computed"}}
    found = judged(*leg(), *leg("unsloth-plan", setup=asked)).legs["unsloth-plan"]
    assert found.reasons == ()
    assert found.own == ("its rows were to be laid end to end, and 20% of what was computed is padding",)


def test_repeats_that_differ_in_their_work_make_the_leg_invalid():
    assert reasons(*leg(), *leg("unsloth-plan", repeats=2), measurement("unsloth-plan", 2, work=replace(WORK, seed=1))) == (
        "its repeats differ: seed 1 against 3,407",
    )


def test_a_leg_without_a_recorded_work_is_invalid():
    assert reasons(*leg(), *leg("unsloth-plan", work=None)) == ("not the work of peft-naive: work not recorded against recorded",)


def test_a_leg_that_ran_out_of_memory_has_an_outcome_and_no_reasons():
    found = judged(out_of_memory("peft-naive"), *leg("peft-tuned"), *leg("unsloth-plan"))
    assert found.reference == "peft-tuned"
    assert found.legs["peft-naive"].reasons == ()


def test_nothing_measured_has_no_reference():
    assert judged(out_of_memory("peft-naive"), out_of_memory("peft-tuned")).reference == ""
