from __future__ import annotations

import math
import random

import pytest

from unsloth_ft.bench import statistics
from unsloth_ft.bench.statistics import Ratio, Spread, paired, spread, student_t, unpaired


def by_repeat(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_a_median_stands_with_the_least_and_the_largest_repeat():
    assert spread([3.0, 1.0, 2.0, 10.0]) == Spread(median=2.5, least=1.0, largest=10.0, repeats=4)
    assert [spread([1.0, 2.0]).holds(value) for value in (0.9, 1.0, 1.5, 2.0, 2.1)] == [False, True, True, True, False]


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 10, 29, 30])
def test_the_table_holds_the_97_5_percent_quantiles_of_students_t(degrees: int):
    # The density of Student's t, integrated from 0 to the quantile by Simpson's rule; half of all lies below 0.
    factor = math.gamma((degrees + 1) / 2) / math.sqrt(degrees * math.pi) / math.gamma(degrees / 2)

    def density(at: float) -> float:
        return factor * (1 + at * at / degrees) ** (-(degrees + 1) / 2)

    pieces, step = 2000, student_t(degrees) / 2000
    total = density(0) + density(student_t(degrees)) + sum((4 if index % 2 else 2) * density(index * step) for index in range(1, pieces))
    assert 0.5 + total * step / 3 == pytest.approx(0.975, abs=3e-5)


def test_beyond_the_table_an_interval_is_too_wide_never_too_narrow():
    assert student_t(31) == student_t(5000) == 2.042


def test_a_ratio_is_the_mean_of_the_pairs_with_students_interval():
    # Log-ratios 0.5, 0.6, 0.7: mean 0.6, standard error 0.1 / sqrt(3), t of 2 degrees of freedom 4.303.
    ratio = paired(by_repeat(*(math.exp(at) for at in (0.5, 0.6, 0.7))), by_repeat(1.0, 1.0, 1.0))
    half = 4.303 * 0.1 / math.sqrt(3)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((math.exp(0.6), math.exp(0.6 - half), math.exp(0.6 + half)))
    assert (ratio.difference, ratio.repeats) == ("more", 3)
    assert ratio.smallest == pytest.approx(math.exp(half) - 1)


def test_what_slows_both_legs_of_a_repeat_cancels():
    # The machine was half as fast in repeat 1; alone, the spread would hide the 10 %.
    ratio = paired(by_repeat(110.0, 55.0, 110.0), by_repeat(100.0, 50.0, 100.0))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.1))
    assert ratio.difference == "more"
    assert unpaired([110.0, 55.0, 110.0], [100.0, 50.0, 100.0]).difference == "none"


def test_pairs_are_made_by_repeat_and_a_lone_one_is_left_out():
    ratio = paired({0: 2.0, 1: 4.0, 3: 8.0, 4: 99.0}, {0: 1.0, 1: 2.0, 2: 77.0, 3: 4.0})
    assert (ratio.value, ratio.repeats) == (pytest.approx(2.0), 3)
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_the_same_numbers_are_no_difference():
    ratio = paired(by_repeat(100.0, 98.0, 103.0), by_repeat(100.0, 98.0, 103.0))
    assert (ratio, ratio.difference, ratio.smallest) == (Ratio(1.0, 1.0, 1.0, 3), "none", 0.02)


@pytest.mark.parametrize(("factor", "difference"), [(1.0199, "none"), (1.0201, "more"), (1 / 1.0199, "none"), (1 / 1.0201, "less")])
def test_a_sure_difference_below_two_percent_is_none(factor: float, difference: str):
    assert paired(by_repeat(*[factor] * 3), by_repeat(1.0, 1.0, 1.0)).difference == difference


def test_an_interval_that_holds_one_is_no_difference():
    ratio = paired(by_repeat(1.5, 0.9, 1.2), by_repeat(1.0, 1.0, 1.0))
    assert ratio.low < 1 < ratio.value
    assert ratio.difference == "none"


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_repeats_carry_no_verdict(count: int):
    values, ones = [2.0] * count, [1.0] * count
    for ratio in (paired(by_repeat(*values), by_repeat(*ones)), unpaired(values, ones)):
        assert ratio == Ratio(pytest.approx(2.0), None, None, count)
        assert (ratio.difference, ratio.smallest) == ("unknown", None)


def test_the_other_way_round_is_the_inverse():
    ours, theirs = by_repeat(2.0, 2.2, 2.1), by_repeat(1.0, 1.3, 1.1)
    one, two = paired(ours, theirs).inverse, paired(theirs, ours)
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))
    assert (one.difference, Ratio(2.0, None, None, 1).inverse) == ("less", Ratio(0.5, None, None, 1))


def test_two_runs_are_compared_by_welchs_test():
    # Log variances 0.01 and 0.04 over 3 each: standard error sqrt(0.05 / 3); 0.05² / (0.01² / 2 + 0.04² / 2) = 2.94 degrees, so 2.
    ours, theirs = ([math.exp(centre + at) for at in (-wide, 0, wide)] for centre, wide in ((1.0, 0.1), (0.0, 0.2)))
    half = 4.303 * math.sqrt(0.05 / 3)
    ratio = unpaired(ours, theirs)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((math.e, math.exp(1 - half), math.exp(1 + half)))
    assert unpaired([], theirs) is None
    assert unpaired([2.0] * 3, [1.0] * 3) == Ratio(pytest.approx(2.0), pytest.approx(2.0), pytest.approx(2.0), 3)


# 5 % is what a 95 % interval allows, 100 ± 20 of 2000; on a quiet machine the floor of 2 % leaves none of those.
@pytest.mark.parametrize(("noise", "most"), [(0.005, 0), (0.05, 120)])
def test_two_equal_legs_are_called_different_at_most_once_in_twenty(noise: float, most: int):
    draw = random.Random(3407)
    called = 0
    for _ in range(2000):
        ours, theirs = (by_repeat(*(100 * math.exp(draw.gauss(0, noise)) for _ in range(3))) for _ in range(2))
        called += paired(ours, theirs).difference != "none"
    assert called <= most


def test_the_floor_is_two_percent_and_three_repeats_are_the_fewest():
    assert (statistics.FLOOR, statistics.FEWEST_REPEATS) == (0.02, 3)
