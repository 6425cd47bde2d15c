"""Files are read from beginning to end and everything about them is found out: the one check behind `data check` and every run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import UserError
from .across import Across
from .dataset import FileFacts
from .findings import Collector, Finding, Findings, collected
from .globs import expanded
from .part import Take
from .reading import Reading
from .shapes import check_columns, check_roles
from .survey import Survey

NOTHING: Mapping[str, str] = MappingProxyType({})
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Examination:
    """What is known of the data after one reading; `eval_files` were read behind `files`, and compared with them.

    `one_question`: no row to train on asks another one than the first, so that a run can hold none out.
    """

    rows: int
    shape: str
    files: tuple[FileFacts, ...]
    findings: Findings
    survey: Survey
    eval_files: tuple[FileFacts, ...] = ()
    one_question: bool = False


def examine(
    paths: Paths,
    *,
    columns: Mapping[str, str] = NOTHING,
    roles: Mapping[str, str] = NOTHING,
    offline: bool = False,
    eval_paths: Paths = (),
    allow_leak: bool = False,
    take: Take | None = None,
    take_held_out: Take | None = None,
    processes: int = 1,
) -> Examination:
    """Everything that can be said of the files (or `hf://` datasets) without a model.

    `columns` maps a standard name to the file's own (`{"question": "q"}`), `roles` a role of the file to a standard one
    (`{"bot": "assistant"}`). `take` is given every good row of `paths`, in order, and `take_held_out` those of `eval_paths`. `processes` share
    large files, unless rows are to be taken. What is found doesn't depend on their number. Raises: UserError for what is no row's mistake, MachineError when the machine
    can't read a file.
    """
    check_columns(columns)
    check_roles(roles)
    files = names(paths)
    held_out_files = names(eval_paths) if eval_paths else []
    reading = Reading([*files, *held_out_files], dict(columns), dict(roles), offline=offline, processes=processes)
    reading.learn(range(len(files)))
    found = Collector()
    training = reading.read(range(len(files)), found, take)
    held_out = reading.read(range(len(files), len(files) + len(held_out_files)), found, take_held_out)
    across = Across([*files, *held_out_files], reading.questions)
    rows = training.index.rows
    compared = across.within(rows)
    if held_out_files:
        compared += across.leaks(rows, held_out.index.rows, allowed=allow_leak)
    one_question = bool(len(rows) and (rows["question"] == rows["question"][0]).all())
    del rows, training.index, held_out.index  # 168 bytes a row, which the survey's models find a use for
    said = found.findings() + collected(training.survey.findings()) + compared
    shape = " + ".join(training.shapes)
    return Examination(training.rows, shape, tuple(training.files), said, training.survey, tuple(held_out.files), one_question)


def names(paths: Paths) -> list[str]:
    """The paths as the user gave them, patterns with their files in their place. Raises: UserError when there is none."""
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise UserError("no data file is given; expected at least one. Pass --data FILE.")
    return list(expanded(os.fspath(path) for path in given))
