"""Rows into batches: which rows go together, and how they are padded."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from datasets import Dataset
from torch.utils.data import Sampler

from unsloth_ft.chat import IGNORE, Row

MEGABATCH = 50  # batches whose rows are sorted together: long enough to waste no padding, short enough to stay random


def dataset(rows: Sequence[Row]) -> Dataset:
    """Rows as TRL wants them; the index travels along, so that a bad batch can name its lines."""
    columns = {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows], "index": list(range(len(rows)))}
    return Dataset.from_dict(columns)


class LengthSampler(Sampler[int]):
    """A random order in which rows of like length stand together.

    The order is a function of seed and epoch alone, so a resumed run sees the batches that the interrupted one would have.
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
    """Every index once: shuffled, sorted by length within megabatches, the batches shuffled again.

    The batch with the longest row comes first: what doesn't fit into memory fails in the first step, not at hour three.
    """
    generator = random.Random(f"{seed}/{epoch}")
    shuffled = list(range(len(lengths)))
    generator.shuffle(shuffled)
    size = batch_size * MEGABATCH
    batches = []
    for start in range(0, len(shuffled), size):
        mega = sorted(shuffled[start : start + size], key=lambda index: -lengths[index])
        batches += [mega[at : at + batch_size] for at in range(0, len(mega), batch_size)]
    full = [batch for batch in batches if len(batch) == batch_size]
    rest = [batch for batch in batches if len(batch) < batch_size]
    generator.shuffle(full)
    longest = max(range(len(full)), key=lambda at: lengths[full[at][0]]) if full else None
    if longest is not None:
        full[0], full[longest] = full[longest], full[0]
    return [index for batch in full + rest for index in batch]


def collate(rows: Sequence[dict], padding_id: int) -> dict[str, torch.Tensor]:
    """Right-padded tensors of shape (batch, longest row); padding has attention 0 and label -100."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, fill: int) -> torch.Tensor:
        return torch.tensor([[*row[key], *[fill] * (longest - len(row[key]))] for row in rows], dtype=torch.long)

    return {
        "input_ids": padded("input_ids", padding_id),
        "labels": padded("labels", IGNORE),
        "attention_mask": torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]),
        "index": torch.tensor([row["index"] for row in rows]),
    }
