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

_ALL_LINKED = (
    "all rows are near duplicates of each other, over any number of steps, so that rows were held out whose near duplicates are trained on: "
    "their score may measure memory. Add other rows, or pass --eval-data FILE with questions to measure on."
)


@dataclass(frozen=True)
class Split:
    """Both sides in the order the rows came; neither is empty, and no question is on both, nor a row and its near duplicate, unless `warnings` say so."""

    train: Sequence[Conversation]
    held_out: Sequence[Conversation]
    warnings: tuple[str, ...] = ()


def split(conversations: Sequence[Conversation], *, share: float = 0.1, rows: int | None = None, seed: int) -> Split:
    """Hold out about `share` of the rows (or a number of `rows`), at least one, never more than asked unless every group of one question is larger.

    Rows with the same normalised question stay together, and near duplicates do, unless that leaves one group. Questions are drawn in the order of a hash of the seed
    and the question, so shuffling the file, or adding a row, leaves the other rows' order of being drawn as it was.

    Raises: UserError when `share` is not between 0 and 1, or when there are fewer than two different questions.
    """
    if not 0 < share < 1:
        raise UserError(f"the held-out share is {share}; expected a number between 0 and 1, such as 0.1.")
    questions = [normalise(conversation.question) for conversation in conversations]
    if len(set(questions)) < 2:
        raise UserError(_too_few(conversations))
    names = _names(groups(conversations, questions), questions, seed)
    linked = len(set(names)) < 2
    if linked:
        names = questions  # one group cannot be split
    held = _drawn(Counter(names), wanted=rows or max(1, round(share * len(names))), seed=seed)
    return Split(
        train=chosen(conversations, [place for place, name in enumerate(names) if name not in held]),
        held_out=chosen(conversations, [place for place, name in enumerate(names) if name in held]),
        warnings=(f"{conversations[0].file}: {_ALL_LINKED}",) if linked else (),
    )


def groups(conversations: Sequence[Conversation], questions: Sequence[str]) -> list[int]:
    """For each row the number of its group's first: rows with one (normalised) question, and rows nearly the same, over any number of steps."""
    from .part import signed_all
    from .similar import joined, linked

    first: dict[str, int] = {}
    same = [first.setdefault(question, place) for place, question in enumerate(questions)]
    return joined(linked(signed_all(conversations)), same).tolist()


def _names(group: Sequence[int], questions: Sequence[str], seed: int) -> list[str]:
    """A group is called by that of its questions that is drawn first."""
    drawn: dict[int, str] = {}
    for number, question in zip(group, questions, strict=True):
        known = drawn.setdefault(number, question)
        if question != known and rank(question, seed) < rank(known, seed):
            drawn[number] = question
    return [drawn[number] for number in group]


def _drawn(groups: Mapping[str, int], *, wanted: int, seed: int) -> set[str]:
    order = sorted(groups, key=lambda question: rank(question, seed))
    held: set[str] = set()
    rows = 0
    for question in order:
        if len(held) + 1 < len(groups) and rows + groups[question] <= wanted:
            held.add(question)
            rows += groups[question]
    return held or {min(order, key=lambda question: groups[question])}


def rank(text: str, seed: int) -> bytes:
    """By which rows are drawn: of the seed and of what the row says, wherever it stands in a file."""
    return hashlib.sha256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest()


def _too_few(conversations: Sequence[Conversation]) -> str:
    if not conversations:
        return "there are no rows to split; expected at least 2 with different questions. Add rows, or pass --eval-data FILE."
    return f"{conversations[0].file}: {one_question(len(conversations))}"


def one_question(rows: int) -> str:
    """What is said of rows that have no more than one question: a run needs other ones to measure on."""
    found = "1 row" if rows == 1 else f"{rows:,} rows with one and the same question"
    return (
        f"{found}; a held-out split needs at least 2 rows with different questions. "
        "Add rows, or pass --eval-data FILE with questions to measure on."
    )
