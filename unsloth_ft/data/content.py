"""Text out of a row's values: strings, and lists of text parts; null means absent, and nothing is ever turned into "None"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .wording import kind, quote

_STRANGE_WORDS = ("None", "nan", "NaN", "null", "<NA>", "undefined")  # what other tools write for a missing value; each may be an answer

# White space, and what leaves nothing to see: soft hyphen, zero-width and direction marks, fillers (Unicode 17, DerivedCoreProperties,
# Default_Ignorable_Code_Point; U+2800 is the braille pattern without dots).
_NOTHING_TO_SEE = re.compile(
    "[\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0]*"
)
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Problem:
    """A mistake (or a warning) in one row, before file and line are known."""

    code: str
    message: str
    severity: str = "error"


def required_text(value: object, name: str, *, trained: bool = True) -> str | Problem:
    """The text of a value that must be there; `name` is what messages call it. Only where `trained` is "None" a mistake."""
    text = _joined(value, name)
    if isinstance(text, Problem):
        return text
    if text is None:
        return Problem("null-content", f"{name} is null; expected text. Fill it in, or remove the row.")
    if not text.strip():
        found = "empty" if not text else "only white space"
        return Problem("empty-content", f"{name} is {found}; expected text. Fill it in, or remove the row.")
    if not text.isascii() and _NOTHING_TO_SEE.fullmatch(text):
        return Problem("empty-content", f"{name} holds only characters that show nothing; expected text. Fill it in, or remove the row.")
    return _refused(text, name, trained=trained) or text


def optional_text(value: object, name: str) -> str | Problem | None:
    """The text of a value that may be absent: null and blank are None."""
    text = _joined(value, name)
    if not isinstance(text, str):
        return text
    return (_refused(text, name, trained=True) or text) if text.strip() else None


def strange_word(text: str, name: str) -> Problem | None:
    """A warning when the whole text is what a tool writes for a missing value."""
    if text.strip() in _STRANGE_WORDS:
        return Problem("missing-as-text", f"{name} is {quote(text)}: a missing value written as text? It is used as it stands.", "warning")
    return None


def _refused(text: str, name: str, *, trained: bool) -> Problem | None:
    if trained and text.strip() == "None":
        return Problem("none-as-text", f'{name} is "None", as Python writes a missing value. Leave it out, or write what is meant.')
    return bad_character(text, name)


def bad_character(text: str, name: str) -> Problem | None:
    """What is no text at all: NUL, and halves of surrogate pairs."""
    if "\0" in text:
        return Problem("nul", f"{name} holds a NUL character. Remove it.")
    if not text.isascii() and SURROGATE.search(text):
        return Problem("surrogate", f"{name} holds half of a surrogate pair (a cut emoji), which is no character. Remove it.")
    return None


def _joined(value: object, name: str) -> str | Problem | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = list(_parts(value, name))
        problem = next((part for part in parts if isinstance(part, Problem)), None)
        return problem or "".join(part for part in parts if isinstance(part, str))
    way_out = " Put it in quotes." if isinstance(value, (int, float)) else " Write it as one text."
    return Problem("not-text", f"{name} is {kind(value)}; expected text.{way_out}")


def _parts(parts: list[object], name: str) -> Iterator[str | Problem]:
    for part in parts:
        if not isinstance(part, dict):
            yield Problem("not-text", f"{name} is an array that holds {kind(part)}; expected text. Write it as one text.")
        elif "role" in part or "from" in part:
            yield Problem("not-text", f'{name} is an array of messages; expected text. Put the whole conversation into "messages".')
        elif part.get("type") != "text":
            found = part.get("type")
            shown = f"of type {quote(found)}" if isinstance(found, str) else "without a type"
            yield Problem("not-supported", f"{name} has a part {shown}; only text is supported. Remove the row, or write it as text.")
        elif not isinstance(part.get("text"), str):
            yield Problem("not-text", f"{name} has a text part whose text is {kind(part.get('text'))}; expected text. Fill it in.")
        else:
            yield part["text"]
