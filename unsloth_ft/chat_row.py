"""A row: the ids of one sequence that is fed to the model, and which of them it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from unsloth_ft.chat_ids import Span

IGNORE = -100  # torch's cross-entropy skips this label


@dataclass(frozen=True)
class Row:
    """One sequence fed to the model. `labels[i]` is `input_ids[i]` where token i is learned, else -100.

    `turn_ends`: for each learned turn the position after its turn-end token, where a row may be cut without harm.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    where: str
    turn_ends: tuple[int, ...]

    @property
    def learned(self) -> int:
        """Number of learned tokens."""
        return sum(label != IGNORE for label in self.labels)


class Tokenized(NamedTuple):
    """A row in short: its ids, the spans of tokens that are learned, ascending, and its turn ends."""

    ids: list[int]
    learned: list[Span]
    turn_ends: list[int]

    @property
    def learned_tokens(self) -> int:
        """Number of learned tokens."""
        return sum(end - begin for begin, end in self.learned)

    def row(self, where: str) -> Row:
        """The same as a row."""
        labels = [IGNORE] * len(self.ids)
        for start, end in self.learned:
            labels[start:end] = self.ids[start:end]
        return Row(tuple(self.ids), tuple(labels), where, tuple(self.turn_ends))


def all_but(spans: list[Span], length: int) -> list[Span]:
    """The stretches of a row that none of the spans holds."""
    borders = [0, *(place for span in spans for place in span), length]
    return [(begin, end) for begin, end in zip(borders[::2], borders[1::2]) if begin < end]
