"""The values in a file, whatever its format and however damaged; what had to be repaired to read them is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from ..disk import finite
from ..errors import MachineError
from . import files, hub, repair_json
from .content import Problem
from .findings import Finding
from .jsonarray import elements
from .jsonfiles import Record
from .repair_bytes import Say, opened, stream_of, text_lines, text_of
from .repair_json import Found
from .sources import Source
from .streams import MAX_LINE_BYTES, StreamProblem, packing
from .tables import PARQUET_MAGIC, csv_rows
from .wording import printable

_FORMATS = {"csv": "CSV", "tsv": "tab-separated text", "array": "a JSON array"}


def found_in(path: str, *, encoding: str | None, offline: bool, say: Say) -> Iterator[Found | Finding]:
    """Every value with its line, in order, and an error for each that can't be read without guessing."""
    if hub.is_hub(path):
        yield from _records(Source(path, offline).records(), "a dataset of the hub", say)
        return
    problem = files.unreadable(path)
    if problem is not None:
        yield problem
        return
    try:
        with opened(path, encoding, lambda *_: None) as stream:
            head = stream.read(files.HEAD_BYTES)
        packed = packing(head[:4])
        if packed is not None:
            raise StreamProblem("packed-twice", f"packed once more inside, as {packed}. Unpack it once, and pass the result.")
        if head.startswith(PARQUET_MAGIC) or files.format_of(path) == "parquet":
            yield from _records(files.records(path), "Parquet", say)
            return
        other = files.not_text(path, head)
        if other is not None:
            yield other
            return
        with opened(path, encoding, say) as stream:
            for item in _in_text(path, head.replace(b"\0", b""), stream, say):
                yield item if isinstance(item, (Found, Finding)) else Finding(path, item[0], "error", item[1].code, item[1].message)
    except StreamProblem as stream_problem:
        yield Finding(path, None, "error", stream_problem.code, stream_problem.message)
    except OSError as failure:
        raise MachineError(f"{printable(path)}: could not be read: {failure.strerror or 'input/output error'}.") from None


def _in_text(path: str, head: bytes, stream: BinaryIO, say: Say) -> Iterator[Found | Finding | tuple[int, Problem]]:
    layout = files.text_layout(path, head)
    if layout in ("csv", "tsv") and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b'{"', b'[{"')):
        layout = files.text_layout("", head)  # the name is wrong, not the content
    if layout is None:
        yield Finding(path, None, "error", "unknown-format", f"the format can't be told from the name; expected {files.FORMATS}.")
        return
    if layout in _FORMATS:
        say(None, "format", f"the rows of {_FORMATS[layout]} were written as JSON Lines.")
    if layout in ("csv", "tsv"):
        mended = stream_of(_encoded(stream, say))
        yield from (_from_record(item) for item in csv_rows(path, mended, tabs=layout == "tsv"))
    elif layout == "array":
        yield from _in_array(stream, say)
    else:
        yield from repair_json.rows(text_lines(stream, say), say)


def _in_array(stream: BinaryIO, say: Say) -> Iterator[Found | tuple[int, Problem]]:
    """The array's elements, also of one that was cut off."""
    number = 0
    for element in elements(stream):
        raw = element.left_open if element.end == b"" else element.raw
        if element.end == b"}":
            raise StreamProblem("invalid-json", f"in record {number + 1} a }} closes no object, and what follows can't be told apart. Mend it.")
        if element.end == b"" and element.raw:
            if element.raw.strip(b"\0 \t\r\n"):
                raise StreamProblem("invalid-json", f"more data after the array's end, behind record {number}. Write it to a file of its own.")
            say(number, "nul", "NUL bytes behind the array's end were removed.")
        elif raw is None:
            number += 1
            yield number, Problem("line-too-long", f"the record is longer than {MAX_LINE_BYTES // 2**20} MiB. Split it.")
        elif not raw.strip(b" \t\r\n\0"):
            if element.end == b"":
                say(number, "array-end", "the array's missing end was taken for its end.")
            elif number or element.end != b"]":
                say(number + 1, "trailing-comma", "a comma that nothing follows was removed.")
        else:
            number += 1
            text = text_of(raw, number, say)
            found = text if isinstance(text, Problem) else repair_json.values(number, text, say)
            yield from [(number, found)] if isinstance(found, Problem) else (Found(number, each.value, None) for each in found)
            if element.end == b"" and not isinstance(found, Problem):
                say(number, "array-end", "the array's missing end was taken for its end.")


def _encoded(stream: BinaryIO, say: Say) -> Iterator[bytes]:
    """The lines of a table in UTF-8. A line that can't be read leaves the whole table unread: its cells may go on in the next."""
    for line, text in text_lines(stream, say):
        if isinstance(text, Problem):
            raise StreamProblem(text.code, f"line {line}: {text.message}")
        yield text.encode("utf-8") + b"\n"


def _records(records: Iterator[Record | Finding], name: str, say: Say) -> Iterator[Found | Finding]:
    say(None, "format", f"the rows of {name} were written as JSON Lines.")
    for item in records:
        found = _from_record(item)
        if isinstance(found, Found) and (value := finite(found.value)) != found.value:
            say(found.line, "not-a-number", "NaN or infinity became null, which means absent.")
            found = found._replace(value=value)
        yield found


def _from_record(item: Record | Finding) -> Found | Finding:
    """A mistake behind which nothing of the file can be read is the whole file's: rows would be lost that nobody counted."""
    if isinstance(item, Record):
        return Found(item.line, item.value, None)
    ends = item.code in ("invalid-csv", "not-utf8") and item.line is not None
    return replace(item, line=None, message=f"record {item.line}: {item.message}") if ends else item
