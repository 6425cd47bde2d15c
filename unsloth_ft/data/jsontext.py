"""One JSON value from one text, with mistakes explained in sentences and nothing that recursion could kill."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

from .wording import quote

MAX_DEPTH = 64  # a conversation needs 3; Python's parser dies of recursion at about 1,000

_STRUCTURE = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")
_PYTHON_WORDS = {"None": "null", "True": "true", "False": "false"}
_NUMBERS = "JSON's numbers are like -12, 0.5 and 1e9; write it so, or in quotes"
_SPACE = " \t\r\n"  # what JSON calls whitespace; str.strip() alone would take more

Place = Callable[[int], str]


class JsonProblem(ValueError):
    """Why a text is not one JSON value; `code` as in Finding, `position` of the character where it goes wrong, if that is known."""

    def __init__(self, code: str, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.position = position

    def behind(self, characters: int) -> JsonProblem:
        """The same in a text with so many characters before it."""
        return JsonProblem(self.code, self.message, None if self.position is None else self.position + characters)


def column(position: int) -> str:
    """The place of a character in a one-line text."""
    return f"column {position + 1}"


def parse(text: str, place: Place = column) -> object:
    """The one value in `text`; `place` words a position for messages.

    Refuses what `json.loads` lets through: NaN and Infinity, numbers that become it, a key given twice, nesting deeper than MAX_DEPTH.
    Raises: JsonProblem.
    """
    if deeper_than(text, MAX_DEPTH):
        raise JsonProblem("too-deep", f"nested deeper than {MAX_DEPTH} levels; a row needs three. Remove it.")
    body = text.strip(_SPACE)
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _DECODER.raw_decode(body)
    except json.JSONDecodeError as error:
        raise _explained(body, error, lambda position: place(start + position)).behind(start) from None
    except JsonProblem:
        raise
    except ValueError:  # int() refuses more than 4,300 digits
        raise JsonProblem("number-too-long", "a number has more than 4,300 digits; write it as text.") from None
    rest = body[end:].lstrip(_SPACE)
    if rest:
        raise _after_the_value(body, rest, lambda position: place(start + position)).behind(start)
    return value


def deeper_than(text: str, limit: int) -> bool:
    """Whether brackets outside strings nest deeper than `limit`; stops at the first that does."""
    if text.count("[") + text.count("{") <= limit:
        return False
    depth = 0
    inside = False
    for match in _STRUCTURE.finditer(text):
        token = match[0]
        if token == '"':
            inside = not inside
        elif inside or token[0] == "\\":
            continue
        elif token in "[{":
            depth += 1
            if depth > limit:
                return True
        else:
            depth -= 1
    return False


def _refuse_constant(word: str) -> object:
    raise JsonProblem("not-a-number", f"{word} is not JSON. Write null, or leave the key out.")


def finite_number(text: str) -> float:
    """1e999 is JSON, but infinity to whoever reads it, and what is written then is no JSON."""
    number = float(text)
    if math.isinf(number):
        raise JsonProblem("number-too-large", f"the number {quote(text, limit=20)} is too large: it would be read as infinity. Write it as text.")
    return number


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        met: set[str] = set()
        twice = next(key for key, _ in pairs if key in met or met.add(key))
        shown = quote(twice, limit=40)
        raise JsonProblem("repeated-key", f"the key {shown} is there twice in one object. Remove or rename one of them.")
    return record


_DECODER = json.JSONDecoder(parse_float=finite_number, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)


def _problem(message: str, position: int) -> JsonProblem:
    return JsonProblem("invalid-json", f"not valid JSON: {message}", position)


def _after_the_value(body: str, rest: str, place: Place) -> JsonProblem:
    position = len(body) - len(rest)
    at = place(position)
    if rest[0] in "{[":
        return JsonProblem(
            "two-values", f"a second value starts at {at}; expected one object a line. Put a line break before it.", position
        )
    value = {"{": "object", "[": "array"}.get(body[0], "value")
    if rest[0] == ",":
        return _problem(f"a comma after the {value} at {at}. Remove it: JSON Lines has no commas between rows.", position)
    if rest[0] in "}]":
        return _problem(f"one {rest[0]} too many at {at}. Remove it.", position)
    if _comment(rest, 0):
        return _problem(f"a comment at {at}; JSON has none. Remove it.", position)
    return _problem(f"text after the {value} at {at}. Remove it.", position)


def _explained(body: str, error: json.JSONDecodeError, place: Place) -> JsonProblem:
    """The parser's message in our words. `error.msg` is compared by its beginning: CPython 3.10 to 3.14 word these alike."""
    position = error.pos
    comma = _trailing_comma(body, position)
    if comma is not None:
        return _problem(f"a trailing comma at {place(comma)}. Remove it.", comma)
    if error.msg.startswith("Unterminated string"):
        return _problem(
            f"the string that starts at {place(position)} has no closing quote. Close it, or write a line break inside text as \\n.",
            position,
        )
    if error.msg.startswith("Invalid control character"):
        found = body[position]
        return _problem(f"a raw {_control_name(found)} inside a string at {place(position)}. Write it as {_escape(found)}.", position)
    if error.msg.startswith("Invalid \\u"):
        return _problem(f"\\u without four hexadecimal digits behind it at {place(position)}. Write a backslash in text as \\\\.", position)
    if error.msg.startswith("Invalid \\"):
        return _problem(f"an unknown backslash escape at {place(position)}. Write a backslash in text as \\\\.", position)
    if position >= len(body):
        return _problem(f"it ends in the middle of a value, at {place(len(body))}. The file may be cut off.", len(body))
    return _problem(_unexpected(body, position, error.msg, place), position)


