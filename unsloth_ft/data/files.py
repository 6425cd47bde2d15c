"""A path becomes records: what may be opened, how it is packed, which format it has."""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import shlex
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from types import MappingProxyType

from ..errors import MachineError
from . import hub
from .findings import Finding
from .globs import fixed_folder, is_pattern
from .jsonarray import json_array
from .jsonfiles import Record, error, json_lines
from .streams import CHUNK_BYTES, StreamProblem, open_stream, packing
from .tables import PARQUET_MAGIC, csv_rows, parquet_rows
from .wording import cleaned, listed, printable, quote

FORMATS = "JSON Lines or a JSON array (.jsonl, .json), CSV (.csv, .tsv), Parquet (.parquet), also with .gz or .zst"
_JSON = (".jsonl", ".json", ".ndjson")
_PACKED = (".gz", ".zst")
HEAD_BYTES = 4096
# which of the first four bytes are NUL
_UNMARKED = MappingProxyType(
    {
        (False, True, True, True): "UTF-32LE",
        (True, True, True, False): "UTF-32BE",
        (False, True, False, True): "UTF-16LE",
        (True, False, True, False): "UTF-16BE",
    }
)
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "Unpack it, or export the sheet as CSV."),
    (b"%PDF", "a PDF", "Write its text as JSON Lines."),
    (b"SQLite format 3", "an SQLite database", "Export the table as CSV."),
    (b"ARROW1", "an Arrow file", "Save it as Parquet."),
    (b"BZh", "packed with bzip2", "Unpack it with bunzip2."),
    (b"\xfd7zXZ", "packed with xz", "Unpack it with unxz."),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for", "Run: git lfs pull"),
    (b"\x80\x02", "a Python pickle", "Save it as JSON Lines."),
    (b"\x80\x03", "a Python pickle", "Save it as JSON Lines."),
    (b"\x80\x04", "a Python pickle", "Save it as JSON Lines."),
    (b"\x80\x05", "a Python pickle", "Save it as JSON Lines."),
    (b"\x93NUMPY", "a NumPy array", "Save it as JSON Lines."),
    (b"\x89HDF", "an HDF5 file", "Save it as JSON Lines."),
    (b"Obj\x01", "an Avro file", "Save it as Parquet."),
    (b"ORC", "an ORC file", "Save it as Parquet."),
    (b"PARE", "an encrypted Parquet file", "Save it without encryption."),
    (b"GGUF", "a GGUF model", "Pass the data."),
    (b"\x7fELF", "a program", "Pass the data."),
    (b"\x89PNG", "a picture", "Write its text as JSON Lines."),
    (b"\xff\xd8\xff", "a picture", "Write its text as JSON Lines."),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file", "Export the sheet as CSV."),
    (b"{\\rtf", "rich text", "Write it as JSON Lines."),
    (b"<?xml", "XML", "Write its rows as JSON Lines."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it."),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it."),
    (b"\x04\x22\x4d\x18", "packed with lz4", "Unpack it with unlz4."),
)


ReadLines = Callable[[str, BinaryIO], Iterator[Any]]


def records(path: str, *, lines: ReadLines = json_lines) -> Iterator[Any]:
    """Every record of the file with its line, and every mistake as an error Finding; the file is read once, in bounded memory.

    A file of JSON Lines is read by `lines`, which is given its path and its stream. Raises: MachineError when a reading package is missing or the disk fails.
    """
    problem = unreadable(path)
    if problem is not None:
        yield problem
        return
    any_yielded = False
    before = _identity(path)
    try:
        for item in _items(path, lines):
            any_yielded = True
            yield item
    except StreamProblem as stream_problem:
        yield error(path, None, stream_problem.code, stream_problem.message)
        return
    except OSError as failure:
        raise MachineError(f"{printable(path)}: could not be read: {failure.strerror or 'input/output error'}.") from None
    if _identity(path) != before:
        yield error(path, None, "changed", "the file changed while it was read. Start again when nothing writes to it.")
    elif not any_yielded:
        yield no_rows(path)


