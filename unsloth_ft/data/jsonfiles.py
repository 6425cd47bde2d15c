"""JSON Lines, and arrays of objects, as records: one at a time, each mistake with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from . import shift_jis
from .findings import Finding
from .jsontext import JsonProblem, Place, column, parse
from .streams import MAX_LINE_BYTES, Line, Lines
from .wording import cleaned, count, kind

_SPACE = b" \t\r\n"


class Record(NamedTuple):
    """One record of a file and its line (for arrays, CSV and Parquet: its number)."""

    line: int
    value: dict[str, object]


def error(path: str, line: int | None, code: str, message: str, *, column: int | None = None, offset: int | None = None) -> Finding:
    """An error Finding."""
    return Finding(path, line, "error", code, message, column, offset)


def decoded(path: str, line: int, offset: int, raw: bytes) -> str | Finding:
    """The bytes as UTF-8 text without NUL, or what is wrong with them; `offset` is of the first byte in the file."""
    nul = raw.find(b"\0")
    if nul >= 0:
        if not raw.strip(b"\0 \t\r\n"):
            found = f"{count(raw.count(0), 'NUL byte')} from byte {offset + nul} of the file, as an interrupted copy leaves them"
        else:
            found = f"a NUL byte at byte {offset + nul} of the file"
        way_out = cleaned(path, "tr -d '\\000' < FILE")
        return error(path, line, "nul", f"{found}. Remove it: {way_out}", offset=offset + nul)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        found = f"byte {offset + problem.start} of the file (0x{raw[problem.start]:02x}) is not UTF-8"
        name, convert = _encoding(raw)
        way_out = cleaned(path, f"iconv -f {name} -t UTF-8 FILE")
        return error(path, line, "not-utf8", f"{found}. {convert}: {way_out}", offset=offset + problem.start)


def _encoding(raw: bytes) -> tuple[str, str]:
    """(what iconv calls the encoding that the bytes may be of, what to do)."""
    if shift_jis.is_shift_jis(raw):
        return shift_jis.NAME, "Convert it, from Shift_JIS as it seems"
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return "ENCODING", "Nor is it Windows-1252. Convert it from the encoding that it was written in"
    return "WINDOWS-1252", "Convert it, from Windows-1252 if it is that"


def record(path: str, line: int, text: str, place: Place = column, *, offset: int, unit: str = "line") -> Record | Finding:
    """The object in `text`, or why there is none; `offset` is of the text's first byte in the file."""
    try:
        value = parse(text, place)
    except JsonProblem as problem:
        if problem.code == "two-values" and unit == "record":
            message = f"a second value starts at {place(problem.position or 0)}; expected a comma between two records. Put one there."
            problem = JsonProblem(problem.code, message, problem.position)
        return _finding(path, line, text, problem, offset=offset, in_line=unit == "line")
    if isinstance(value, dict):
        return Record(line, value)
    return error(path, line, "not-an-object", f"the row is {kind(value)}; expected one JSON object a {unit}.")


def _finding(path: str, line: int, text: str, problem: JsonProblem, *, offset: int, in_line: bool) -> Finding:
    if problem.position is None:
        return error(path, line, problem.code, problem.message)
    at = offset + len(text[: problem.position].encode("utf-8"))
    return error(path, line, problem.code, problem.message, column=problem.position + 1 if in_line else None, offset=at)


class Unfinished(Exception):
    """A part of a file ends where only what follows it says what is wrong."""


def json_lines(path: str, stream: BinaryIO) -> Iterator[Record | Finding]:
    """One object a line; blank lines are passed over. An object spread over lines is named once and the others are skipped."""
    return line_records(path, Lines(stream))


def line_records(path: str, source: Lines, *, part: bool = False) -> Iterator[Record | Finding]:
    """As `json_lines`. Of a `part` of the lines raises Unfinished where an object goes on behind its line, since it may go on behind the part."""
    pending: list[Line] = []
    pretty_seen = False
    while True:
        line = pending.pop() if pending else next(source, None)
        if line is None:
            return
        if line.raw is None:
            message = f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB. Remove or split it."
            yield error(path, line.number, "line-too-long", message, offset=line.offset)
            continue
        if not line.raw.strip(_SPACE):
            source.skip_blank()
            continue
        text = decoded(path, line.number, line.offset, line.raw)
        if isinstance(text, Finding):
            yield text
            continue
        result = record(path, line.number, text, offset=line.offset)
        if isinstance(result, Finding) and result.code == "invalid-json" and _goes_on(text):
            following = next(source, None)
            if part and (following is None or _continues(following)):
                raise Unfinished
            pretty = following is not None and _continues(following)
            if following is not None:
                pending.append(following)
            if pretty:
                _skip_value(text, source, pending)
                if not pretty_seen:
                    pretty_seen = True
                    yield _spread(path, line.number)
                continue
        yield result


def _goes_on(text: str) -> bool:
    """Whether the text ends inside an array or object (and not inside a string)."""
    nesting = Nesting.behind(text)
    return nesting.depth > 0 and not nesting.inside_string


def _continues(line: Line) -> bool:
    """Whether a line goes on with the object before it, rather than being a row of its own."""
    body = (line.raw or b"").strip(_SPACE)
    return not body or not body.startswith(b"{") or body in (b"{", b"{}") or body.endswith(b",")


def _spread(path: str, line: int) -> Finding:
    message = "a row is spread over several lines (pretty-printed); expected one object a line"
    return error(path, line, "pretty-printed", f"{message}. Rewrite the file: {cleaned(path, 'jq -c . FILE')}")


def _skip_value(first: str, source: Iterator[Line], pending: list[Line]) -> None:
    """Read on to the line that closes what `first` opens, without parsing."""
    nesting = Nesting.behind(first)
    while nesting.depth > 0:
        line = pending.pop() if pending else next(source, None)
        if line is None:
            return
        nesting.feed(line.raw or b"")


class Nesting:
    """Follows brackets and strings through chunks of JSON, without recursion."""

    _TOKENS = re.compile(rb'\\|["\[\]{},]')

    def __init__(self) -> None:
        self.depth = 0
        self.inside_string = False
        self._escaped_at = -1  # the position, in the next chunk, of a character after a backslash

    @classmethod
    def behind(cls, text: str) -> Nesting:
        """Where a text ends."""
        nesting = cls()
        nesting.feed(text.encode("utf-8", "surrogatepass"))
        return nesting

    def feed(self, chunk: bytes) -> None:
        for _ in self.ends(chunk, outer=-1):
            pass

    def ends(self, chunk: bytes, *, outer: int) -> Iterator[int]:
        """Positions in `chunk` of each comma at depth `outer` and of each bracket that closes to below it."""
        skip = self._escaped_at
        self._escaped_at = -1
        for match in self._TOKENS.finditer(chunk):
            position = match.start()
            if position == skip:
                continue
            token = chunk[position]
            if self.inside_string:
                if token == 0x5C:
                    skip = position + 1
                elif token == 0x22:
                    self.inside_string = False
            elif token == 0x22:
                self.inside_string = True
            elif token in b"[{":
                self.depth += 1
            elif token in b"]}":
                self.depth -= 1
                if self.depth < outer:
                    yield position
            elif token == 0x2C and self.depth == outer:
                yield position
        if skip == len(chunk):
            self._escaped_at = 0
