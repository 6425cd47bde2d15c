"""What a plan is made of: the data in numbers, and a decision with its reason."""

from __future__ import annotations

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
