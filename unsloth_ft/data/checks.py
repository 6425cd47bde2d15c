"""Checks across rows: duplicates, one question with several answers, questions on both sides of a split, reserved tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from .conversation import Conversation
from .dataset import canonical
from .findings import Finding
from .wording import count, quote

LISTED_LINES = 5  # of a group, before "and N more"

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


def duplicates(conversations: Iterable[Conversation]) -> tuple[Finding, ...]:
    """A warning for each group of rows that are equal word for word, at its second row."""
    groups: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        groups.setdefault(canonical(conversation), []).append(conversation)
    return tuple(
        _warning(rows[1], "duplicate", f"the same row as {_places(rows[:1])}{_others(rows[2:])}. Remove the copies, or it weighs more.")
        for rows in groups.values()
        if len(rows) > 1
    )


def contradictions(conversations: Iterable[Conversation]) -> tuple[Finding, ...]:
    """A warning for each question (with the same system prompt) that has several different first answers."""
    groups: dict[tuple[str, str], dict[str, Conversation]] = {}
    for conversation in conversations:
        if conversation.text is not None:
            continue
        system = next((message.content for message in conversation.messages if message.role == "system"), "")
        answer = next((message.content for message in conversation.messages if message.role == "assistant"), "")
        groups.setdefault((system, normalise(conversation.question)), {}).setdefault(answer.strip(), conversation)
    findings = []
    for answers in groups.values():
        rows = list(answers.values())
        if len(rows) > 1:
            asked = quote(rows[0].question, limit=40)
            message = f"the question {asked} has another answer at {_places(rows[:1])}{_others(rows[2:])}. Keep one answer a question."
            findings.append(_warning(rows[1], "contradiction", message))
    return tuple(findings)


def leaks(train: Iterable[Conversation], held_out: Iterable[Conversation], *, allow_leak: bool = False) -> tuple[Finding, ...]:
    """A finding for each held-out row whose question is in the training rows: an error, or a warning with `allow_leak`."""
    first: dict[str, Conversation] = {}
    for conversation in train:
        first.setdefault(normalise(conversation.question), conversation)
    findings = []
    for conversation in held_out:
        same = first.get(normalise(conversation.question))
        if same is None:
            continue
        message = f"the question is also in the training data, at {same.where}: its score would measure memory"
        if allow_leak:
            findings.append(_warning(conversation, "leak", f"{message} (allowed)."))
        else:
            message += ". Remove one of the two, or pass --set data.allow_leak=true."
            findings.append(Finding(conversation.file, conversation.line, "error", "leak", message))
    return tuple(findings)


def reserved(conversations: Iterable[Conversation], tokens: Sequence[str]) -> tuple[Finding, ...]:
    """An error for each row whose messages hold one of `tokens`; rows of rendered text are meant to hold them and are passed."""
    if not tokens:
        return ()
    pattern = re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))
    findings = []
    for conversation in conversations:
        for message in conversation.messages:
            hit = pattern.search(message.content)
            if hit:
                text = f"the {message.role}'s text holds the reserved token {quote(hit[0])}. Remove or rewrite it."
                findings.append(Finding(conversation.file, conversation.line, "error", "reserved-token", text))
                break
    return tuple(findings)


def _warning(conversation: Conversation, code: str, message: str) -> Finding:
    return Finding(conversation.file, conversation.line, "warning", code, message)


def _places(rows: Sequence[Conversation]) -> str:
    return ", ".join(row.where for row in rows)


def _others(rows: Sequence[Conversation]) -> str:
    if not rows:
        return ""
    more = f" and {count(len(rows) - LISTED_LINES, 'other')}" if len(rows) > LISTED_LINES else ""
    return f" (also {_places(rows[:LISTED_LINES])}{more})"
