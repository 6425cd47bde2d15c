"""Epochs, steps, evaluations, checkpoints and warm-up of a plan."""

from __future__ import annotations

import pytest

from tests.test_plan import plan, refusal, said
from unsloth_ft.plan_steps import steps_of_warmup

# Epochs and steps


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [(1, 5), (149, 5), (150, 4), (499, 4), (500, 3), (999, 3), (1000, 3), (3000, 3), (3001, 2), (10_000, 2), (10_001, 1), (1_000_000, 1)],
)
def test_the_epochs_go_by_the_rows(rows: int, epochs: int):
    assert said(plan(rows=rows).num_train_epochs) == (float(epochs), f"{rows:,} training rows; early stopping may end it sooner")


def test_epochs_that_are_asked_for_are_taken_and_may_be_a_part():
    found = plan("train.num_train_epochs=0.5", rows=80)
    assert (said(found.num_train_epochs), said(found.max_steps)) == ((0.5, "recipe"), (5, "0.5 epochs of 10 steps"))


def test_max_steps_outdoes_the_epochs_and_says_so():
    found = plan("train.max_steps=30", rows=80)
    assert (said(found.max_steps), said(found.num_train_epochs)) == ((30, "asked for"), (3.0, "max_steps 30, an epoch has 10"))
    found = plan("train.max_steps=5", "train.num_train_epochs=2", rows=80)
    assert said(found.num_train_epochs) == (0.5, "max_steps 5, an epoch has 10; the recipe's num_train_epochs 2 is not used")


def test_an_epoch_has_a_step_for_a_part_of_a_batch_too():
    assert [plan("train.num_train_epochs=1", rows=rows).max_steps.value for rows in (8, 9, 16, 17)] == [1, 2, 2, 3]


# Evaluation and saving


@pytest.mark.parametrize(("steps", "every", "count"), [(1, 1, 1), (3, 1, 3), (10, 1, 10), (11, 2, 6), (25, 3, 9), (100, 10, 10)])
def test_within_one_epoch_there_are_up_to_ten_evaluations(steps: int, every: int, count: int):
    found = plan(f"train.max_steps={steps}", rows=8000)
    assert said(found.eval_steps) == (every, f"evaluations in {steps} steps: {count}")
    assert said(found.save_steps) == (every, "with each evaluation")


def test_steps_between_evaluations_that_are_asked_for_are_taken_up_to_the_last_step():
    assert said(plan("train.eval_steps=50").eval_steps) == (50, "recipe")
    assert said(plan("train.eval_steps=500").eval_steps) == (228, "the run's last step; the recipe says 500")


def test_saving_more_often_than_evaluating_wants_a_divisor():
    found = plan("train.eval_steps=50", "train.save_steps=10")
    assert (found.eval_steps.value, said(found.save_steps)) == (50, (10, "recipe"))
    assert refusal("train.eval_steps=50", "train.save_steps=20") == (
        "train.save_steps is 20, evaluations come every 50 steps; expected a divisor of 50, so that the best checkpoint is kept."
    )


@pytest.mark.parametrize(("save", "every"), [(10, 50), (25, 50), (57, 57), (60, 60), (100, 100)])
def test_when_only_the_saving_is_asked_for_the_evaluations_fit_it(save: int, every: int):
    found = plan(f"train.save_steps={save}")
    assert said(found.eval_steps) == (every, "a multiple of save_steps, about once an epoch")
    assert said(found.save_steps) == (save, "recipe")


def test_saving_less_often_than_there_are_steps_is_said():
    assert said(plan("train.save_steps=1000", "train.max_steps=20").save_steps) == (
        20,
        "with each evaluation; the recipe says 1000, the run has 20 steps",
    )


# Warm-up


@pytest.mark.parametrize(
    ("warmup_steps", "max_steps", "steps"),
    [(0.05, 100, 5), (0.05, 101, 6), (0.05, 1, 1), (0, 100, 0), (0.0, 1, 0), (1, 100, 1), (10, 100, 10), (0.999, 10, 10)],
)
def test_the_warm_up_is_a_share_below_1_and_a_number_from_1(warmup_steps: float, max_steps: int, steps: int):
    assert steps_of_warmup(warmup_steps, max_steps) == steps


def test_a_run_without_warm_up_or_without_anything_else_says_so():
    assert plan("train.warmup_steps=0").lr_scheduler_type.reason == "recipe; no warm-up"
    assert plan("train.warmup_steps=300").lr_scheduler_type.reason == "recipe; warm-up 300 of 228 steps, so the peak is never reached"
