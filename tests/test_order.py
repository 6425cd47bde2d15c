"""Which rows stand together in a step, and in which order."""

from __future__ import annotations

import random

import pytest

from unsloth_ft.order import by_length, largest_micro_batch_tokens, micro_batches, packed, packed_sequences, sequences, shuffled

GENERATOR = random.Random(5)
LENGTHS = [GENERATOR.randint(5, 300) for _ in range(500)]


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 63, 500])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_every_epoch_sees_every_row_once(rows: int, batch_size: int):
    for epoch in range(3):
        assert sorted(by_length(LENGTHS[:rows], batch_size=batch_size, seed=1, epoch=epoch)) == list(range(rows))


def test_by_length_is_a_function_of_seed_and_epoch():
    def one(seed: int, epoch: int) -> list[int]:
        return by_length(LENGTHS, batch_size=8, seed=seed, epoch=epoch)

    assert one(1, 0) == one(1, 0)
    assert one(1, 0) != one(1, 1)
    assert one(1, 0) != one(2, 0)


@pytest.mark.parametrize("rows", [9, 12, 13, 63, 500])
def test_the_longest_row_comes_first(rows: int):
    for epoch in range(5):
        found = by_length(LENGTHS[:rows], batch_size=4, seed=3, epoch=epoch)
        assert LENGTHS[found[0]] == max(LENGTHS[:rows])


def test_rows_of_like_length_stand_together():
    found = [LENGTHS[index] for index in by_length(LENGTHS, batch_size=8, seed=1, epoch=0)]
    assert padding(found, 8) < 0.10
    assert padding(LENGTHS, 8) > 0.60  # as they come


def test_a_small_data_set_stays_random():
    """With every row sorted, the shortest rows of each epoch would meet in the same batch."""
    epochs = [by_length(LENGTHS[:24], batch_size=4, seed=1, epoch=epoch) for epoch in range(20)]
    batches = {frozenset(found[start : start + 4]) for found in epochs for start in range(0, 24, 4)}
    assert len(batches) > 100


def padding(lengths: list[int], batch_size: int) -> float:
    """Padding tokens a real token."""
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    return sum(max(batch) * len(batch) for batch in batches) / sum(lengths) - 1


# Flat rows


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 63, 500])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_shuffle_has_every_row_once_and_its_heaviest_step_first(rows: int, batch_size: int):
    for epoch in range(3):
        found = shuffled(LENGTHS[:rows], batch_size=batch_size, micro_batch_size=1, seed=1, epoch=epoch)
        assert sorted(found) == list(range(rows))
        steps = [sum(LENGTHS[index] for index in found[at : at + batch_size]) for at in range(0, rows, batch_size)]
        assert steps[0] == max(steps[: max(1, rows // batch_size)])  # a short step ends the epoch


def test_a_shuffle_is_a_function_of_seed_and_epoch():
    def one(seed: int, epoch: int) -> list[int]:
        return shuffled(LENGTHS, batch_size=8, micro_batch_size=2, seed=seed, epoch=epoch)

    assert one(1, 0) == one(1, 0)
    assert one(1, 0) != one(1, 1)
    assert one(1, 0) != one(2, 0)


def test_a_step_has_the_same_rows_whatever_the_micro_batch():
    def steps(micro_batch_size: int) -> list[frozenset[int]]:
        found = shuffled(LENGTHS[:500], batch_size=8, micro_batch_size=micro_batch_size, seed=1, epoch=0)
        return [frozenset(found[at : at + 8]) for at in range(0, 500, 8)]

    assert steps(1) == steps(2) == steps(4) == steps(8)


def test_a_step_is_dealt_evenly_and_its_largest_pass_comes_first():
    lengths = [100, 90, 30, 20, 10, 5, 50]
    assert micro_batches(range(7), lengths, micro_batch_size=2) == [[0, 5], [1, 4], [6, 3], [2]]  # 105, 100, 70 and 30 tokens


def test_packing_fills_best_fit_decreasing():
    assert packed([50, 30, 60, 40, 20], max_seq_length=100, seed=0, epoch=0) == [(2, 3), (0, 1, 4)]


def test_packed_sequences_hold_every_row_once_and_are_nowhere_too_long():
    for epoch in range(3):
        found = packed(LENGTHS, max_seq_length=320, seed=1, epoch=epoch)
        assert sorted(index for sequence in found for index in sequence) == list(range(500))
        assert max(sum(LENGTHS[index] for index in sequence) for sequence in found) <= 320
        assert len(found) == packed_sequences(LENGTHS, max_seq_length=320)
    assert len(found) == 251  # 96 % full: half of these rows are too long for two in a sequence


def test_rows_of_one_length_are_packed_anew_each_epoch():
    one, other = (packed([10] * 60, max_seq_length=30, seed=1, epoch=epoch) for epoch in (0, 1))
    assert one != other
    assert one == packed([10] * 60, max_seq_length=30, seed=1, epoch=0)


def test_a_row_that_fits_into_no_sequence_is_refused():
    with pytest.raises(ValueError, match="a row of 300 tokens fits into no sequence of 299"):
        packed([3, 300], max_seq_length=299, seed=0, epoch=0)


@pytest.mark.parametrize("max_seq_length", [None, 320])
@pytest.mark.parametrize("micro_batch_size", [1, 2, 8])
def test_the_largest_micro_batch_is_that_of_the_run(micro_batch_size: int, max_seq_length: int | None):
    batch = {"batch_size": 8, "micro_batch_size": micro_batch_size, "seed": 3, "max_seq_length": max_seq_length}
    seen = []
    for epoch in range(2):
        rows = sequences(LENGTHS, epoch=epoch, **batch)
        passes = [rows[at : at + micro_batch_size] for at in range(0, len(rows), micro_batch_size)]
        seen += [sum(LENGTHS[index] for sequence in one for index in sequence) for one in passes]
    assert largest_micro_batch_tokens(LENGTHS, epochs=2, **batch) == max(seen)


def test_dealing_evenly_keeps_the_largest_micro_batch_small():
    generator = random.Random(1)
    lengths = [max(8, min(2000, round(generator.lognormvariate(4.7, 0.8)))) for _ in range(400)]
    steps = [sum(lengths[index] for index in range(at, at + 8)) for at in range(0, 400, 8)]
    largest = largest_micro_batch_tokens(lengths, batch_size=8, micro_batch_size=4, seed=3, epochs=1)
    assert largest < 0.75 * max(steps)
