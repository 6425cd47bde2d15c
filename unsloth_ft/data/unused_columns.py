"""Columns beside a conversation that would change the row, and are not used: said, with what to do. Ids, sources and tags pass."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from . import column_words
from .wording import count, printable, quote

SYSTEM, INPUT, CONTEXT = "unused-system", "unused-input", "unused-context"
_SYSTEMS = (*column_words.SYSTEMS, "system_instruction", "sysprompt")
_CONTEXTS = (*column_words.CONTEXTS, *"contexts documents passages knowledge paragraph reference_text source_text".split())


def unused(row: Mapping[str, object], shape: str) -> Iterator[tuple[str, str]]:
    """(code, column) of each; `row` is renamed."""
    for key, value in row.items():
        if key == "system" or not (value.strip() if isinstance(value, str) else isinstance(value, (list, dict)) and value):
            continue
        if column_words.means(key, _SYSTEMS) and isinstance(value, str) and not row.get("system"):
            yield SYSTEM, key
        elif column_words.means(key, _CONTEXTS):
            yield (INPUT if shape == "instruction/input/output" and isinstance(value, str) and not row.get("input") else CONTEXT), key


def message(code: str, column: str, rows: int) -> str:
    """What to do with a column that so many rows have."""
    name = {SYSTEM: "system", INPUT: "input"}.get(code)
    found = f"{quote(column, limit=40)} in {count(rows, 'row')} is not used, and it may change what is right to answer"
    if name is None:
        return f"{found}. Join it into the question, or remove it."
    return f"{found}. Pass --set {shlex.quote(f'data.columns.{name}={printable(column)}')}, or remove it."
