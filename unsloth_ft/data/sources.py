"""One path's records, wherever they lie, and what identifies them once they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from . import files, hub
from .dataset import FileFacts
from .findings import Finding
from .jsonfiles import Record


class Source:
    """A file, or a dataset of the hub."""

    def __init__(self, path: str, offline: bool) -> None:
        self._path = path
        self._offline = offline
        self._digest = hashlib.sha256()
        self._bytes = 0

    def records(self) -> Iterator[Record | Finding]:
        """Every record and every mistake, once."""
        if not hub.is_hub(self._path):
            yield from files.records(self._path)
            return
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
