"""What a plan is made of: the data in numbers, and a decision with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Decision(Generic[T]):
    """A value and why it is that."""

    value: T
    reason: str

    def __str__(self) -> str:
        return f"{self.value} ({self.reason})"


@dataclass(frozen=True)
class DataFacts:
    """The data in numbers. Lengths are in tokens, of training rows before any cut; `lengths` of each row that is trained on."""

    train_rows: int
    held_out_rows: int
    length_p50: int
    length_p95: int
    length_max: int
    lengths: tuple[int, ...] = ()

    @classmethod
    def measured(cls, lengths: Sequence[int], *, held_out_rows: int) -> DataFacts:
        """Of training rows that are so long, at least one. Percentiles are the smallest length that so many per cent of them don't exceed."""
        ordered = sorted(lengths)
        p50, p95 = (ordered[-(-len(ordered) * percent // 100) - 1] for percent in (50, 95))
        return cls(len(ordered), held_out_rows, p50, p95, ordered[-1])
