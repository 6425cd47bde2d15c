"""Bytes from plain, gzip and zstd files in bounded memory: chunks and lines, never a whole file."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ..errors import MachineError
from .wording import printable

# four million tokens of English, longer than any context; a row of 55 MiB took 1.3 GB to check
MAX_LINE_BYTES = 16 * 2**20
CHUNK_BYTES = 2**20

# A bomb is stopped past both: gzip reaches 1,032 to 1 and zstd 32,000 to 1 on zeros; chat text stays under 30 to 1.
FREE_BYTES = 16 * 2**20
MAX_RATIO = 200
UNPACKS_TOO_FAR = f"it unpacks to more than {MAX_RATIO} times its size. If that is right, unpack it yourself and pass the result."

# zstd writes at most 128 KiB for a block of 4 bytes: this much input can give 64 MiB at once
_ZSTD_INPUT_BYTES = 2**11
_ZSTD_WINDOW_BYTES = 2**27  # what `zstd` itself accepts without --long

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # zstd's frame of remarks (RFC 8878, 3.1.2); pzstd writes it first

# So many blank lines in a row are passed over in one go: one by one, 16 MiB of them take half a minute.
_BLANK_RUN = 16
_SPACE = b" \t\r\n"


def unpacked_limit(packed_bytes: int) -> int:
    """How many bytes may come out of so many without its being taken for a bomb."""
    return max(FREE_BYTES, MAX_RATIO * packed_bytes)


class StreamProblem(Exception):
    """A compressed stream that can't be read on; the message is for a Finding."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Line(NamedTuple):
    """A line with its line break; `raw` is None when it is longer than MAX_LINE_BYTES. `offset` is of its first byte."""

    number: int
    offset: int
    raw: bytes | None


class _Expanded(io.RawIOBase):
    """What a decompressor gives, counted, with its errors as StreamProblem."""

    def __init__(self, source: BinaryIO, name: str, compressed_bytes: int) -> None:
        self._source = source
        self._name = name
        self._limit = unpacked_limit(compressed_bytes)
        self._count = 0

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._source.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._source.read(len(buffer))
        except EOFError:
            raise StreamProblem("cut-off", f"the {self._name} data ends too early. The file is cut off: copy it again.") from None
        except (gzip.BadGzipFile, zlib.error):
            raise StreamProblem("damaged", f"the {self._name} data is damaged. Copy the file again.") from None
        self._count += len(data)
        if self._count > self._limit:
            raise StreamProblem("unpacks-too-far", UNPACKS_TOO_FAR)
        buffer[: len(data)] = data
        return len(data)


class _Zstd(io.RawIOBase):
    """A zstd file, frame after frame; unlike zstandard's own stream_reader it notices a file that is cut off."""

    def __init__(self, path: str) -> None:
        try:
            import zstandard
        except ImportError:
            message = f"{printable(path)}: reading zstd needs the package zstandard. Run: pip install zstandard"
            raise MachineError(message) from None
        self._source = open(path, "rb")
        self._zstandard = zstandard
        self._frame = None
        self._unused = b""
        self._ready = memoryview(b"")

    def close(self) -> None:
        self._source.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        while not self._ready:
            data = self._unused or self._source.read(_ZSTD_INPUT_BYTES)
            self._unused = b""
            if not data:
                if self._frame is not None:
                    raise EOFError
                return b""
            self._ready = memoryview(self._decompressed(data))
        taken, self._ready = self._ready[:size], self._ready[size:]
        return bytes(taken)

    def _decompressed(self, data: bytes) -> bytes:
        if self._frame is None:
            decompressor = self._zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
            self._frame = decompressor.decompressobj()
        try:
            out = self._frame.decompress(data)
        except self._zstandard.ZstdError:
            raise self._problem(data) from None
        if self._frame.eof:
            self._unused = self._frame.unused_data
            self._frame = None
        return out

    def _problem(self, data: bytes) -> StreamProblem:
        """What keeps a frame from being unpacked; `data` begins with the frame's header unless it failed further on."""
        try:
            header = self._zstandard.get_frame_parameters(data)
        except self._zstandard.ZstdError:
            header = None
        if header is not None and header.window_size > _ZSTD_WINDOW_BYTES:
            found = f"the zstd data was packed with a window of {header.window_size // 2**20:,} MiB"
            return StreamProblem(
                "zstd-window", f"{found}; expected {_ZSTD_WINDOW_BYTES // 2**20} MiB at most. Pack it again without --long."
            )
        if header is not None and header.dict_id:
            return StreamProblem("zstd-dictionary", "the zstd data was packed with a dictionary. Pack it again without one.")
        return StreamProblem("damaged", "the zstd data is damaged. Copy the file again.")


def packing(head: bytes) -> str | None:
    """'gzip' or 'zstd' by a file's first four bytes; None when they are neither's."""
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    return "zstd" if head.startswith(ZSTD_MAGIC) or _SKIPPABLE_MAGIC.match(head) else None


def open_stream(path: str) -> BinaryIO:
    """The file's bytes, unpacked when they begin as gzip or zstd, whatever its name says.

    Raises: MachineError without the zstandard package; reading may raise StreamProblem.
    """
    with open(path, "rb") as file:
        magic = file.read(4)
        size = os.fstat(file.fileno()).st_size
    packed = packing(magic)
    if packed == "gzip":
        return io.BufferedReader(_Expanded(gzip.open(path, "rb"), "gzip", size), CHUNK_BYTES)
    if packed == "zstd":
        return io.BufferedReader(_Expanded(_Zstd(path), "zstd", size), CHUNK_BYTES)
    return open(path, "rb")


class Lines:
    """Every line of a stream, the byte order mark of the first left out; a line that is too long is skipped without being held.

    `number` lines and `offset` bytes of the file lie before the stream's beginning.
    """

    def __init__(self, stream: BinaryIO, *, number: int = 0, offset: int = 0) -> None:
        self._stream = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)
        self._number, self._offset, self._blank = number, offset, 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> Line:
        raw = self._stream.readline(MAX_LINE_BYTES + 1)
        if not raw:
            raise StopIteration
        self._number += 1
        offset, length = self._offset, len(raw)
        if length > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            self._offset += length + self._skip_line()
            return Line(self._number, offset, None)
        self._offset += length
        first = self._number == 1 and raw.startswith(b"\xef\xbb\xbf")
        return Line(self._number, offset + 3 * first, raw[3:] if first else raw)

    def skip_blank(self) -> None:
        """To be called after each blank line that means nothing: past the first few, those that follow are passed over in one go."""
        self._blank += 1
        if self._blank % _BLANK_RUN:
            return
        while ahead := self._stream.peek(1):
            space = ahead[: len(ahead) - len(ahead.lstrip(_SPACE))]
            end = space.rfind(b"\n") + 1
            self._stream.read(end)
            self._number += space.count(b"\n")
            self._offset += end
            if end < len(ahead):
                return

    def _skip_line(self) -> int:
        skipped = 0
        while True:
            raw = self._stream.readline(CHUNK_BYTES)
            skipped += len(raw)
            if not raw or raw.endswith(b"\n"):
                return skipped
