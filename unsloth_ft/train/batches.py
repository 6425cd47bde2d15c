"""Rows into batches: which rows go together, and how they are padded."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler

from unsloth_ft.chat import IGNORE, Row

# Effective batches whose rows are sorted together: enough to waste little padding, and at least four such groups an epoch, so
# that a small data set stays random (the rule of transformers' LengthGroupedSampler).
MEGABATCH, MEGABATCHES = 50, 4


def dataset(rows: Sequence[Row]) -> Dataset:
    """Rows as TRL wants them; the index travels along, so that a bad batch can name its lines."""
    columns = {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows], "index": list(range(len(rows)))}
    return Dataset.from_dict(columns)


class LengthSampler(Sampler[int]):
    """A random order in which rows of like length stand together; `batch_size` is the effective one.

    The order is a function of seed, epoch and effective batch size alone: a resumed run sees the batches that the interrupted
    one would have, and another micro-batch size changes nothing in what a step learns from.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(order(self.lengths, batch_size=self.batch_size, seed=self.seed, epoch=self.epoch))


def order(lengths: Sequence[int], *, batch_size: int, seed: int, epoch: int) -> list[int]:
    """Every index once: shuffled, sorted by length within megabatches, the batches shuffled again; the longest row first in each.

    The batch with the longest row comes first: what doesn't fit into memory fails in the first step, not at hour three.
    """
    generator = random.Random(f"{seed}/{epoch}")
    shuffled = list(range(len(lengths)))
    generator.shuffle(shuffled)
    longest = max(shuffled, key=lambda index: lengths[index])
    shuffled.insert(0, shuffled.pop(shuffled.index(longest)))  # into the first megabatch, so not into the short batch at the end
    size = batch_size * max(1, min(MEGABATCH, len(lengths) // (batch_size * MEGABATCHES)))
    batches = []
    for start in range(0, len(shuffled), size):
        mega = sorted(shuffled[start : start + size], key=lambda index: -lengths[index])
        batches += [mega[at : at + batch_size] for at in range(0, len(mega), batch_size)]
    short = batches.pop() if len(batches[-1]) < batch_size else []
    if not batches:
        return short
    generator.shuffle(batches)
    first = next(at for at, batch in enumerate(batches) if longest in batch)
    batches[0], batches[first] = batches[first], batches[0]
    return [index for batch in [*batches, short] for index in batch]


def collate(rows: Sequence[dict], padding_id: int) -> dict[str, Any]:
    """Right-padded tensors of shape (batch, longest row); padding has attention 0 and label -100."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, fill: int) -> torch.Tensor:
        return torch.tensor([[*row[key], *[fill] * (longest - len(row[key]))] for row in rows], dtype=torch.long)

    return {
        "input_ids": padded("input_ids", padding_id),
        "labels": padded("labels", IGNORE),
        "attention_mask": torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]),
        "index": [row["index"] for row in rows],  # stays on the host: reading it costs no wait for the device
    }
