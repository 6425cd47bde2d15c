"""Questions on both sides of a split, in rows that are held; and what makes two questions the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from .conversation import Conversation
from .findings import Finding

# Marks that carry meaning in a question: C# is not C, 50% is not 50, a/b is not a b.
_KEPT = frozenset("#%&*@/\\")
_APOSTROPHES = re.compile(r"(?<=\w)['\u2019\u02bc](?=\w)")
_MINUS = re.compile(r"(?<![^\W\d])-(?=\d)")  # -5 and 2-2 keep it, GPT-4 does not
_MINUS_KEPT = "\u2212"  # the minus sign proper: a symbol, not punctuation


class _Collapses(dict[int, str]):
    """For str.translate: what each character becomes, worked out when it is first met."""

    def __missing__(self, number: int) -> str:
        character = chr(number)
        dropped = character not in _KEPT and unicodedata.category(character)[0] in "PZC"
        self[number] = " " if dropped else character
        return self[number]


@cache
def _collapses() -> _Collapses:
    return _Collapses()


def normalise(question: str) -> str:
    """The question without what two writers do differently: case, width, punctuation, spacing. Never empty unless blank."""
    folded = question.lower()
    if not question.isascii():
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", question).casefold())
    marked = _APOSTROPHES.sub("", folded) if "'" in folded or not folded.isascii() else folded
    marked = _MINUS.sub(_MINUS_KEPT, marked) if "-" in marked else marked
    collapsed = " ".join(marked.translate(_collapses()).split())
    return collapsed or " ".join(folded.split())


def leaks(train: Iterable[Conversation], held_out: Iterable[Conversation], *, allow_leak: bool = False) -> tuple[Finding, ...]:
    """A finding for each held-out row whose question is in the training rows: an error, or a warning with `allow_leak`."""
    first: dict[str, Conversation] = {}
    for conversation in train:
        first.setdefault(normalise(conversation.question), conversation)
    findings = []
    for conversation in held_out:
        same = first.get(normalise(conversation.question))
        if same is not None:
            findings.append(leak(conversation.file, conversation.line, same.where, allowed=allow_leak))
    return tuple(findings)


def leak(file: str, line: int, at: str, *, allowed: bool) -> Finding:
    """What is said of one held-out row, whose question is in the training data `at` that place."""
    message = f"the question is also in the training data, at {at}: its score would measure memory"
    if allowed:
        return Finding(file, line, "warning", "leak", f"{message} (allowed).")
    return Finding(file, line, "error", "leak", f"{message}. Remove one of the two, or pass --set data.allow_leak=true.")
