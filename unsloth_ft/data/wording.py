"""How values are shown in messages: quoted, cut to a length, nothing that a terminal would obey."""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Iterable


def printable(text: str) -> str:
    """`text` with control characters, direction marks and lone surrogates written as escapes."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def quote(text: str, *, limit: int = 60) -> str:
    """`text` in double quotes, at most `limit` characters of it."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return printable(json.dumps(cut, ensure_ascii=False))


def listed(names: Iterable[str], *, limit: int = 8) -> str:
    """'"a", "b" and "c"', and how many more there are past `limit`."""
    names = list(names)
    quoted = [quote(name, limit=40) for name in names[:limit]]
    if len(names) > limit:
        return f"{', '.join(quoted)} and {len(names) - limit} more"
    return " and ".join(filter(None, (", ".join(quoted[:-1]), *quoted[-1:])))


def given_twice(names: Iterable[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, times in Counter(names).items() if times > 1), None)


def kind(value: object) -> str:
    """What a value is, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isinf(value):
        return "a number too large to be held"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:30]}"
    if isinstance(value, str):
        return f"the text {quote(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array"
    return f"of type {type(value).__name__}"


def cleaned(path: str, command: str) -> str:
    """A shell line that writes a mended copy: `command` with FILE as the path, its output beside it."""
    name = path.rsplit("/", 1)[-1]
    stem, dot, ending = name.partition(".")
    target = path[: len(path) - len(name)] + f"{stem}.clean{dot}{ending}"
    if name.endswith((".gz", ".zst")) or not path.isprintable():
        return f"{command} > CLEAN, on the unpacked file"
    return f"{command.replace('FILE', shlex.quote(path))} > {shlex.quote(target)}"


def count(number: int, noun: str) -> str:
    """'1 row', '1,200 rows'."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
