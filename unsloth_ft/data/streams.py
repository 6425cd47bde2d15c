"""Bytes from plain, gzip and zstd files in bounded memory: chunks and lines, never a whole file."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ..errors import MachineError
from .wording import printable

MAX_LINE_BYTES = 64 * 2**20
CHUNK_BYTES = 2**20

# A bomb is stopped past both: gzip reaches 1,032 to 1 and zstd 32,000 to 1 on zeros; chat text stays under 30 to 1.
FREE_BYTES = 16 * 2**20
MAX_RATIO = 200

# zstd writes at most 128 KiB for a block of 4 bytes: this much input can give 64 MiB at once
_ZSTD_INPUT_BYTES = 2**11
_ZSTD_WINDOW_BYTES = 2**27  # what `zstd` itself accepts without --long

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


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
        self._limit = max(FREE_BYTES, MAX_RATIO * compressed_bytes)
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
            message = f"it unpacks to more than {MAX_RATIO} times its size. If that is right, unpack it yourself and pass the result."
            raise StreamProblem("unpacks-too-far", message)
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
        self._ready = b""

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
            self._ready = self._decompressed(data)
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def _decompressed(self, data: bytes) -> bytes:
        if self._frame is None:
            decompressor = self._zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
            self._frame = decompressor.decompressobj()
        try:
            out = self._frame.decompress(data)
        except self._zstandard.ZstdError:
            raise StreamProblem("damaged", "the zstd data is damaged. Copy the file again.") from None
        if self._frame.eof:
            self._unused = self._frame.unused_data
            self._frame = None
        return out


def open_stream(path: str) -> BinaryIO:
    """The file's bytes, unpacked when they begin as gzip or zstd, whatever its name says.

    Raises: MachineError without the zstandard package; reading may raise StreamProblem.
    """
    with open(path, "rb") as file:
        magic = file.read(4)
        size = os.fstat(file.fileno()).st_size
    if magic[:2] == GZIP_MAGIC:
        return io.BufferedReader(_Expanded(gzip.open(path, "rb"), "gzip", size), CHUNK_BYTES)
    if magic == ZSTD_MAGIC:
        return io.BufferedReader(_Expanded(_Zstd(path), "zstd", size), CHUNK_BYTES)
    return open(path, "rb")


def lines(stream: BinaryIO) -> Iterator[Line]:
    """Every line, the byte order mark of the first left out; a line that is too long is skipped without being held."""
    number = offset = 0
    while True:
        raw = stream.readline(MAX_LINE_BYTES + 1)
        if not raw:
            return
        number += 1
        length = len(raw)
        if length > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            length += _skip_line(stream)
            yield Line(number, offset, None)
        else:
            first = number == 1 and raw.startswith(b"\xef\xbb\xbf")
            yield Line(number, offset + 3 * first, raw[3:] if first else raw)
        offset += length


def _skip_line(stream: BinaryIO) -> int:
    skipped = 0
    while True:
        raw = stream.readline(CHUNK_BYTES)
        skipped += len(raw)
        if not raw or raw.endswith(b"\n"):
            return skipped
