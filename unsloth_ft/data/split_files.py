"""A held-out split as two files, each row with the bytes that it had."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ..errors import UserError
from . import files
from .conversation import Conversation
from .copies import NewFile, as_line, as_row, new_files, refuse_target
from .dataset import Dataset, FileFacts, conversations_sha256
from .split import split
from .streams import Lines, StreamProblem, open_stream
from .wording import count, printable

NAMES = ("train.jsonl", "held_out.jsonl")


@dataclass(frozen=True)
class Side:
    """One of the two files. `sha256` is of its bytes; `conversations_sha256` names the rows whatever their format, as run.json does."""

    path: str
    rows: int
    sha256: str
    conversations_sha256: str


@dataclass(frozen=True)
class SplitFiles:
    """What was written; `rewritten`: each row as a line of JSON of its own, under the standard names; `warnings` as `Split` has them."""

    train: Side
    held_out: Side
    rewritten: bool
    warnings: tuple[str, ...] = ()


def targets(folder: str, inputs: Sequence[str]) -> tuple[str, str]:
    """The two paths in `folder`. Raises UserError where one can't be written, or where the folder is none."""
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UserError(f"--out {printable(folder)}: a file; expected a folder, or the name of a new one.")
    above = os.path.dirname(folder.rstrip("/")) or "."
    if not os.path.isdir(above):
        raise UserError(f"--out {printable(folder)}: there is no folder {printable(above)}. Make it first.")
    train, held_out = (os.path.join(folder, name) for name in NAMES)
    if os.path.isdir(folder):
        for path in (train, held_out):
            refuse_target(path, inputs, "--out")
    return train, held_out


def write(dataset: Dataset, folder: str, *, share: float, rows: int | None = None, seed: int) -> SplitFiles:
    """Splits as `run` does and writes both sides; a share, or a number of rows. No question is on both sides.

    Raises: UserError for a split that is none, MachineError when the files can't be written.
    """
    paths = targets(folder, [file.path for file in dataset.files])
    total = len(dataset.conversations)
    if rows is not None and rows >= total > 0:
        raise UserError(f"--rows {rows}: there {'is' if total == 1 else 'are'} {count(total, 'row')}; expected fewer, to leave some to train on.")
    parts = split(dataset.conversations, share=share, rows=rows, seed=seed)
    held = {(row.file, row.line) for row in parts.held_out}
    kept = _keep_their_bytes(dataset)
    with ExitStack() as undo:
        if not os.path.isdir(folder):
            os.mkdir(folder)
            undo.callback(os.rmdir, folder)
        with new_files(paths) as both:
            for conversation, line in _lines(dataset, kept=kept):
                both[(conversation.file, conversation.line) in held].write(line)
        undo.pop_all()
    train, held_out = (_side(file, side) for file, side in zip(both, (parts.train, parts.held_out), strict=True))
    return SplitFiles(train, held_out, rewritten=not kept, warnings=parts.warnings)


def _side(file: NewFile, rows: Sequence[Conversation]) -> Side:
    return Side(file.path, file.lines, file.sha256, conversations_sha256(rows))


def _keep_their_bytes(dataset: Dataset) -> bool:
    """Whether rows keep their bytes: where all are lines of JSON and of one shape, since no file may have several."""
    shapes = dataset.shape.split(" + ")
    if len(shapes) > 1 and "text" in shapes:
        raise UserError(f"rows of rendered text and of {next(shape for shape in shapes if shape != 'text')}; expected one kind. Split each alone.")
    return len(shapes) == 1 and all(_holds_json_lines(file.path) for file in dataset.files)


def _holds_json_lines(path: str) -> bool:
    try:
        return files.holds_json_lines(path)
    except OSError:
        raise _changed(path) from None


def _lines(dataset: Dataset, *, kept: bool) -> Iterator[tuple[Conversation, bytes]]:
    """Each conversation with its line, in order."""
    file, raw = "", iter(())
    for row in dataset.conversations:
        if kept and row.file != file:
            file, raw = row.file, _raw_lines(row.file)
        line = next((line for number, line in raw if number == row.line), None) if kept else as_line(as_row(row))
        if line is None:
            raise _changed(row.file)
        yield row, line
    for facts in dataset.files if kept else ():
        if not _is_still(facts):
            raise _changed(facts.path)


def _is_still(facts: FileFacts) -> bool:
    """Whether the file is the one whose rows were checked."""
    try:
        return files.fingerprint(facts.path) == (facts.sha256, facts.bytes)
    except OSError:
        return False


def _changed(path: str) -> UserError:
    return UserError(f"{printable(path)}: the file changed while it was read. Start again when nothing writes to it.")


def _raw_lines(path: str) -> Iterator[tuple[int, bytes]]:
    try:
        with open_stream(path) as stream:
            for line in Lines(stream):
                if line.raw is not None:
                    yield line.number, line.raw if line.raw.endswith(b"\n") else line.raw + b"\n"
    except (OSError, StreamProblem):
        raise _changed(path) from None
