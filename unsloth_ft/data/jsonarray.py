"""A JSON array of objects, element by element: the array itself is never held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .findings import Finding
from .jsonfiles import Nesting, Record, decoded, error, record
from .streams import CHUNK_BYTES, MAX_LINE_BYTES

_SPACE = b" \t\r\n"


@dataclass(frozen=True)
class _Position:
    """Where the next element starts: byte offset in the file, line from 1, characters before it on that line."""

    offset: int
    line: int
    column: int

    def after(self, raw: bytes) -> _Position:
        text = raw.decode("utf-8", "replace")
        breaks = text.count("\n")
        column = len(text) - text.rfind("\n") - 1 if breaks else self.column + len(text)
        return _Position(self.offset + len(raw), self.line + breaks, column)

    def place(self, text: str, position: int) -> str:
        at = self.after(text[:position].encode("utf-8"))
        return f"line {at.line}, column {at.column + 1}"


@dataclass(frozen=True)
class Element:
    """The bytes between two separators; `raw` is None when they were too many, `end` is the separator, b'' at the file's end.

    `left_open`: what stands behind the last separator of an array that isn't closed; None when it is too much.
    """

    raw: bytes | None
    start: _Position
    end: bytes
    left_open: bytes | None = b""


def json_array(path: str, stream: BinaryIO) -> Iterator[Record | Finding]:
    """The array's objects, numbered from 1."""
    number = 0
    for element in elements(stream):
        if element.end == b"":
            yield _outside(path, number, element)
            return
        blank = element.raw is not None and not element.raw.strip(_SPACE)
        if element.end == b"}":
            yield _stray_brace(path, number + 1, element)
            return
        if blank and element.end == b"]":
            if number:
                message = f"not valid JSON: a trailing comma after record {number}, before the closing ]. Remove it."
                yield error(path, number, "invalid-json", message)
            continue
        number += 1
        yield _one(path, number, element, blank=blank)


def _one(path: str, number: int, element: Element, *, blank: bool) -> Record | Finding:
    if element.raw is None:
        message = f"the record is longer than {MAX_LINE_BYTES // 2**20} MiB. Remove or split it."
        return error(path, number, "line-too-long", message, offset=element.start.offset)
    if blank:
        return error(path, number, "invalid-json", "not valid JSON: nothing between two commas. Remove one.", offset=element.start.offset)
    text = decoded(path, number, element.start.offset, element.raw)
    if isinstance(text, Finding):
        return text
    start = element.start
    return record(path, number, text, lambda position: start.place(text, position), offset=start.offset, unit="record")


def _stray_brace(path: str, number: int, element: Element) -> Finding:
    raw = element.raw or b""
    brace = element.start.after(raw)
    message = f"not valid JSON: the }} at {brace.place('', 0)} closes no object; expected a comma or the array's ]. Mend it there."
    return error(path, number, "invalid-json", message, offset=brace.offset)


def _outside(path: str, number: int, element: Element) -> Finding:
    """What stands after the array's end, or that the end is missing."""
    if element.raw and not element.raw.strip(b"\0" + _SPACE):
        return decoded(path, number, element.start.offset, element.raw)
    if element.raw:
        message = f"more data after the array's end, at {element.start.place('', 0)}; expected one array, or one object a line. Remove it."
        return error(path, None, "invalid-json", message, offset=element.start.offset)
    message = f"the array has no closing ]; the file ends in or after record {number + 1}. It may be cut off."
    return error(path, None, "invalid-json", message)


def elements(stream: BinaryIO) -> Iterator[Element]:
    """Each element with what ended it; at last one with end b'' when the array isn't closed (raw b'') or isn't the end (raw set)."""
    head, at = _opening(stream)
    nesting = Nesting()
    nesting.feed(b"[")
    held: list[bytes] = []
    held_bytes = 0
    passed: _Position | None = None  # how far an element is read that is too long to be held
    chunk = head
    while chunk:
        start = 0
        for end in nesting.ends(chunk, outer=1):
            held.append(chunk[start:end])
            raw = b"".join(held)
            too_long = held_bytes + end - start > MAX_LINE_BYTES
            yield Element(None if too_long else raw, at, chunk[end : end + 1])
            at = passed.after(chunk[start : end + 1]) if passed else at.after(raw + b",")
            start, held, held_bytes, passed = end + 1, [], 0, None
            if nesting.depth < 1:
                yield from _rest(stream, chunk[start:], at)
                return
        held_bytes += len(chunk) - start
        if held_bytes <= MAX_LINE_BYTES:
            held.append(chunk[start:])
        else:
            passed = (passed or at.after(b"".join(held))).after(chunk[start:])
            held = []
        chunk = stream.read(CHUNK_BYTES)
    yield Element(b"", at, b"", None if passed else b"".join(held))


def _opening(stream: BinaryIO) -> tuple[bytes, _Position]:
    """The first chunk after the bracket that opens the array, and where it starts."""
    chunk = stream.read(CHUNK_BYTES)
    mark = 3 if chunk.startswith(b"\xef\xbb\xbf") else 0
    opening = chunk.index(b"[")
    start = _Position(mark, 1, 0).after(chunk[mark : opening + 1])
    return chunk[opening + 1 :] or stream.read(CHUNK_BYTES), start


def _rest(stream: BinaryIO, chunk: bytes, at: _Position) -> Iterator[Element]:
    while chunk:
        body = chunk.lstrip(_SPACE)
        at = at.after(chunk[: len(chunk) - len(body)])
        if body:
            yield Element(body, at, b"")
            return
        chunk = stream.read(CHUNK_BYTES)
