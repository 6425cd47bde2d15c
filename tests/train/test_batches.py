"""Which rows go together in a step, and how they are padded."""

from __future__ import annotations

import random

import pytest

from unsloth_ft.chat import IGNORE
from unsloth_ft.train.batches import LengthSampler, collate, order

GENERATOR = random.Random(5)
LENGTHS = [GENERATOR.randint(5, 300) for _ in range(500)]


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 63, 500])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_every_epoch_sees_every_row_once(rows: int, batch_size: int):
    for epoch in range(3):
        assert sorted(order(LENGTHS[:rows], batch_size=batch_size, seed=1, epoch=epoch)) == list(range(rows))


def test_order_is_a_function_of_seed_and_epoch():
    def one(seed: int, epoch: int) -> list[int]:
        return order(LENGTHS, batch_size=8, seed=seed, epoch=epoch)

    assert one(1, 0) == one(1, 0)
    assert one(1, 0) != one(1, 1)
    assert one(1, 0) != one(2, 0)


@pytest.mark.parametrize("rows", [9, 12, 13, 63, 500])
def test_the_longest_row_comes_first(rows: int):
    for epoch in range(5):
        found = order(LENGTHS[:rows], batch_size=4, seed=3, epoch=epoch)
        assert LENGTHS[found[0]] == max(LENGTHS[:rows])


def test_rows_of_like_length_stand_together():
    found = [LENGTHS[index] for index in order(LENGTHS, batch_size=8, seed=1, epoch=0)]
    assert padding(found, 8) < 0.10
    assert padding(LENGTHS, 8) > 0.60  # as they come


def test_a_small_data_set_stays_random():
    """With every row sorted, the shortest rows of each epoch would meet in the same batch."""
    epochs = [order(LENGTHS[:24], batch_size=4, seed=1, epoch=epoch) for epoch in range(20)]
    batches = {frozenset(found[start : start + 4]) for found in epochs for start in range(0, 24, 4)}
    assert len(batches) > 100


def test_the_sampler_follows_the_epoch():
    sampler = LengthSampler(LENGTHS, batch_size=8, seed=1)
    sampler.set_epoch(4)
    assert list(sampler) == order(LENGTHS, batch_size=8, seed=1, epoch=4)
    assert len(sampler) == 500


def test_padding_is_on_the_right_without_attention_and_without_labels():
    rows = [{"input_ids": (5, 6, 7), "labels": (IGNORE, 6, 7), "index": 4}, {"input_ids": (8,), "labels": (8,), "index": 2}]
    batch = collate(rows, padding_id=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["index"] == [4, 2]


def padding(lengths: list[int], batch_size: int) -> float:
    """Padding tokens a real token."""
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    return sum(max(batch) * len(batch) for batch in batches) / sum(lengths) - 1