def no_rows(path: str) -> Finding:
    """Said of a file that has neither rows nor mistakes."""
    return error(path, None, "empty", "the file holds no rows; expected at least one.")


def _identity(path: str) -> tuple[int, ...] | None:
    """What differs once a file was written to or exchanged; None when it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def unreadable(path: str) -> Finding | None:
    """Why the path can't be read as a file, without opening anything but a plain file."""
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            with open(path, "rb"):
                pass
    except ValueError:
        return error(path, None, "no-file", "a path can't hold a NUL character.")
    except OSError as failure:
        return error(path, None, "no-file", _why_not(path, failure))
    if stat.S_ISREG(status.st_mode):
        return error(path, None, "empty", "the file is empty; expected at least one row.") if status.st_size == 0 else None
    return error(path, None, "not-a-file", _not_a_file(path, status.st_mode))


def fingerprint(path: str) -> tuple[str, int]:
    """The file's SHA-256 and its size in bytes."""
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _why_not(path: str, failure: OSError) -> str:
    if failure.errno == errno.ELOOP:
        return "symbolic links that lead in a circle. Pass the file itself."
    if failure.errno in (errno.EACCES, errno.EPERM):
        return f"no permission to read it. Run: chmod u+r {shlex.quote(printable(path))}"
    if failure.errno == errno.ENOTDIR:
        return "no such file: a part of the path is a file, not a folder."
    if failure.errno != errno.ENOENT:
        return f"can't be opened: {failure.strerror}."
    if os.path.islink(path):
        return f"a symbolic link to {quote(os.readlink(path))}, which is not there."
    if is_pattern(path):
        return f"no file matches.{_similar(Path(path)) or _inside(fixed_folder(path) or '.', 'There is')}"
    return f"no such file.{_similar(Path(path))}"


def _similar(path: Path) -> str:
    try:
        names = [entry.name for entry in os.scandir(path.parent) if not entry.name.startswith(".")]
    except OSError:
        return f" There is no folder {quote(str(path.parent))} either."
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(printable(str(path.with_name(name))) for name in near)}?" if near else ""


def _not_a_file(path: str, mode: int) -> str:
    if stat.S_ISDIR(mode):
        return f"a folder; expected a file.{_inside(path)}"
    if stat.S_ISFIFO(mode):
        return "a pipe; expected a file, since it is read more than once. Save it to a file first."
    if stat.S_ISSOCK(mode):
        return "a socket; expected a file."
    return "a device; expected a file."


def _inside(path: str, holds: str = "It holds") -> str:
    try:
        names = sorted(entry.name for entry in os.scandir(path) if format_of(entry.name) is not None)
    except OSError:
        return ""
    return f" {holds} {listed(names, limit=3)}: pass what you want of it." if names else ""


def format_of(name: str) -> str | None:
    """'json', 'csv', 'tsv' or 'parquet' by the name's ending, with .gz and .zst left out; None when it says nothing."""
    lower = name.lower()
    for ending in _PACKED:
        lower = lower.removesuffix(ending)
    if lower.endswith(_JSON):
        return "json"
    return next((known for known in ("csv", "tsv", "parquet") if lower.endswith(f".{known}")), None)


def _items(path: str, lines: ReadLines) -> Iterator[Any]:
    with open_stream(path) as stream:
        head = stream.read(HEAD_BYTES)
    packed = path.lower().endswith(_PACKED)
    wrong = not_text(path, head)
    if wrong is not None:
        yield wrong
    elif _is_packed(path) and packing(head[:4]):
        yield error(path, None, "packed-twice", f"packed once more inside, as {packing(head[:4])}. Unpack it once, and pass the result.")
    elif head.startswith(PARQUET_MAGIC) or format_of(path) == "parquet":
        yield from _parquet(path, head)
    elif packed and not _is_packed(path):
        message = f"the name ends in {Path(path).suffix}, but the content is not packed. Rename it, or copy it again."
        yield error(path, None, "not-packed", message)
    else:
        with open_stream(path) as stream:
            yield from _text_items(path, head, stream, lines)


