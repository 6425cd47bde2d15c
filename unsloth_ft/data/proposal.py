"""The `--set` options that would make a row whole: which of its columns is most likely the question, and which the answer."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from . import column_words

TRIED_KEYS = 50  # of a row
_IDENTITY = re.compile(r"(?i:(?:^|[\W_])(?:ids?|uuid|guid|node)|^(?:creat|updat)ed?[\W_]*(?:time|at|on|date)|^timestamp)$|[a-z](?:Id|ID|UUID)$|^(?:creat|updat)ed?(?:Time|At)$")
_WITH_INPUT = ("instruction", "output")
_USUAL = ("question", "answer")

Option = tuple[str, str]
"""A standard name, and the column that has it."""


def proposed(row: Mapping[str, object], columns: Mapping[str, str], shapes: Sequence[tuple[str, ...]]) -> str:
    """The options as they are typed, or ''. `row` is renamed by `columns`; `shapes` are the names that a row of each must have."""
    free = [key for key in row if key not in columns and not _IDENTITY.search(key.strip())][:TRIED_KEYS]
    chat = _chat(row, free) if ("messages",) in shapes and not columns else ()
    pairs = [shape for shape in shapes if len(shape) == 2]
    options = chat or _pair(row, [key for key in free if isinstance(row[key], str)], columns, pairs)
    return " ".join(f"--set {shlex.quote(f'data.columns.{name}={_typed(column)}')}" for name, column in options)


def source(row: Mapping[str, object], column: str) -> str | None:
    """The row's key for a column as the user typed it."""
    return column if column in row else next((key for key in row if _typed(key) == column), None)


def _typed(key: str) -> str:
    """A key without what nobody types: byte order marks, zero-width spaces, line breaks, spaces around it."""
    return "".join(character for character in key if character.isprintable()).strip()


def _chat(row: Mapping[str, object], free: Sequence[str]) -> tuple[Option, ...]:
    """A column of message lists, and what its messages call role and content."""
    lists = [key for key in free if isinstance(row[key], list) and row[key]]
    messages = [key for key in lists if isinstance(row[key][0], dict)]
    named = [key for key in messages if {"role", "from"} & set(row[key][0])]
    key = column_words.best(messages, column_words.CHATS) or next(iter(named), None) or column_words.best(lists, column_words.CHATS)
    if key is None or not isinstance(row[key][0], dict):
        return () if key is None else (("messages", key),)
    message = row[key][0]
    role = None if {"role", "from"} & set(message) else column_words.best(message, column_words.ROLES)
    content = None if {"content", "value"} & set(message) else column_words.best(message, column_words.CONTENTS)
    if content is None and not {"content", "value"} & set(message):
        return ()
    options = (("messages", key), ("role", role), ("content", content))
    return tuple((name, column) for name, column in options if column is not None and name != column)


def _pair(row: Mapping[str, object], texts: list[str], columns: Mapping[str, str], pairs: Sequence[tuple[str, ...]]) -> tuple[Option, ...]:
    """Columns for the question and the answer, and for what stands beside them."""
    if not pairs:
        return ()
    begun = [pair for pair in pairs if pair[0] in row] or [pair for pair in pairs if pair[1] in row]
    names = begun[0] if begun else _USUAL if _USUAL in pairs else pairs[0]
    answer = names[1] if names[1] in row else column_words.best([key for key in texts if key not in names], column_words.ANSWERS)
    others = [key for key in texts if key not in (answer, *names)]
    question = names[0] if names[0] in row else column_words.best(others, column_words.QUESTIONS)
    if len(texts) == 2 and not columns:
        question, answer = _left_over(texts, question, answer)
    if question is None or answer is None:
        return ()
    left = [key for key in texts if key not in (question, answer)]
    beside = column_words.best(left, column_words.CONTEXTS)
    if beside is not None and _WITH_INPUT in pairs and not begun:
        names = _WITH_INPUT
    system = column_words.best([key for key in left if key != beside], column_words.SYSTEMS)
    options = [(names[0], question), (names[1], answer), ("input", beside if names == _WITH_INPUT else None), ("system", system)]
    return tuple((name, column) for name, column in options if column is not None and name != column)


def _left_over(texts: Sequence[str], question: str | None, answer: str | None) -> tuple[str | None, str | None]:
    """Of two columns of which one is known, the other one."""
    other = next((key for key in texts if key not in (question, answer)), None)
    if question is None and answer is None:
        return None, None
    return question or other, answer or other
