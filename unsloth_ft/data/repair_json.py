"""JSON that is nearly right, read where only one reading is possible; what had to be repaired for it is said."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .content import Problem
from .jsonfiles import Nesting
from .jsontext import MAX_DEPTH, JsonProblem, deeper_than, finite_number, parse
from .repair_bytes import Say
from .streams import MAX_LINE_BYTES
from .wording import count, kind

_SPACE = " \t\r\n"
_BETWEEN = re.compile("[ \t\r\n,\ufeff]*")
# one mark after the other, since a pattern of whole strings starts again at each escaped quote of one that is never closed
_MARK = re.compile(r'\\.|"|,(?=[ \t\r\n]*[\]}])|[\x00-\x1f]', re.DOTALL)
_MOST_PYTHON = 2**20  # characters that are tried as Python's notation; its parser takes 100 times their memory
# An object that is spread over more is no row; the limit halves each time it was reached in vain, so that a broken file stays linear.
_MOST_LINES, _LEAST_LINES = 4096, 16


class Found(NamedTuple):
    """One value and the line where it begins; `text` is its own spelling where nothing was repaired, else None."""

    line: int
    value: object
    text: str | None


class _Notes(list[tuple[str, str]]):
    """(kind, what was done) of one text."""

    def constant(self, word: str) -> object:
        if word != "NaN":
            raise JsonProblem("not-a-number", f"{word} is not JSON. Write null, or leave the key out.")
        self.append(("not-a-number", "NaN became null, which means absent."))
        return None

    def pairs(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        record: dict[str, object] = {}
        for key, value in pairs:
            if key in record and record[key] != value:
                raise JsonProblem("repeated-key", f'the key "{key[:40]}" is there twice with different values. Remove or rename one of them.')
            if key in record:
                self.append(("repeated-key", f'the key "{key[:40]}" was there twice with the same value; one is left.'))
            record[key] = value
        return record


def rows(texts: Iterable[tuple[int, str | Problem]], say: Say) -> Iterator[Found | tuple[int, Problem]]:
    """The values of JSON Lines in order, also of objects spread over lines or several on one; or (line, why there is none)."""
    pending: deque[tuple[int, str | Problem]] = deque()
    source = iter(texts)
    most = _MOST_LINES
    first = blank = 0
    while True:
        item = pending.popleft() if pending else next(source, None)
        if item is None:
            break
        line, text = item
        if isinstance(text, Problem):
            yield line, text
        elif not text.strip(_SPACE):
            first, blank = first or line, blank + 1
        else:
            found = values(line, text, say)
            if isinstance(found, Problem) and is_open(text):
                joined, held = _joined(line, text, pending, source, most, say)
                found = joined or found
                pending.extendleft(reversed(held))
                most = most if joined else max(_LEAST_LINES, most // 2)
            yield from [(line, found)] if isinstance(found, Problem) else found
    if blank:
        say(first, "blank-line", f"{count(blank, 'blank line')} removed.")


def values(line: int, text: str, say: Say) -> list[Found] | Problem:
    """The one value of the text, or the objects in it, or why there is none."""
    try:
        return [Found(line, parse(text), text)]
    except JsonProblem as problem:
        wrong = problem
    if deeper_than(text, MAX_DEPTH):
        return Problem(wrong.code, wrong.message)
    notes = _Notes()
    found = _lenient(text, notes) or _python(text, notes)
    if not found:
        return Problem(wrong.code, wrong.message)
    for code, done in dict.fromkeys(notes):
        say(line, code, done)
    return [Found(line, value, None) for value in found]


def is_open(text: str) -> bool:
    """Whether the text ends inside an array, an object or a string: more may follow on the next line."""
    nesting = Nesting.behind(text)
    return nesting.depth > 0 or nesting.inside_string


def _joined(
    line: int, first: str, pending: deque[tuple[int, str | Problem]], source: Iterator[tuple[int, str | Problem]], most: int, say: Say
) -> tuple[list[Found] | None, list[tuple[int, str | Problem]]]:
    """The object that goes on over the next lines, or None and the lines that were looked at."""
    nesting = Nesting.behind(first + "\n")
    held: list[tuple[int, str | Problem]] = []
    characters = len(first)
    while len(held) < most and characters <= MAX_LINE_BYTES:
        item = pending.popleft() if pending else next(source, None)
        if item is None:
            return None, held
        held.append(item)
        text = item[1]
        if isinstance(text, Problem) or _is_row(text):
            return None, held
        characters += len(text)
        nesting.feed(text.encode("utf-8", "surrogatepass") + b"\n")
        if nesting.depth <= 0 and not nesting.inside_string:
            together = "\n".join([first, *(str(part) for _, part in held)])
            found = values(line, together, say)
            if isinstance(found, Problem):
                return None, held
            say(line, "joined-lines", f"a row that was spread over {count(len(held) + 1, 'line')} was written as one.")
            return [Found(line, row.value, None) for row in found], []
    return None, held


def _is_row(text: str) -> bool:
    """Whether a line is a row by itself: what goes on from the line before is indented, or no whole object."""
    if not text.startswith('{"'):
        return False
    try:
        return isinstance(parse(text), dict)
    except JsonProblem:
        return False


def _lenient(text: str, notes: _Notes) -> list[object]:
    """One value, or several objects; [] where that isn't what the text is."""
    decoder = json.JSONDecoder(strict=False, parse_float=finite_number, parse_constant=notes.constant, object_pairs_hook=notes.pairs)
    for candidate in dict.fromkeys((text, _without_trailing_commas(text))):
        notes.clear()
        try:
            found, commas = _sequence(candidate, decoder)
        except (json.JSONDecodeError, JsonProblem):
            continue
        except ValueError:  # int() refuses more than 4,300 digits
            return []
        if len(found) > 1 and not all(isinstance(value, dict) for value in found):
            return []
        _explain(found, commas or candidate != text, candidate, notes)
        return found
    return []


