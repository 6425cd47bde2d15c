"""The held-out split: rows that are never trained on, chosen by their question and the seed, not by their place in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError
from .checks import normalise
from .conversation import Conversation


@dataclass(frozen=True)
class Split:
    """Both sides in the order the rows came; neither is empty, and no question is on both."""

    train: tuple[Conversation, ...]
    held_out: tuple[Conversation, ...]


def split(conversations: Sequence[Conversation], *, share: float = 0.1, rows: int | None = None, seed: int) -> Split:
    """Hold out about `share` of the rows (or a number of `rows`), at least one, never more than asked unless every group of one question is larger.

    Rows with the same normalised question stay together. Questions are drawn in the order of a hash of the seed and the question,
    so shuffling the file, or adding a row, leaves the other rows' order of being drawn as it was.

    Raises: UserError when `share` is not between 0 and 1, or when there are fewer than two different questions.
    """
    if not 0 < share < 1:
        raise UserError(f"the held-out share is {share}; expected a number between 0 and 1, such as 0.1.")
    questions = [normalise(conversation.question) for conversation in conversations]
    groups: dict[str, int] = {}
    for question in questions:
        groups[question] = groups.get(question, 0) + 1
    if len(groups) < 2:
        raise UserError(_too_few(conversations))
    held = _drawn(groups, wanted=rows or max(1, round(share * len(questions))), seed=seed)
    pairs = list(zip(conversations, questions, strict=True))
    return Split(
        train=tuple(conversation for conversation, question in pairs if question not in held),
        held_out=tuple(conversation for conversation, question in pairs if question in held),
    )


def _drawn(groups: dict[str, int], *, wanted: int, seed: int) -> set[str]:
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
