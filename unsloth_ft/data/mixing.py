"""Rehearsal: a share of general rows among the training rows, so that the model keeps what it could before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import UserError
from .conversation import Conversation
from .dataset import Dataset, FileFacts, canonical, conversations_sha256
from .globs import is_pattern
from .paths import given_twice, same_file
from .shelf import chosen
from .split import rank
from .wording import count, printable

EXPECTED = "expected FILE:SHARE, like general.jsonl:0.15"


@dataclass(frozen=True)
class Part:
    """What was asked for: rows of `path` as this `share` of the mixed training rows, between 0 and 1."""

    path: str
    share: float


@dataclass(frozen=True)
class Mixed:
    """What came of a Part: the file's facts, and the rows drawn from it in the file's order."""

    facts: FileFacts
    share: float
    rows: Sequence[Conversation]

    @cached_property
    def sha256(self) -> str:
        """Of the rows that were drawn."""
        return conversations_sha256(self.rows)


def parts(texts: Sequence[str]) -> tuple[Part, ...]:
    """`general.jsonl:0.15` as a Part. Raises UserError for what is none, for a file given twice, for shares that leave no room."""
    found = tuple(map(_part, texts))
    twice = given_twice([part.path for part in found])
    if twice:
        number, message = next(iter(twice.items()))
        raise UserError(f"--mix {printable(found[number].path)}: {message}")
    together = math.fsum(part.share for part in found)
    if together >= 1:
        raise UserError(f"--mix: the shares add up to {together:g}; expected less than 1, since the rest is --data.")
    return found


def refuse_training_files(wanted: Sequence[Part], data: Sequence[str], option: str = "--data") -> None:
    """Raises UserError where a mixed file is one of `data`: its rows would be there twice."""
    for part in wanted:
        same = next((path for path in data if same_file(part.path, path)), None)
        if same is not None:
            raise UserError(f"--mix {printable(part.path)}: the same file as {option} {printable(same)}. Mix in other rows than those.")


def wanted_rows(wanted: Sequence[Part], own_rows: int) -> tuple[int, ...]:
    """Rows of each part beside `own_rows`; at least one each. The shares are of all of them together."""
    together = own_rows / (1 - math.fsum(part.share for part in wanted))
    return tuple(max(1, round(part.share * together)) for part in wanted)


def draw(dataset: Dataset, part: Part, rows: int, *, largest_share: float, seed: int) -> Mixed:
    """`rows` of the file, chosen by a hash of the seed and the row: the same ones wherever they stand in it.

    Raises UserError when the file has fewer; none is ever taken twice. `largest_share` is what it would be enough for.
    """
    given = dataset.conversations
    if len(given) < rows:
        way_out = f"Pass at most {part.path}:{largest_share:g}" if largest_share else "Pass a larger file"
        way_out += ", or a larger file." if largest_share else ", or fewer rows of --data."
        raise UserError(
            f"--mix {printable(part.path)}:{part.share:g}: that share takes {count(rows, 'row')}, and the file has {len(given):,}. "
            f"No row is taken twice. {way_out}"
        )
    ranked = sorted(range(len(given)), key=lambda place: (rank(canonical(given[place]), seed), place))
    return Mixed(dataset.files[0], part.share, chosen(given, sorted(ranked[:rows])))


def largest_share(wanted: Sequence[Part], part: Part, own_rows: int, rows: int) -> float:
    """The share that `rows` rows are enough for beside the other parts, rounded down to thousandths."""
    others = math.fsum(other.share for other in wanted if other != part)
    return math.floor(1000 * rows * (1 - others) / (own_rows + rows)) / 1000


def _part(text: str) -> Part:
    path, _, share = text.rpartition(":")
    try:
        number = float(share)
    except ValueError:
        number = None
    if number is None or not path:
        raise UserError(f"--mix {printable(text)}: {EXPECTED}.")
    if not 0 < number < 1:
        raise UserError(f"--mix {printable(text)}: the share is {number:g}; expected a part of all training rows: above 0, below 1.")
    if is_pattern(path):
        raise UserError(f"--mix {printable(text)}: a pattern; expected one file. Pass --mix once for each, with its own share.")
    return Part(path, number)
