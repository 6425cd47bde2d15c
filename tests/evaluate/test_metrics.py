"""Text metrics and the bootstrap: exact values."""

from __future__ import annotations

import pytest

from unsloth_ft.evaluate.compare import verdict
from unsloth_ft.evaluate.losses import RowLoss, total
from unsloth_ft.evaluate.metrics import Interval, bootstrap, exact_match, normalise, token_f1


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [
        ("Paris", "Paris", 1.0),
        ("paris.", "The Paris!", 1.0),
        ("The cat sat.", "a cat sat down", 2 * 2 / 5),
        ("cat cat cat", "cat", 2 * 1 / 4),
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("cat", "", 0.0),
        ("", "", 1.0),
        ("the", "...", 1.0),  # nothing is left of either
        ("blue red", "red blue", 1.0),
    ],
)
def test_token_f1(answer: str, expected: str, f1: float):
    assert token_f1(answer, expected) == f1
    assert token_f1(expected, answer) == f1


@pytest.mark.parametrize(
    ("answer", "expected", "match"),
    [("Paris.", "the paris", 1.0), ("red blue", "blue red", 0.0), ("Paris", "Paris, France", 0.0), ("", "", 1.0), ("9 a.m.", "9 am", 1.0)],
)
def test_exact_match(answer: str, expected: str, match: float):
    assert exact_match(answer, expected) == match


def test_normalising_follows_squad():
    assert normalise("  An apple, THE tree;\na Theory ") == ["apple", "tree", "theory"]


def rows(*nlls: float, tokens: int = 2) -> list[RowLoss]:
    return [RowLoss(nll, tokens) for nll in nlls]


def test_total_is_a_mean_over_tokens_not_over_rows():
    assert total([RowLoss(9.0, 3), RowLoss(1.0, 7)]) == 1.0


def test_equal_gains_leave_no_width():
    interval = bootstrap(rows(*[10.0] * 8), rows(*[6.0] * 8), samples=500, seed=1)
    assert interval == Interval(-2.0, -2.0, -2.0)
    assert verdict(interval) == "better"


def test_nothing_changed_is_exactly_zero():
    before = [RowLoss(0.1 * number, number + 1) for number in range(20)]
    interval = bootstrap(before, list(before), samples=500, seed=1)
    assert interval == Interval(0.0, 0.0, 0.0)
    assert verdict(interval) == "no change"


def test_the_interval_is_the_normal_one_where_the_theory_is_known():
    """200 rows of one token, gains 0 and -2 in turn: mean -1, standard error 1/√200."""
    before = rows(*[5.0] * 200, tokens=1)
    after = rows(*[5.0, 3.0] * 100, tokens=1)
    interval = bootstrap(before, after, samples=20_000, seed=3)
    assert interval.value == -1.0
    assert interval.low == pytest.approx(-1 - 1.96 / 200**0.5, abs=0.01)
    assert interval.high == pytest.approx(-1 + 1.96 / 200**0.5, abs=0.01)


def test_long_rows_weigh_more():
    interval = bootstrap([RowLoss(10, 1), RowLoss(90, 9)] * 5, [RowLoss(20, 1), RowLoss(81, 9)] * 5, samples=1000, seed=1)
    assert interval.value == pytest.approx(0.1)


def test_what_makes_a_row_hard_cancels_out():
    before = rows(*range(1, 101))
    interval = bootstrap(before, rows(*[value - 0.2 for value in range(1, 101)]), samples=2000, seed=1)
    assert (interval.low, interval.high) == pytest.approx((-0.1, -0.1))


def test_the_interval_is_the_same_for_the_same_seed():
    before, after = rows(*range(1, 31)), rows(*[value * 0.9 for value in range(1, 31)])
    assert bootstrap(before, after, samples=1500, seed=1) == bootstrap(before, after, samples=1500, seed=1)
    assert bootstrap(before, after, samples=1500, seed=1) != bootstrap(before, after, samples=1500, seed=2)


@pytest.mark.parametrize(("count", "said"), [(1, "no change"), (5, "no change"), (6, "better")])
def test_five_rows_are_too_few_for_a_verdict(count: int, said: str):
    assert verdict(bootstrap(rows(*[10.0] * count), rows(*[6.0] * count), samples=500, seed=1)) == said
    assert verdict(bootstrap(rows(*[6.0] * count), rows(*[10.0] * count), samples=500, seed=1)) == said.replace("better", "worse")


@pytest.mark.parametrize(
    ("low", "high", "said"), [(-2, -1, "better"), (1, 2, "worse"), (-1, 1, "no change"), (0, 1, "no change"), (-1, 0, "no change")]
)
def test_the_verdict_is_the_interval_s(low: float, high: float, said: str):
    assert verdict(Interval((low + high) / 2, low, high)) == said
