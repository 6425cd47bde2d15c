"""Rows into batches: laid end to end, or padded where that can't be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from unsloth_ft.chat import IGNORE, Row

Example = Mapping[str, Any]


class Examples(Dataset):
    """Rows as TRL wants them: a row by its number, or several of them, which are packed into one sequence.

    The index travels along, so that a bad batch can name its lines.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: int | tuple[int, ...]) -> Example | list[Example]:
        return [example(self.rows[at], at) for at in which] if isinstance(which, tuple) else example(self.rows[which], which)


def example(row: Row, index: int) -> Example:
    return {"input_ids": row.input_ids, "labels": row.labels, "index": index}


class EpochSampler(Sampler):
    """The order of an epoch, made by `order(epoch)`: a resumed run sees the batches that the interrupted one would have."""

    def __init__(self, order: Callable[[int], Sequence[Any]]) -> None:
        self.order = order
        self.epoch = 0
        self.length = len(order(0))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return iter(self.order(self.epoch))


def flat(rows: Sequence[Example]) -> dict[str, Any]:
    """Rows end to end in one sequence of shape (1, tokens); nothing is padded. Names as in transformers' FlashAttentionKwargs.

    `position_ids` start from 0 in each row; `cu_seq_lens_q` and `cu_seq_lens_k` are the rows' borders, int32 of shape
    (rows + 1,). A row's first label is -100: it would be predicted from the row before.
    """
    lengths = [len(row["input_ids"]) for row in rows]
    borders = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    return {
        "input_ids": torch.tensor([[index for row in rows for index in row["input_ids"]]]),
        "labels": torch.tensor([[label for row in rows for label in (IGNORE, *row["labels"][1:])]]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


def collate(rows: Sequence[Example], padding_id: int) -> dict[str, Any]:
    """Right-padded tensors of shape (rows, longest row); padding has attention 0 and label -100."""
    longest = max(len(row["input_ids"]) for row in rows)

    def filled(key: str, fill: int) -> torch.Tensor:
        return torch.tensor([[*row[key], *[fill] * (longest - len(row[key]))] for row in rows], dtype=torch.long)

    return {
        "input_ids": filled("input_ids", padding_id),
        "labels": filled("labels", IGNORE),
        "attention_mask": torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]),
    }