def _is_packed(path: str) -> bool:
    with open(path, "rb") as file:
        return packing(file.read(4)) is not None


def _parquet(path: str, head: bytes) -> Iterator[Record | Finding]:
    if _is_packed(path) and head.startswith(PARQUET_MAGIC):
        yield error(path, None, "packed-parquet", "Parquet packed once more. Unpack it and pass the .parquet file.")
    elif not head.startswith(PARQUET_MAGIC):
        yield error(path, None, "damaged", "the name ends in .parquet, but the content is not Parquet. Rename it, or copy it again.")
    else:
        yield from parquet_rows(path)


def _text_items(path: str, head: bytes, stream: BinaryIO, lines: ReadLines) -> Iterator[Any]:
    layout = text_layout(path, head)
    if layout in ("csv", "tsv") and _begins(head).startswith((b'{"', b'[{"')):
        yield error(path, None, "unknown-format", f"the name ends in .{layout}, but the content is JSON. Rename it.")
    elif layout in ("csv", "tsv"):
        yield from csv_rows(path, stream, tabs=layout == "tsv")
    elif layout is None:
        yield error(path, None, "unknown-format", f"the format can't be told from the name; expected {FORMATS}.")
    elif layout == "array":
        yield from json_array(path, stream)
    else:
        yield from lines(path, stream)


def text_layout(name: str, head: bytes) -> str | None:
    """'csv', 'tsv', 'array' or 'lines', by the name and the first bytes of a text; None when neither says."""
    named = format_of(name)
    start = _begins(head)
    if named in ("csv", "tsv"):
        return named
    if named is None and not start.startswith((b"{", b"[")):
        return None
    return "array" if start.startswith(b"[") and start[1:].lstrip(b" \t\r\n")[:1] in (b"{", b"]", b"") else "lines"


def _begins(head: bytes) -> bytes:
    """The first bytes that say something."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")


def holds_json_lines(path: str) -> bool:
    """Whether a file that can be read has one row of JSON a line."""
    if hub.is_hub(path):
        return False
    with open_stream(path) as stream:
        head = stream.read(HEAD_BYTES)
    return format_of(path) != "parquet" and not head.startswith(PARQUET_MAGIC) and text_layout(path, head) == "lines"


def not_text(path: str, head: bytes) -> Finding | None:
    """Why a file that begins so can't be read as UTF-8 text: another encoding, or no text at all; None when it may be."""
    encoding = wide_encoding(head)
    if encoding is not None:
        return _encoded(path, encoding)
    if _begins(head)[:15].lower().startswith((b"<!doctype html", b"<html")):
        return error(path, None, "unknown-format", f"this is a web page; expected {FORMATS}. Download the file itself.")
    for magic, name, way_out in _OTHER_FORMATS:
        if head.startswith(magic):
            return error(path, None, "unknown-format", f"this is {name}; expected {FORMATS}. {way_out}")
    return None


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, where a text begins as one of them."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    return _unmarked(head)


def _unmarked(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, by where NUL stands.

    JSON begins with two ASCII characters (RFC 4627, 3), and Latin text in UTF-16 has NUL at nearly every second byte and at no other.
    """
    begin = head[:4]
    if len(begin) == 4:
        places = tuple(byte == 0 for byte in begin)
        text = bytes(byte for byte in begin if byte)
        if places in _UNMARKED and text[:1] in (b"{", b"[", b" ", b"\n") and text.isascii():
            return _UNMARKED[places]
    even, odd = head[0:400:2], head[1:400:2]
    if odd and max(even.count(0), odd.count(0)) > 0.7 * len(odd) and min(even.count(0), odd.count(0)) == 0:
        return "UTF-16LE" if odd.count(0) else "UTF-16BE"
    return None


def _encoded(path: str, name: str) -> Finding:
    return error(path, 1, "not-utf8", f"the file is {name}; expected UTF-8. Convert it: {cleaned(path, f'iconv -f {name} -t UTF-8 FILE')}")
