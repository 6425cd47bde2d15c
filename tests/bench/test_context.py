from __future__ import annotations

import pytest

from unsloth_ft.bench.context import Search, longest
from unsloth_ft.bench.measurement import Try


class Clock:
    """Time that goes on by what each try takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def search(truth: int, *, least: int = 512, most: int = 131072, resolution: int = 256) -> Search:
    return longest(lambda tokens: tokens <= truth, least=least, most=most, resolution=resolution)


def test_it_doubles_until_one_does_not_fit_and_halves_the_gap_from_there():
    found = search(5000)
    assert [(one.tokens, one.fitted) for one in found.tries] == [
        (512, True), (1024, True), (2048, True), (4096, True), (8192, False), (6144, False), (5120, False), (4608, True), (4864, True),
    ]  # fmt: skip
    assert (found.longest, found.shortest_failed, found.ended) == (4864, 5120, "exact")


@pytest.mark.parametrize("truth", [512, 513, 767, 768, 1000, 1024, 2047, 2048, 40_000, 65_535, 65_536, 131_071])
@pytest.mark.parametrize("resolution", [1, 100, 256])
def test_the_answer_is_within_the_resolution_of_the_truth(truth: int, resolution: int):
    found = search(truth, resolution=resolution)
    assert found.longest is not None and found.shortest_failed is not None
    assert found.longest <= truth < found.shortest_failed
    assert found.shortest_failed - found.longest <= resolution


def test_no_length_is_tried_twice_and_none_that_is_known():
    found = search(40_000, resolution=1)
    tokens = [one.tokens for one in found.tries]
    assert len(tokens) == len(set(tokens)) == 23  # 512 to 32,768 is 7, one that fails, 15 halvings of the 32,768 between them
    for position, one in enumerate(found.tries):
        before = Search(found.tries[:position], "exact")
        assert before.longest is None or one.tokens > before.longest
        assert before.shortest_failed is None or one.tokens < before.shortest_failed


def test_all_that_was_asked_for_may_fit():
    found = search(10**9, most=3000)
    assert [one.tokens for one in found.tries] == [512, 1024, 2048, 3000]
    assert (found.longest, found.shortest_failed, found.ended) == (3000, None, "most")


def test_nothing_may_fit():
    found = search(100)
    assert found.tries[0].tokens == 512 and len(found.tries) == 1
    assert (found.longest, found.shortest_failed, found.ended) == (None, 512, "least")


def test_one_length_alone_can_be_asked_for():
    assert search(600, least=512, most=512).ended == "most"
    assert search(100, least=512, most=512).ended == "least"


def test_the_middle_is_a_round_number_where_one_lies_between():
    assert [one.tokens for one in search(700, least=500, most=4000, resolution=100).tries] == [500, 1000, 700, 800]
    assert [one.tokens for one in search(139, least=130, most=4000, resolution=100).tries] == [130, 260, 195]


def test_a_try_that_the_budget_has_no_time_for_is_not_begun():
    clock = Clock()

    def fits(tokens: int) -> bool:
        clock.now += 60 if tokens == 512 else tokens / 128  # the first compiles
        return True

    found = longest(fits, least=512, most=131072, resolution=256, budget_seconds=150, clock=clock)
    # 116 s are spent then; 8192 tokens would take 64 more.
    assert [(one.tokens, one.seconds) for one in found.tries] == [(512, 60), (1024, 8), (2048, 16), (4096, 32)]
    assert (found.longest, found.ended) == (4096, "no_time")


def test_without_time_nothing_is_tried_beyond_what_it_was_begun_for():
    clock = Clock()

    def fits(tokens: int) -> bool:
        clock.now += 100
        return False if tokens > 512 else True

    found = longest(fits, least=512, most=131072, resolution=1, budget_seconds=150, clock=clock)
    assert [one.tokens for one in found.tries] == [512, 1024]
    assert (found.longest, found.shortest_failed, found.ended) == (512, 1024, "no_time")


def test_another_error_of_a_try_goes_through():
    def fits(tokens: int) -> bool:
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        longest(fits, least=1, most=2, resolution=1)


@pytest.mark.parametrize("values", [(0, 10, 1), (11, 10, 1), (1, 10, 0)])
def test_impossible_bounds_are_refused(values: tuple[int, int, int]):
    least, most, resolution = values
    with pytest.raises(ValueError, match=f"least {least}, most {most}, resolution {resolution}; expected"):
        longest(lambda tokens: True, least=least, most=most, resolution=resolution)


def test_a_try_is_kept_as_it_was():
    clock = Clock()

    def fits(tokens: int) -> bool:
        clock.now += 2.5
        return tokens < 20

    assert longest(fits, least=10, most=20, resolution=5, clock=clock) == Search(
        (Try(10, True, 2.5), Try(20, False, 2.5), Try(15, True, 2.5)), "exact"
    )
