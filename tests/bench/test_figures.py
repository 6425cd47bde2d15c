from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.sample import GIB, leg, measurement
from unsloth_ft.bench import figures
from unsloth_ft.bench.statistics import Ratio, Spread
from unsloth_ft.bench.trials import trials


def result(*measurements):
    return trials(measurements)[0].legs[0]


def test_a_figure_is_told_with_its_spread_and_one_unit():
    assert figures.SPEED.told(Spread(192.2, 190.0, 1950.0, 3)) == "192 tokens/s [190, 1,950]"
    assert figures.HOST.told(Spread(1.5 * GIB, 1.25 * GIB, 2 * GIB, 3)) == "1.50 GiB [1.25, 2.00]"
    assert figures.MATMUL_SHARE.told(Spread(0.5, 0.25, 0.75, 3)) == "50.0% [25.0%, 75.0%]"


def test_ends_of_another_unit_keep_it():
    assert figures.HOST.told(Spread(1.5 * GIB, 0.5 * GIB, 2 * GIB, 3)) == "1.50 GiB [512.0 MiB, 2.00]"


def test_one_repeat_has_no_spread_and_none_is_not_measured():
    assert figures.SECONDS.told(Spread(1.234, 1.234, 1.234, 1)) == "1.23 s"
    assert figures.SECONDS.told(None) == "not measured"


@pytest.mark.parametrize(("seconds", "words"), [(0.1234, "0.12 s"), (12.34, "12.3 s"), (1234.5, "1,234 s")])
def test_seconds_have_three_digits(seconds: float, words: str):
    assert figures.short_seconds(seconds) == words


def test_a_verdict_is_told_with_a_ratio_above_one():
    assert figures.SPEED.verdict(Ratio(1.8, 1.6, 2.0, 3)) == "faster by 1.80 × [1.60, 2.00]"
    assert figures.SPEED.verdict(Ratio(0.5, 0.4, 0.8, 3)) == "slower by 2.00 × [1.25, 2.50]"
    assert figures.SECONDS.verdict(Ratio(0.5, 0.4, 0.8, 3)) == "faster by 2.00 × [1.25, 2.50]"
    assert figures.HOST.verdict(Ratio(20.0, 16.0, 125.0, 3)) == "more memory by 20.0 × [16.0, 125]"


def test_no_difference_says_what_would_have_shown():
    assert figures.SPEED.verdict(Ratio(1.0, 0.9, 1.111, 3)) == "no difference: 1.00 × [0.90, 1.11]; 11% would show"


def test_too_few_repeats_carry_no_verdict():
    assert figures.SPEED.verdict(Ratio(1.8, None, None, 2)) == "too few repeats (2; a verdict needs 3): 1.80 ×"
    assert figures.SPEED.verdict(Ratio(0.3, None, None, 0)) == "0.30 × by other turns; no verdict"
    assert figures.SPEED.verdict(None) == "not compared"


def test_figures_leave_warm_up_out():
    one = measurement()
    slow = replace(one, steps=tuple(replace(step, seconds=99.0 if step.warm_up else 2.0) for step in one.steps), energy_joules=400.0)
    assert figures.step_seconds(slow) == 2.0
    assert figures.padding(slow) == pytest.approx(0.2)
    assert figures.joules_per_token(slow) == 400 / 8000
    assert slow.model_flops_utilisation == pytest.approx(6e12 / 16 / 4e11)


def test_warm_up_that_compiles_is_a_figure_of_its_own():
    repeats = leg()
    cold = replace(repeats[0], machine=repeats[0].machine | {"caches": "cold"}, warm_up_seconds=90.0)
    found = result(cold, *(replace(one, warm_up_seconds=5.0) for one in repeats[1:]))
    assert (figures.COLD_WARM_UP.values(found), figures.WARM_UP.values(found)) == ({0: 90.0}, {1: 5.0, 2: 5.0})


def test_data_is_told_in_rows_per_second_where_rows_are_known():
    found = result(measurement(seconds=(2.0, 4.0, 5.0), amount={"rows": 1000.0}))
    assert figures.headline_of("data", found).spread(found).median == 250.0
    assert figures.headline_of("data", result(measurement(seconds=(2.0,)))) is figures.SECONDS


def test_a_search_that_ended_before_it_knew_is_told_as_a_bound():
    def told(**amount: float) -> str:
        return figures.LONGEST.told_of(result(measurement(longest_tokens=4096, amount=amount)))

    assert told(exact=1.0, shortest_failed_tokens=4160.0) == "4,096 tokens"
    assert told(exact=0.0, shortest_failed_tokens=8192.0) == "≥ 4,096 tokens"
    assert told(exact=1.0, shortest_failed_tokens=0.0) == "≥ 4,096 tokens"


def test_memory_is_the_devices_where_one_was_used():
    host, device = result(*leg()), result(*leg(peak_device_reserved_bytes=GIB))
    assert (figures.memory_of((host,)), figures.memory_of((host, device))) == (figures.HOST, figures.RESERVED)


def test_a_leg_without_padding_has_none_rather_than_no_figure():
    steps = tuple(replace(step, computed_tokens=step.tokens) for step in measurement().steps)
    found = result(*leg(steps=steps))
    assert figures.PADDING.told_of(found) == "0.0%"
    assert figures.PADDING.ratio(found, found) is None  # nothing is 1.1 times of nothing
