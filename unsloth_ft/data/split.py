"""The held-out split: rows that are never trained on, chosen by their question and the seed, not by their place in the file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from .checks import normalise
from .conversation import Conversation
from .shelf import chosen


@dataclass(frozen=True)
class Split:
    """Both sides in the order the rows came; neither is empty, and no question is on both, nor a row and its near duplicate."""

    train: Sequence[Conversation]
    held_out: Sequence[Conversation]


def split(conversations: Sequence[Conversation], *, share: float = 0.1, rows: int | None = None, seed: int) -> Split:
    """Hold out about `share` of the rows (or a number of `rows`), at least one, never more than asked unless every group of one question is larger.

    Rows with the same normalised question stay together, and near duplicates do. Questions are drawn in the order of a hash of the seed
    and the question, so shuffling the file, or adding a row, leaves the other rows' order of being drawn as it was.

    Raises: UserError when `share` is not between 0 and 1, or when there are fewer than two different questions.
    """
    if not 0 < share < 1:
        raise UserError(f"the held-out share is {share}; expected a number between 0 and 1, such as 0.1.")
    questions = [normalise(conversation.question) for conversation in conversations]
    if len(set(questions)) < 2:
        raise UserError(_too_few(conversations))
    names = _names(groups(conversations), questions, seed)
    if len(set(names)) < 2:
        names = questions  # one group cannot be split; the check has named its rows
    held = _drawn(Counter(names), wanted=rows or max(1, round(share * len(names))), seed=seed)
    return Split(
        train=chosen(conversations, [place for place, name in enumerate(names) if name not in held]),
        held_out=chosen(conversations, [place for place, name in enumerate(names) if name in held]),
    )


def groups(conversations: Sequence[Conversation]) -> list[int]:
    """For each row the number of its group's first: rows with one question, and rows that are nearly the same, over any number of steps."""
    from .part import signed_all
    from .similar import joined, linked

    first: dict[str, int] = {}
    same = [first.setdefault(normalise(conversation.question), place) for place, conversation in enumerate(conversations)]
    return joined(linked(signed_all(conversations)), same).tolist()


def _names(group: Sequence[int], questions: Sequence[str], seed: int) -> list[str]:
    """A group is called by that of its questions that is drawn first."""
    drawn: dict[int, str] = {}
    for number, question in zip(group, questions, strict=True):
        known = drawn.setdefault(number, question)
        if question != known and _rank(question, seed) < _rank(known, seed):
            drawn[number] = question
    return [drawn[number] for number in group]


def _drawn(groups: Mapping[str, int], *, wanted: int, seed: int) -> set[str]:
    order = sorted(groups, key=lambda question: _rank(question, seed))
    held: set[str] = set()
    rows = 0
    for question in order:
        if len(held) + 1 < len(groups) and rows + groups[question] <= wanted:
            held.add(question)
            rows += groups[question]
    return held or {min(order, key=lambda question: groups[question])}


def _rank(question: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{question}".encode("utf-8", "surrogatepass")).digest()


def _too_few(conversations: Sequence[Conversation]) -> str:
    if not conversations:
        return "there are no rows to split; expected at least 2 with different questions. Add rows, or pass --eval-data FILE."
    where = conversations[0].file
    found = "1 row" if len(conversations) == 1 else f"{len(conversations):,} rows with one and the same question"
    return (
        f"{where}: {found}; a held-out split needs at least 2 rows with different questions. "
        "Add rows, or pass --eval-data FILE with questions to measure on."
    )
