"""A file of lines in pieces that can be read apart: whole lines, and where they stand in the file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .findings import Finding
from .jsonfiles import Record, line_records
from .streams import CHUNK_BYTES, Lines, StreamProblem

ROWS_AT_ONCE = 1000  # of formats that aren't lines
LONGEST_CHUNK_BYTES = 8 * CHUNK_BYTES  # a line that is longer is read by one process, in bounded memory


@dataclass(frozen=True)
class Chunk:
    """Whole lines of a file. `number` is the first one's, from 1, `offset` its first byte's in the (unpacked) file.

    `raw` is None where a line is so long that the file is better read on from here, line by line; it is the last chunk then.
    """

    number: int
    offset: int
    raw: bytes | None
    last: bool

    def lines(self) -> Lines:
        """The lines, numbered as in the file."""
        return Lines(io.BytesIO(self.raw or b""), number=self.number - 1, offset=self.offset)


def chunks(path: str, stream: BinaryIO) -> Iterator[Chunk]:
    """The stream's lines, about CHUNK_BYTES at a time."""
    number, offset = 1, 0
    held = bytearray()
    while True:
        try:
            read = stream.read1(CHUNK_BYTES)  # read would lose what came before a problem
        except StreamProblem:
            yield Chunk(number, offset, bytes(held[: held.rfind(b"\n") + 1]), last=False)
            raise
        held += read
        end = held.rfind(b"\n") + 1 if read else len(held)
        if read and (end == 0 or len(held) < CHUNK_BYTES):
            if len(held) > LONGEST_CHUNK_BYTES:
                yield Chunk(number, offset, None, last=True)
                return
            continue
        if held:
            yield Chunk(number, offset, bytes(held[:end]), last=not read)
        if not read:
            return
        number += held.count(b"\n", 0, end)
        offset += end
        del held[:end]


Cut = Chunk | list[Record | Finding]


def cuts(items: Iterable[Chunk | Record | Finding]) -> Iterator[Cut]:
    """Chunks as they come; records in lists of about the size of a chunk."""
    held: list[Record | Finding] = []
    characters = 0
    for item in items:
        if isinstance(item, Chunk):
            yield item
            continue
        held.append(item)
        characters += _characters(item.value) if isinstance(item, Record) else 0
        if len(held) >= ROWS_AT_ONCE or characters > CHUNK_BYTES:
            yield held
            held, characters = [], 0
    if held:
        yield held


def _characters(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 0


def rest(cut: Cut) -> Callable[[str, BinaryIO], Iterator[Record | Finding]]:
    """Reads a file of lines from the beginning of a chunk to the file's end."""
    if not isinstance(cut, Chunk):
        raise TypeError("records are never unfinished")

    def read(path: str, stream: BinaryIO) -> Iterator[Record | Finding]:
        left = cut.offset
        while left and (read := len(stream.read(min(left, CHUNK_BYTES)))):  # 0: the file was cut in the meantime
            left -= read
        return line_records(path, Lines(stream, number=cut.number - 1, offset=cut.offset))

    return read