def _trailing_comma(body: str, position: int) -> int | None:
    """The comma's position. Python before 3.13 reports the closing bracket, later ones the comma."""
    if body[position : position + 1] in ("}", "]"):
        before = body[:position].rstrip(_SPACE)
        return len(before) - 1 if before.endswith(",") else None
    if body[position : position + 1] == "," and body[position + 1 :].lstrip(_SPACE)[:1] in ("}", "]"):
        return position
    return None


def _unexpected(body: str, position: int, wanted: str, place: Place) -> str:
    found = body[position]
    at = place(position)
    word = _WORD.match(body, position)
    if found == "'":
        return f"single quotes at {at}; JSON has double quotes only. This may be Python's notation: write it with json.dumps."
    if word and word[0] in _PYTHON_WORDS:
        return f"{word[0]} at {at} is Python's word. Write {_PYTHON_WORDS[word[0]]}."
    if found == "\ufeff":
        return f"a byte order mark at {at}; only the first line of a file may have one. Remove it."
    if _comment(body, position):
        return f"a comment at {at}; JSON has none. Remove it."
    shown = "a quote" if found == '"' else quote(word[0] if word else found, limit=20)
    if wanted.startswith("Expecting property name"):
        return f"found {shown} at {at}; expected a key in double quotes."
    if wanted.startswith("Expecting ':'"):
        return f"found {shown} at {at}; expected a colon after the key."
    if wanted.startswith("Expecting ','"):
        return f"found {shown} at {at}; expected a comma or a closing bracket. {_hint(body, position)}"
    numbers = f" {_NUMBERS}." if found in "+-." or found.isdigit() else ""
    return f"found {shown} at {at}; expected a value.{numbers}"


def _hint(body: str, position: int) -> str:
    """What most likely ended the value before `position` too early."""
    before = body[:position].rstrip(_SPACE)[-1:]
    if before.isdigit() and body[position] not in "}]":
        return f"{_NUMBERS}."
    return 'A quote inside text is written \\".' if before == '"' and body[position] not in "}]" else "Mend it there."


def _comment(text: str, position: int) -> bool:
    return text.startswith(("//", "/*", "#"), position)


def _control_name(character: str) -> str:
    names = {"\n": "line break", "\r": "carriage return", "\t": "tab", "\0": "NUL"}
    return names.get(character, f"control character U+{ord(character):04X}")


def _escape(character: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\u{ord(character):04x}")