def _marks(text: str) -> Iterator[tuple[re.Match[str], bool]]:
    """Commas before a closing bracket, control characters and escapes, and whether each stands inside a string."""
    inside = False
    for match in _MARK.finditer(text):
        if match[0] == '"':
            inside = not inside
        else:
            yield match, inside


def _without_trailing_commas(text: str) -> str:
    kept = [0]
    for match, inside in _marks(text):
        if match[0] == "," and not inside:
            kept += [match.start(), match.end()]
    return "".join(text[start:end] for start, end in zip(kept[::2], [*kept[1::2], len(text)], strict=True))


def _sequence(text: str, decoder: json.JSONDecoder) -> tuple[list[object], bool]:
    """The values one after the other, and whether a comma stood behind the last."""
    found: list[object] = []
    at = _BETWEEN.match(text).end()
    commas = False
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        found.append(value)
        at = _BETWEEN.match(text, end).end()
        commas = at == len(text) and "," in text[end:at]
    return found, commas


def _explain(found: list[object], commas: bool, text: str, notes: _Notes) -> None:
    if len(found) > 1:
        notes.append(("several-rows", f"{count(len(found), 'row')} on one line became {len(found)} lines."))
    if commas:
        notes.append(("trailing-comma", "a trailing comma was removed."))
    if any(inside and match[0] < " " for match, inside in _marks(text)):
        notes.append(("raw-control", "a line break, tab or control character inside a string was written as an escape."))


def _python(text: str, notes: _Notes) -> list[object]:
    """The one dictionary in Python's notation, or []: literals only, nothing is run."""
    body = text.strip(_SPACE)
    # what stands behind the last bracket could be a comment, which Python's parser would pass over in silence
    if not (body.startswith("{") and body.endswith("}")) or len(body) > _MOST_PYTHON or body.count("{") + body.count("[") + body.count("(") > MAX_DEPTH:
        return []
    notes.clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an unknown backslash escape, which stays as it is
            value = _literal(ast.parse(body, mode="eval").body, notes)
    except (SyntaxError, ValueError, MemoryError, RecursionError, JsonProblem):
        return []
    notes.append(("python-notation", "Python's notation was written as JSON."))
    return [value]


def _literal(node: ast.expr, notes: _Notes) -> object:
    """The plain value of a syntax tree. Raises ValueError where it is none that JSON has."""
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (str, bool, int, float))):
        return finite_number(str(node.value)) if isinstance(node.value, float) else node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item, notes) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [_literal(key, notes) if key is not None else None for key in node.keys]
        if all(isinstance(key, str) for key in keys):
            return notes.pairs([(str(key), _literal(value, notes)) for key, value in zip(keys, node.values, strict=True)])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        number = _literal(node.operand, notes)
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return -number
    if isinstance(node, ast.Name) and node.id in ("nan", "NaN"):
        return notes.constant("NaN")
    raise ValueError(kind(ast.dump(node)[:40]))
