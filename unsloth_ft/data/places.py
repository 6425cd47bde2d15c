"""Lines to look at, in bounded memory: the first few of a kind, and the longest or shortest few."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

KEPT = 10  # lines of a kind: enough to see the pattern, few enough to read
LIKE_THE_OTHERS = 0.95  # share of the answers, in one script, language or style, from which on the rest stands out


class Place(NamedTuple):
    """A row's file and line."""

    file: str
    line: int


@dataclass
class Places:
    """How many rows are of a kind, and where the first of them are; merged in the files' order."""

    number: int = 0
    first: list[Place] = field(default_factory=list)

    def add(self, file: str, line: int) -> None:
        """One more row."""
        self.number += 1
        if len(self.first) < KEPT:
            self.first.append(Place(file, line))

    def merge(self, other: Places) -> None:
        """The rows that come after these."""
        self.number += other.number
        self.first += other.first[: KEPT - len(self.first)]


class Extreme(NamedTuple):
    """A length and the row that has it."""

    length: int
    file: str
    line: int


@dataclass
class Extremes:
    """The rows with the largest lengths, or (`sign` -1) the smallest; of equal ones the first."""

    sign: int = 1
    rows: list[Extreme] = field(default_factory=list)

    def add(self, length: int, file: str, line: int) -> None:
        """One more row."""
        rows, sign = self.rows, self.sign
        if len(rows) == KEPT and length * sign <= rows[-1].length * sign:
            return
        self._keep([*rows, Extreme(length, file, line)])

    def merge(self, other: Extremes) -> None:
        """The rows that come after these."""
        self._keep([*self.rows, *other.rows])

    def _keep(self, rows: list[Extreme]) -> None:
        self.rows = sorted(rows, key=lambda row: -self.sign * row.length)[:KEPT]


def told(places: Iterable[Place | Extreme], number: int) -> str:
    """'lines 3, 7 and 12', with the file where there are several, and how many more there are."""
    found = [(place.file, place.line) for place in places]
    several = len({file for file, _ in found}) > 1
    names = [f"{file}:{line}" if several else str(line) for file, line in found]
    more = f" and {number - len(names):,} more" if number > len(names) else ""
    if len(names) > 1 and not more:
        names[-2:] = [f"{names[-2]} and {names[-1]}"]
    return f"{'' if several else 'line ' if len(found) == 1 else 'lines '}{', '.join(names)}{more}"
