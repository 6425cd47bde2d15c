"""Rows laid end to end in one sequence: where each begins and ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch

# Queries that meet their keys at a time. A row of up to so many tokens is one batched product; a longer one is cut, which leaves
# out most of the half that causality masks, and keeps the scores' memory linear in the row's length. Of 64, 96, 128, 192, 256 and
# 512, 128 to 192 were fastest on rows of 30 to 2,048 tokens.
QUERIES = 128
# Probabilities of blocks with at most so many keys are kept for the backward, the others formed again: keeping spares a quarter of
# the attention's time, and takes at most 2 bytes × heads × KEPT_KEYS a token.
KEPT_KEYS = 256


@dataclass(frozen=True)
class Block:
    """Queries [start, end) of the flat sequence and the keys [first, end) that they may see."""

    first: int
    start: int
    end: int

    @property
    def is_kept(self) -> bool:
        """Whether its probabilities are kept for the backward."""
        return self.end - self.first <= KEPT_KEYS


@dataclass(frozen=True)
class Rows:
    """`borders`: (0, end of row 0, end of row 1, …, T). `window`: keys a query sees, itself included; None: all before it."""

    borders: tuple[int, ...]
    window: int | None = None
    masks: dict[torch.dtype, torch.Tensor] = field(default_factory=dict, compare=False, repr=False)
    """`bias`, by dtype: the same for all layers."""

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
        if self.masks.get(like.dtype) is None:
            self.masks[like.dtype] = self._mask(like)
        return self.masks[like.dtype]

    def _mask(self, like: torch.Tensor) -> torch.Tensor:
        queries = max(block.end - block.start for block in self.blocks)
        keys = max(block.end - block.first for block in self.blocks)
        bias = like.new_full((queries, keys), float("-inf")).triu_(keys - queries + 1)
        if self.window is not None and keys > self.window:
            bias += like.new_full((queries, keys), float("-inf")).tril_(keys - queries - self.window)
        return bias


class LastRows(threading.local):
    """The rows of the flat sequence that a thread has at hand, cut once for all layers of a model."""

    def __init__(self) -> None:
        self.cu_seq_lens: torch.Tensor | None = None
        self.by_window: dict[int | None, Rows] = {}

    def of(self, cu_seq_lens: torch.Tensor, window: int | None) -> Rows:
        if cu_seq_lens is not self.cu_seq_lens:
            self.cu_seq_lens, self.by_window = cu_seq_lens, {}
        return self.by_window.setdefault(window, Rows.of(cu_seq_lens, window=window))
