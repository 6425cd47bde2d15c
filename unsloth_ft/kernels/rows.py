"""Rows laid end to end in one sequence: where each begins and ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

# Queries that meet their keys at a time. A row of up to so many tokens is one batched product; a longer one is cut, which leaves
# out the half of the products that causality masks, and keeps the scores' memory linear in the row's length.
QUERIES = 512


@dataclass(frozen=True)
class Block:
    """Queries [start, end) of the flat sequence and the keys [first, end) that they may see."""

    first: int
    start: int
    end: int


@dataclass(frozen=True)
class Rows:
    """`borders`: (0, end of row 0, end of row 1, …, T). `window`: keys a query sees, itself included; None: all before it."""

    borders: tuple[int, ...]
    window: int | None = None

    @classmethod
    def of(cls, cu_seq_lens: torch.Tensor, *, window: int | None = None) -> Rows:
        """From transformers' cumulative lengths, shape (rows + 1,)."""
        return cls(tuple(cu_seq_lens.tolist()), window)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(self._cut())

    def _cut(self) -> Iterator[Block]:
        for row, row_end in zip(self.borders, self.borders[1:]):
            for start in range(row, row_end, QUERIES):
                first = row if self.window is None else max(row, start - self.window + 1)
                yield Block(first, start, min(start + QUERIES, row_end))

    def bias(self, like: torch.Tensor) -> torch.Tensor:
        """What is added to the scores of the largest block: 0 where a query sees the key, -inf elsewhere; shape (queries, keys).

        It is aligned to the lower right: any block's is the corner of its own size.
        """
        queries = max(block.end - block.start for block in self.blocks)
        keys = max(block.end - block.first for block in self.blocks)
        bias = like.new_full((queries, keys), float("-inf")).triu_(keys - queries + 1)
        if self.window is not None and keys > self.window:
            bias += like.new_full((queries, keys), float("-inf")).tril_(keys - queries - self.window)
        return bias
