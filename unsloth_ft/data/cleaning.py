"""Characters that nobody sees, taken out of a text; and the white space around it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .characters import CONTROL, unseen
from .content import SURROGATE
from .wording import count

_ESCAPE_SEQUENCES = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]")  # terminal colours and cursor moves (ECMA-48, 5.4)
_CARRIAGE_RETURN = re.compile("\r(?!\n)")
_C1 = re.compile("[\x80-\x84\x86-\x9f]")  # U+0085 is a line break (Unicode, 5.8)
_NAMES = {"zero-width": "zero-width character", "hidden-text": "hidden character", "bidi-control": "direction character"}
_MOST_ROUNDS = 10
_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


def cleaned(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text without unseen characters, and what was done as (kind, words)."""
    done: list[tuple[str, str]] = []
    for code, pattern, replacement, said in _replacements(text):
        text, number = pattern.subn(replacement, text)
        if number:
            done.append((code, said(number)))
    return _without_unseen(text, done), done


def trimmed(text: str) -> str:
    """Without white space at its end and blank lines at its beginning; the first line's indentation stays where more lines follow.

    An answer may be code, whose lines are indented against each other.
    """
    text = _BLANK_LINES.sub("", text.rstrip())
    return text if "\n" in text else text.lstrip()


def _without_unseen(text: str, done: list[tuple[str, str]]) -> str:
    """Without zero-width, hidden and direction characters that no script or emoji needs; adds to `done`.

    Again where something new stands side by side: what was fine between two others may be wrong without them.
    """
    taken: dict[str, int] = {}
    for _ in range(_MOST_ROUNDS):
        places = list(unseen(text))
        if not places:
            break
        for code, begin, end in places:
            taken[code] = taken.get(code, 0) + end - begin
        out = {at for _, begin, end in places for at in range(begin, end)}
        text = "".join(character for at, character in enumerate(text) if at not in out)
    done += [(code, f"{count(number, _NAMES[code])} removed") for code, number in taken.items()]
    return text


def _replacements(text: str) -> Iterator[tuple]:
    if text.isprintable():
        return
    yield "control-character", _ESCAPE_SEQUENCES, "", lambda number: f"{count(number, 'terminal escape sequence')} removed"
    yield "control-character", _CARRIAGE_RETURN, "\n", lambda number: f"{count(number, 'carriage return')} became a line feed"
    yield "control-character", _C1, _windows, lambda number: f"{count(number, 'character')} U+0080 to U+009F read as Windows-1252 means it"
    yield "control-character", CONTROL, "", lambda number: f"{count(number, 'control character')} removed"
    yield "surrogate", SURROGATE, "", lambda number: f"{count(number, 'half')} of a surrogate pair removed"


def _windows(match: re.Match[str]) -> str:
    """What browsers make of a C1 control (HTML standard, 13.2.3.5): the Windows-1252 character, or the control where there is none."""
    try:
        return match[0].encode("latin-1").decode("cp1252")
    except UnicodeDecodeError:
        return match[0]
