"""A file's bytes as lines of text, whatever encoding they are in; what had to be repaired for it is said."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ..errors import UserError
from . import files
from .content import Problem
from .streams import CHUNK_BYTES, MAX_LINE_BYTES, Lines, StreamProblem, open_stream
from .shift_jis import is_shift_jis
from .wording import count, printable, quote

Say = Callable[[int | None, str, str], None]
"""Takes one change: its line, its kind, and what was done."""

_MOST_BLANK_LINES = 1000  # in a row; past them no text goes on, and a bomb of line breaks is passed over without a look at each
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
# Western words have at most three letters beyond ASCII in a row; Cyrillic, Greek or Chinese read as Windows-1252 has little else.
_NOT_WESTERN = re.compile(r"[^\x00-\x7f\u2013-\u203a\u00a0\u00ab\u00b0\u00b7\u00bb]{4}")
_SHOWN_CHARACTERS = 5


class _Chunks(io.RawIOBase):
    """A stream of the bytes that a generator gives."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            following = next(self._chunks, None)
            if following is None:
                return 0
            self._ready = following
        taken, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def stream_of(chunks: Iterator[bytes]) -> BinaryIO:
    """The bytes of `chunks` as a file that is read once."""
    return io.BufferedReader(_Chunks(chunks), CHUNK_BYTES)


def check_encoding(name: str) -> None:
    """Raises UserError for an encoding that Python doesn't know, or that is none of text."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise UserError(f"--encoding {printable(name)}: not known; expected a name such as windows-1252, latin-1, cp1251 or shift_jis.") from None


def opened(path: str, encoding: str | None, say: Say) -> BinaryIO:
    """The unpacked bytes, in UTF-8 where the file is UTF-16 or UTF-32, or where `encoding` is named."""
    with open_stream(path) as stream:
        found = encoding or files.wide_encoding(stream.read(files.HEAD_BYTES))
    stream = open_stream(path)
    if found is None:
        return stream
    say(1, "encoding", f"the file was read as {found} and written as UTF-8.")
    return stream_of(_transcoded(stream, found))


def text_lines(stream: BinaryIO, say: Say) -> Iterator[tuple[int, str | Problem]]:
    """Each line and its number, without its line break; a Problem where it is no text. Line ends are said once, at the end."""
    first, line_ends, blank = 0, 0, 0
    source = Lines(stream)
    for line in source:
        if line.raw is None:
            yield line.number, Problem("line-too-long", f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB. Split it.")
            continue
        if line.number == 1 and line.offset:
            say(1, "byte-order-mark", "the byte order mark at the beginning was removed.")
        raw = line.raw.removesuffix(b"\n")
        if raw == line.raw:
            say(line.number, "line-ends", "the last line got its line end.")
        if raw.endswith(b"\r") and raw != line.raw:
            first, line_ends, raw = first or line.number, line_ends + 1, raw[:-1]
        blank = 0 if raw.strip() else blank + 1
        if blank == _MOST_BLANK_LINES:
            say(line.number, "blank-line", f"more than {_MOST_BLANK_LINES:,} blank lines in a row were removed.")
        if blank >= _MOST_BLANK_LINES:
            source.skip_blank()
        else:
            yield line.number, text_of(raw, line.number, say)
    if line_ends:
        say(first, "line-ends", f"{count(line_ends, 'line end')} CR LF became LF.")


def text_of(raw: bytes, line: int, say: Say) -> str | Problem:
    """The bytes as text: UTF-8, or else Windows-1252 where that is plain; NUL bytes are left out."""
    if b"\0" in raw:
        say(line, "nul", f"{count(raw.count(0), 'NUL byte')} removed.")
        raw = raw.replace(b"\0", b"")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        return _western(raw, problem, line, say)
    inner = text.lstrip("\ufeff")
    if inner != text:
        say(line, "byte-order-mark", "a byte order mark in the middle of the file was removed.")
    return inner


def _western(raw: bytes, problem: UnicodeDecodeError, line: int, say: Say) -> str | Problem:
    found = f"byte 0x{raw[problem.start]:02x} is not UTF-8"
    name = "Name its encoding with --encoding, or mend it by hand."
    if is_shift_jis(raw):
        return Problem("not-utf8", f"{found}; the line reads as Shift_JIS. Pass --encoding cp932.")
    if _UTF8_SEQUENCE.search(raw):
        return Problem("not-utf8", f"{found}, and other characters of the line are: it was put together from two encodings, or cut. {name}")
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return Problem("not-utf8", f"{found}, nor is the line Windows-1252. {name}")
    if _NOT_WESTERN.search(text):
        return Problem("not-utf8", f"{found}; as Windows-1252 it would read {quote(_NOT_WESTERN.search(text)[0], limit=20)}. {name}")
    shown = list(dict.fromkeys(character for character in text if not character.isascii()))
    more = " …" if len(shown) > _SHOWN_CHARACTERS else ""
    say(line, "encoding", f"read as Windows-1252: {' '.join(map(quote, shown[:_SHOWN_CHARACTERS]))}{more}.")
    return text


def _transcoded(stream: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Raises: StreamProblem where the bytes are not of that encoding."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    offset = 0
    with stream:
        while True:
            chunk = stream.read(CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
                yield text.encode("utf-8")
            except UnicodeError:
                where = f"between bytes {offset:,} and {offset + max(len(chunk), 1):,}"
                raise StreamProblem("not-utf8", f"the file is not {encoding} throughout: it goes wrong {where}. It may be cut off.") from None
            offset += len(chunk)
            if not chunk:
                return
