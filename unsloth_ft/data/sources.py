"""One path's records, wherever they lie, and what identifies them once they are read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator
from itertools import chain, islice
from typing import Any, BinaryIO

from . import files, hub
from .dataset import FileFacts
from .findings import Finding
from .jsonfiles import Record, decoded, json_lines, record
from .streams import Lines

HELD_BYTES = 2**27  # of the first records of a dataset of the hub


class Source:
    """A file, or a dataset of the hub."""

    def __init__(self, path: str, offline: bool) -> None:
        self._path = path
        self._offline = offline
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._begun: Iterator[Record | Finding] | None = None

    @property
    def size(self) -> int:
        """Bytes on the disk; 0 for what isn't a file."""
        return os.path.getsize(self._path) if os.path.isfile(self._path) else 0

    def no_rows(self) -> Finding:
        """Said of a source that has neither rows nor mistakes."""
        return files.no_rows(self._path)

    def first(self, number: int) -> Iterator[Record | Finding]:
        """What `records` begins with, which gives it again. A dataset of the hub is asked for once all the same."""
        if not hub.is_hub(self._path):
            yield from islice(files.records(self._path), number)
            return
        begun = self._of_hub()
        held: list[Record | Finding] = []
        for item in islice(begun, number):
            held.append(item)
            if self._bytes > HELD_BYTES:
                break
        self._begun = chain(held, begun)
        yield from held

    def records(self, *, lines: files.ReadLines = json_lines) -> Iterator[Any]:
        """Every record and every mistake, once; of a file of JSON Lines what `lines` gives for its path and its stream."""
        if not hub.is_hub(self._path):
            yield from files.records(self._path, lines=lines)
            return
        begun, self._begun = self._begun or self._of_hub(), None
        yield from begun

    def _of_hub(self) -> Iterator[Record | Finding]:
        for record in hub.records(self._path, offline=self._offline):
            if isinstance(record, Finding):
                yield record
                continue
            line = json.dumps(record.value, ensure_ascii=True, sort_keys=True, default=str).encode("ascii") + b"\n"
            self._digest.update(line)
            self._bytes += len(line)
            yield record

    def facts(self, rows: int) -> FileFacts:
        """Call it behind `records`; `rows` conversations were taken."""
        if hub.is_hub(self._path):
            return FileFacts(self._path, self._digest.hexdigest(), self._bytes, rows)
        if files.unreadable(self._path) is not None:
            return FileFacts(self._path, hashlib.sha256().hexdigest(), 0, rows)
        sha256, size = files.fingerprint(self._path)
        return FileFacts(self._path, sha256, size, rows)


def records_at(source: Source, numbers: Collection[int]) -> Iterator[Record | Finding]:
    """The records at these lines and the mistakes before the last of them; what stands behind it isn't read, and other lines of JSON Lines aren't parsed."""
    last = max(numbers)

    def picked(path: str, stream: BinaryIO) -> Iterator[Record | Finding]:
        for line in Lines(stream):
            if line.number in numbers and line.raw is not None and line.raw.strip():
                text = decoded(path, line.number, line.offset, line.raw)
                yield text if isinstance(text, Finding) else record(path, line.number, text, offset=line.offset)
            if line.number >= last:
                return

    for item in source.records(lines=picked):
        if isinstance(item, Finding) or item.line in numbers:
            yield item
        if item.line is not None and item.line >= last:
            return
