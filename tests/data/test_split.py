"""The held-out split: its size, that no question is on both sides, and that only questions and the seed decide it."""

from __future__ import annotations

import random

import pytest

from tests.data.building import row
from unsloth_ft.data import Conversation, normalise, split
from unsloth_ft.errors import UserError


def rows(count: int) -> list[Conversation]:
    return [row(f"question {number}", line=number + 1) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "share", "held_out"), [(2, 0.1, 1), (3, 0.1, 1), (10, 0.1, 1), (200, 0.1, 20), (25, 0.5, 12), (2, 0.99, 1)]
)
def test_share_of_rows_is_held_out(count, share, held_out):
    both = split(rows(count), share=share, seed=1)
    assert (len(both.held_out), len(both.train)) == (held_out, count - held_out)


def test_every_row_is_on_exactly_one_side_in_the_order_given():
    given = rows(50)
    both = split(given, seed=3)
    assert sorted(both.train + both.held_out, key=given.index) == given
    assert list(both.train) == [one for one in given if one in both.train]
    assert list(both.held_out) == [one for one in given if one in both.held_out]


def test_rows_with_one_question_stay_together():
    given = [row(text, str(number)) for number in range(40) for text in (f"What is {number}?", f"what is {number}", f" WHAT is {number} !")]
    both = split(given, share=0.3, seed=5)
    trained = {normalise(one.question) for one in both.train}
    held = {normalise(one.question) for one in both.held_out}
    assert trained & held == set()
    assert (len(both.held_out), len(held)) == (36, 12)


def test_split_does_not_depend_on_the_order_of_rows():
    given = rows(60)
    shuffled = random.Random(1).sample(given, k=60)
    assert set(split(given, seed=7).held_out) == set(split(shuffled, seed=7).held_out)


def test_seed_decides():
    given = rows(60)
    chosen = {split(given, seed=seed).held_out for seed in range(10)}
    assert len(chosen) == 10
    assert split(given, seed=4) == split(given, seed=4)


def test_split_is_the_same_on_every_machine_and_version():
    assert [one.line for one in split(rows(20), share=0.2, seed=1).held_out] == [5, 8, 10, 19]


def test_one_row_more_moves_at_most_what_makes_room_for_it():
    before = set(split(rows(100), seed=1).held_out)
    after = set(split(rows(101), seed=1).held_out)
    assert len(before - after) <= 1


def test_large_group_is_never_held_out_when_a_smaller_one_is_there():
    given = [row("same", str(number)) for number in range(30)] + rows(3)
    both = split(given, share=0.1, seed=2)
    assert {one.question for one in both.held_out} == {"question 0", "question 1", "question 2"}


def test_smallest_group_is_held_out_when_all_are_larger_than_asked():
    given = [row("a", str(number)) for number in range(5)] + [row("b", str(number)) for number in range(4)]
    assert [one.question for one in split(given, share=0.1, seed=1).held_out] == ["b"] * 4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "there are no rows to split; expected at least 2 with different questions. Add rows, or pass --eval-data FILE."),
        (
            [row("a")],
            "faq.jsonl: 1 row; a held-out split needs at least 2 rows with different questions. "
            "Add rows, or pass --eval-data FILE with questions to measure on.",
        ),
        (
            [row("a"), row("A?", "y")],
            "faq.jsonl: 2 rows with one and the same question; a held-out split needs at least 2 rows with different questions. "
            "Add rows, or pass --eval-data FILE with questions to measure on.",
        ),
    ],
)
def test_too_few_questions_are_refused_with_the_minimum(given, expected):
    with pytest.raises(UserError) as refused:
        split(given, seed=1)
    assert str(refused.value) == expected


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_share_outside_its_range_is_refused(share):
    with pytest.raises(UserError) as refused:
        split(rows(10), share=share, seed=1)
    assert str(refused.value) == f"the held-out share is {share}; expected a number between 0 and 1, such as 0.1."
