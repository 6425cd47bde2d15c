"""Some rows of a file, read without reading the rest of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import UserError
from .conversation import Conversation
from .findings import Finding, raise_errors
from .rows import rows
from .sources import Source, records_at
from .wording import printable


@dataclass(frozen=True)
class Picked:
    """The rows asked for, in the file's order, and the errors of those before them that can't be read."""

    conversations: tuple[Conversation, ...]
    errors: tuple[Finding, ...]


def first_rows(path: str, number: int, *, columns: Mapping[str, str], roles: Mapping[str, str], offline: bool) -> Picked:
    """The first `number` good rows. Raises: UserError when there is none, MachineError when the machine can't read it."""
    found: list[Conversation] = []
    wrong: list[Finding] = []
    for item in rows(path, Source(path, offline).records(), columns=columns, roles=roles):
        if isinstance(item, Finding):
            wrong += [item] if item.severity == "error" else []
            continue
        found.append(item.conversation)
        if len(found) == number:
            break
    if not found:
        raise_errors(wrong or [Source(path, offline).no_rows()])
    return Picked(tuple(found), tuple(wrong))


def rows_at(path: str, places: Collection[int], *, columns: Mapping[str, str], roles: Mapping[str, str], offline: bool) -> Picked:
    """The rows on these lines (of arrays, CSV and Parquet: with these numbers); of JSON Lines no other is parsed.

    Raises: UserError for a line that has no row, or one that can't be read.
    """
    found: list[Conversation] = []
    wrong: list[Finding] = []
    for item in rows(path, records_at(Source(path, offline), places), columns=columns, roles=roles):
        if isinstance(item, Finding):
            wrong += [item] if item.severity == "error" and _concerns(item, places) else []
        else:
            found.append(item.conversation)
    raise_errors(wrong)
    absent = sorted(set(places) - {conversation.line for conversation in found})
    if absent:
        way_out = "expected a line that has one (of arrays, CSV and Parquet: the row's number)."
        raise UserError(f"{printable(path)}:{absent[0]}: there is no row; {way_out}")
    return Picked(tuple(found), ())


def _concerns(finding: Finding, places: Collection[int]) -> bool:
    """A file without rows is said so only where it was read to its end, which isn't here."""
    return finding.line in places or (finding.line is None and finding.code != "empty")
