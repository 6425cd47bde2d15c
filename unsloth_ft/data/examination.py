"""Files are read from beginning to end and everything about them is found out: the one check behind `data check` and every run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import UserError
from .checks import contradictions, duplicates, leaks
from .conversation import Conversation
from .dataset import FileFacts
from .findings import Collector, Finding, Findings, collected
from .globs import expanded
from .inspection import inspect
from .rows import rows
from .shapes import check_columns, check_roles
from .sources import Source
from .survey import Survey

NOTHING: Mapping[str, str] = MappingProxyType({})
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Examination:
    """What is known of the data after one reading; `eval_files` were read behind `files`, and compared with them."""

    rows: int
    shape: str
    files: tuple[FileFacts, ...]
    findings: Findings
    survey: Survey
    eval_files: tuple[FileFacts, ...] = ()


def examine(
    paths: Paths,
    *,
    columns: Mapping[str, str] = NOTHING,
    roles: Mapping[str, str] = NOTHING,
    offline: bool = False,
    eval_paths: Paths = (),
    allow_leak: bool = False,
    take: Callable[[Conversation], None] | None = None,
) -> Examination:
    """Everything that can be said of the files (or `hf://` datasets) without a model.

    `columns` maps a standard name to the file's own (`{"question": "q"}`), `roles` a role of the file to a standard one
    (`{"bot": "assistant"}`). `take` is given every good row of `paths`, in order. Raises: UserError for what is no row's mistake,
    MachineError when the machine can't read a file.
    """
    check_columns(columns)
    check_roles(roles)
    training = _Reading(columns, roles, offline)
    training.read(names(paths))
    held_out = _Reading(columns, roles, offline)
    if eval_paths:
        held_out.read(names(eval_paths))
    if take is not None:
        for conversation in training.conversations:
            take(conversation)
    across = [*duplicates(training.conversations), *contradictions(training.conversations)]
    across += leaks(training.conversations, held_out.conversations, allow_leak=allow_leak)
    return Examination(
        rows=len(training.conversations),
        shape=" + ".join(training.shapes),
        files=tuple(training.files),
        findings=training.found.findings() + held_out.found.findings() + collected((*training.survey.findings(), *across)),
        survey=training.survey,
        eval_files=tuple(held_out.files),
    )


def names(paths: Paths) -> list[str]:
    """The paths as the user gave them, patterns with their files in their place. Raises: UserError when there is none."""
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise UserError("no data file is given; expected at least one. Pass --data FILE.")
    return list(expanded(os.fspath(path) for path in given))


class _Reading:
    """What adds up while one side's files are read."""

    def __init__(self, columns: Mapping[str, str], roles: Mapping[str, str], offline: bool) -> None:
        self._columns = columns
        self._roles = roles
        self._offline = offline
        self.conversations: list[Conversation] = []
        self.found = Collector()
        self.survey = Survey()
        self.shapes: dict[str, None] = {}
        self.files: list[FileFacts] = []

    def read(self, paths: Sequence[str]) -> None:
        """One file after the other."""
        for path in paths:
            if path in {facts.path for facts in self.files}:
                self.found.add(Finding(path, None, "error", "given-twice", "the same file is given twice. Pass it once."))
            else:
                self._read(path)

    def _read(self, path: str) -> None:
        source = Source(path, self._offline)
        before = len(self.conversations)
        for item in rows(path, source.records(), columns=self._columns, roles=self._roles):
            if isinstance(item, Finding):
                self.found.add(item)
                continue
            self.conversations.append(item.conversation)
            self.shapes.setdefault(item.shape)
            self.survey.add(item.conversation)
            self.found.extend(inspect(item.conversation))
        self.files.append(source.facts(len(self.conversations) - before))
