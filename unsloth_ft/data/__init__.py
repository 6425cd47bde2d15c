"""Files become conversations: `load` for a run, `check` for a look at what is in them. Nothing here writes a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from ..errors import UserError
from . import files, hub
from .checks import contradictions, duplicates, leaks, normalise, reserved
from .conversation import ROLES, Conversation, Message
from .dataset import Dataset, FileFacts, conversations_sha256
from .findings import Finding, raise_errors
from .jsonfiles import Record
from .rows import rows
from .shapes import check_columns, check_roles
from .split import Split, split

__all__ = [
    "ROLES",
    "Conversation",
    "Dataset",
    "FileFacts",
    "Finding",
    "Message",
    "Split",
    "check",
    "contradictions",
    "conversations_sha256",
    "duplicates",
    "leaks",
    "load",
    "normalise",
    "raise_errors",
    "reserved",
    "split",
]

_NOTHING: Mapping[str, str] = MappingProxyType({})
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def load(paths: Paths, *, columns: Mapping[str, str] = _NOTHING, roles: Mapping[str, str] = _NOTHING, offline: bool = False) -> Dataset:
    """The conversations of one or more files (or `hf://` datasets), all of them good.

    `columns` maps a standard name to the file's own (`{"question": "q"}`), `roles` a role of the file to a standard one
    (`{"bot": "assistant"}`). Raises: UserError with every mistake's line, MachineError when the machine can't read it.
    """
    dataset = _read(paths, columns, roles, offline)
    raise_errors(dataset.findings)
    return dataset


def check(
    paths: Paths, *, columns: Mapping[str, str] = _NOTHING, roles: Mapping[str, str] = _NOTHING, offline: bool = False
) -> tuple[Finding, ...]:
    """All findings, errors among them, in the order of files and lines; raises as `load` does only for what is no row's mistake."""
    return _read(paths, columns, roles, offline).findings


def _read(paths: Paths, columns: Mapping[str, str], roles: Mapping[str, str], offline: bool) -> Dataset:
    check_columns(columns)
    check_roles(roles)
    conversations: list[Conversation] = []
    findings: list[Finding] = []
    facts: list[FileFacts] = []
    shapes: dict[str, None] = {}
    names = _names(paths)
    if not names:
        raise UserError("no data file is given; expected at least one. Pass --data FILE.")
    for path in names:
        if path in {fact.path for fact in facts}:
            findings.append(Finding(path, None, "error", "given-twice", "the same file is given twice. Pass it once."))
            continue
        source = _Source(path, offline)
        found: list[Finding] = []
        before = len(conversations)
        for item in rows(path, source.records(), columns=columns, roles=roles):
            if isinstance(item, Finding):
                found.append(item)
            else:
                conversations.append(item.conversation)
                shapes.setdefault(item.shape)
        findings += sorted(found, key=lambda finding: finding.line or 0)
        facts.append(source.facts(len(conversations) - before))
    findings += [*duplicates(conversations), *contradictions(conversations)]
    return Dataset(tuple(conversations), tuple(findings), " + ".join(shapes), tuple(facts))


def _names(paths: Paths) -> list[str]:
    if isinstance(paths, (str, os.PathLike)):
        return [os.fspath(paths)]
    return [os.fspath(path) for path in paths]


class _Source:
    """One path's records, and what identifies them once they are read."""

    def __init__(self, path: str, offline: bool) -> None:
        self._path = path
        self._offline = offline
        self._digest = hashlib.sha256()
        self._bytes = 0

    def records(self) -> Iterator[Record | Finding]:
        if not hub.is_hub(self._path):
            yield from files.records(self._path)
            return
        for record in hub.records(self._path, offline=self._offline):
            line = json.dumps(record.value, ensure_ascii=True, sort_keys=True, default=str).encode("ascii") + b"\n"
            self._digest.update(line)
            self._bytes += len(line)
            yield record

    def facts(self, rows: int) -> FileFacts:
        if hub.is_hub(self._path):
            return FileFacts(self._path, self._digest.hexdigest(), self._bytes, rows)
        if files.unreadable(self._path) is not None:
            return FileFacts(self._path, hashlib.sha256().hexdigest(), 0, rows)
        sha256, size = files.fingerprint(self._path)
        return FileFacts(self._path, sha256, size, rows)
