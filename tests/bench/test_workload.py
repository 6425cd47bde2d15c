"""The rows of a case: how long they are, which step has which, and what their hash sees."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from unsloth_ft.bench import workload
from unsloth_ft.bench.case import Case, Lengths
from unsloth_ft.chat import IGNORE

VOCABULARY = 32_000


def built(*, vocab_size: int = VOCABULARY, rows_seed: int | None = None, **values: Any) -> workload.Workload:
    return workload.build(Case(what="a test", **values), vocab_size=vocab_size, rows_seed=rows_seed)


def lengths(made: workload.Workload) -> list[int]:
    return [workload.length(row) for row in made.rows]


def labelled(made: workload.Workload) -> list[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    return [[(row.input_ids, row.labels) for row in made.step(number)] for number in range(made.steps)]


def test_median_and_95th_percentile_are_the_case_s():
    found = sorted(lengths(built(steps=498)))
    assert statistics.median(found) == pytest.approx(108, rel=0.05)
    assert found[int(0.95 * len(found))] == pytest.approx(412, rel=0.1)
    assert found[-1] <= 2048


def test_equal_percentiles_give_rows_of_one_length():
    assert set(lengths(built(lengths=Lengths(median=64, p95=64), steps=3))) == {64}


def test_every_step_has_the_case_s_number_of_rows_and_the_warm_up_is_not_measured():
    made = built(warm_up_steps=2, steps=3, effective_batch_size=4)
    assert (made.steps, len(made.rows), len(made.measured)) == (5, 20, 12)
    assert made.measured == made.rows[8:]


def test_the_last_part_of_a_row_is_learned_as_an_answer_is():
    row = built(lengths=Lengths(median=100, p95=100), learned=0.7).rows[0]
    assert row.labels == (IGNORE,) * 30 + row.input_ids[30:]
    assert row.learned == 70


def test_ids_are_ordinary_tokens_of_small_vocabularies_too():
    assert all(1_000 <= token < 30_000 for row in built().rows for token in row.input_ids)
    assert all(49 <= token < 100 for row in built(vocab_size=100).rows for token in row.input_ids)


def test_a_larger_data_set_has_the_same_rows_in_its_steps_and_others_behind_them():
    small, large = built(), built(rows=1_000)
    assert (large.rows, large.steps, small.others) == (small.rows, small.steps, ())
    assert len(large.rows) + len(large.others) == 1_000
    assert len({row.input_ids for row in large.others}) == 1_000 - len(large.rows)


def test_the_same_seed_gives_the_same_rows_and_another_gives_others():
    assert built() == built()
    assert built(rows_seed=1) != built()


def test_grouping_puts_rows_of_like_length_together_and_wastes_less_padding():
    random_order, grouped = (built(order=order, warm_up_steps=1, steps=6) for order in ("random", "grouped"))
    assert random_order.padding_share() > 0.5
    assert grouped.padding_share() < 0.3
    assert len(grouped.rows) == len(random_order.rows) == 56


def test_padding_is_what_fills_a_step_up_to_its_longest_row():
    made = built(steps=1, warm_up_steps=1)
    computed = sum(8 * max(lengths(made)[at : at + 8]) for at in (0, 8))
    assert made.padding_share() == pytest.approx(1 - sum(lengths(made)) / computed)


def test_the_hash_does_not_see_the_order_within_a_step():
    steps = labelled(built(steps=2))
    assert workload.sha256_of([step[::-1] for step in steps]) == workload.sha256_of(steps)


@pytest.mark.parametrize("change", ["steps swapped", "a label masked", "a token changed", "a row twice", "a row moved to another step"])
def test_the_hash_sees(change: str):
    steps = labelled(built(steps=2))
    before = workload.sha256_of(steps)
    ids, labels = steps[0][0]
    if change == "steps swapped":
        steps.reverse()
    if change == "a label masked":
        steps[0][0] = ids, (*labels[:-1], IGNORE)
    if change == "a token changed":
        steps[0][0] = (ids[0] + 1, *ids[1:]), labels
    if change == "a row twice":
        steps[0].append(steps[0][0])
    if change == "a row moved to another step":
        steps[1].append(steps[0].pop())
    assert workload.sha256_of(steps) != before


def test_lengths_of_one_size_need_no_spread():
    assert {len(one.input_ids) for one in workload.build(Case(what="a test", lengths=Lengths(median=9, p95=9)), vocab_size=99).rows} == {9}
