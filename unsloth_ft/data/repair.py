"""Data files repaired into a new one: every change is said, nothing is guessed, and what is written passes the same check as any file."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from ..errors import UserError
from .checks import normalise
from .conversation import Conversation
from .copies import NewFile, as_line, as_row, new_files, refuse_target
from .dataset import canonical
from .examination import examine, names
from .findings import Collector, Finding, Findings
from .jsonfiles import Record
from .paths import given_twice, same_file
from .repair_across import Crossing, crossing
from .repair_bytes import Say, check_encoding
from .repair_files import found_in
from .repair_json import Found
from .repair_rows import RowRepair, is_blank
from .rows import Row, rows
from .shapes import NAMES, check_columns, check_roles
from .wording import count, printable

ENDING = ".jsonl"


@dataclass(frozen=True)
class Wanted:
    """How to repair. `drop`: leave out rows that can't be repaired without guessing; `drop_contradictions`: all rows whose question
    has several answers; `near_duplicates`: rows that are nearly the same as one before. Questions of `eval_paths` are leaks unless `allow_leak`. `encoding`: of all files, where it is known."""

    columns: Mapping[str, str]
    roles: Mapping[str, str]
    offline: bool = False
    encoding: str | None = None
    drop: bool = False
    drop_contradictions: bool = False
    near_duplicates: bool = False
    eval_paths: tuple[str, ...] = ()
    allow_leak: bool = False


@dataclass(frozen=True)
class Repaired:
    """What was written: changes and dropped rows with the lines of the files that were read, remarks with those of the new one."""

    path: str
    rows: int
    sha256: str
    changes: Findings
    dropped: Findings
    remarks: Findings


def repair(paths: Sequence[str], out: str, wanted: Wanted, *, changes_path: str | None = None) -> Repaired:
    """Writes the repaired rows of all files to `out`, and every change to `changes_path` as a line of JSON.

    Raises: UserError for a place that can't be written, and where rows can't be repaired without guessing and aren't to be dropped;
    nothing is written then.
    """
    given = names(paths)
    _refuse(given, out, wanted, changes_path)
    with new_files([out, *([changes_path] if changes_path else [])]) as written:
        work = _Repair(written[0], wanted, _Ledger(written[1] if changes_path else None))
        for path in given:
            work.read(path)
        work.finish(given)
        written[0].flush()
        remarks = _checked(written[0], wanted)
    return Repaired(out, written[0].lines, written[0].sha256, work.ledger.changes.findings(), work.ledger.dropped.findings(), remarks)


def _refuse(given: Sequence[str], out: str, wanted: Wanted, changes_path: str | None) -> None:
    check_columns(wanted.columns)
    check_roles(wanted.roles)
    if wanted.encoding is not None:
        check_encoding(wanted.encoding)
    for number, message in given_twice(given).items():
        raise UserError(f"{printable(given[number])}: {message}")
    inputs = [*given, *wanted.eval_paths]
    refuse_target(out, inputs, "--out")
    if not out.lower().endswith(ENDING):
        raise UserError(f"--out {printable(out)}: the copy is JSON Lines; expected a name that ends in {ENDING}.")
    if changes_path is not None:
        refuse_target(changes_path, inputs, "--changes")
        if same_file(changes_path, out):
            raise UserError(f"--changes {printable(changes_path)}: the same file as --out. Name another.")


def _checked(file: NewFile, wanted: Wanted) -> Findings:
    """What the check says of the new file, under the name that it will have. Raises UserError for errors: then it isn't written."""
    found = examine([file.temporary], eval_paths=wanted.eval_paths, allow_leak=wanted.allow_leak)
    hidden, shown = printable(file.temporary), printable(file.path)
    kinds = [
        replace(
            kind,
            first=tuple(
                replace(each, file=file.path if each.file == file.temporary else each.file, message=each.message.replace(hidden, shown))
                for each in kind.first
            ),
        )
        for kind in found.findings.kinds
    ]
    findings = Findings(tuple(kinds))
    if findings.of("error").count:
        lines = "\n".join(findings.of("error").lines)
        raise UserError(f"{lines}\nso the repaired copy would be refused; nothing was written.")
    return findings


class _Ledger:
    """Every change and every dropped row: counted, the first of each kind kept, all of them written where a file is given."""

    def __init__(self, file: NewFile | None) -> None:
        self._file = file
        self.changes = Collector()
        self.dropped = Collector()
        self.unread = False
        """Whether the rest of a file could not be read: its rows are not known, so they can't be dropped."""

    def changed(self, finding: Finding) -> None:
        self.changes.add(finding)
        self._write("changed", finding)

    def left_out(self, finding: Finding) -> None:
        self.dropped.add(finding)
        self.unread = self.unread or finding.line is None
        self._write("dropped", finding)

    def _write(self, did: str, finding: Finding) -> None:
        if self._file is not None:
            said = {"file": finding.file, "line": finding.line, "did": did, "kind": finding.code, "what": finding.message}
            self._file.write(as_line(said))


class _Repair:
    """Rows as they come, and what must be known of all before the last is done: 8 bytes a row, and its hash."""

    def __init__(self, file: NewFile, wanted: Wanted, ledger: _Ledger) -> None:
        self._file = file
        self._wanted = wanted
        self.ledger = ledger
        self._rows = RowRepair(wanted.columns, wanted.roles)
        self._seen: dict[bytes, int] = {}
        self._places: list[tuple[int, str]] = []  # where each file's rows begin
        self._line_of = array("Q")
        self._shapes: dict[str, Conversation] = {}
        self._leaks = _questions(wanted)

    def read(self, path: str) -> None:
        """All rows of one file."""
        self._places.append((len(self._line_of), path))
        for item in found_in(path, encoding=self._wanted.encoding, offline=self._wanted.offline, say=self._say(path)):
            if isinstance(item, Finding):
                self.ledger.left_out(item)
            elif is_blank(item.value):
                self.ledger.changed(Finding(path, item.line, "note", "blank-row", "a row with nothing in it was removed."))
            else:
                self._row(path, item)

    def _say(self, path: str) -> Say:
        return lambda line, code, message: self.ledger.changed(Finding(path, line, "note", code, message))

    def _row(self, path: str, item: Found) -> None:
        if not isinstance(item.value, dict):
            message = f"the row is {json.dumps(item.value)[:40]}; expected one JSON object a line."
            self.ledger.left_out(Finding(path, item.line, "error", "not-an-object", message))
            return
        row, done = self._rows.repaired(item.value)
        found = list(rows(path, [Record(item.line, row)], columns={}, roles={}))
        good = next((each for each in found if isinstance(each, Row)), None)
        if good is None:
            for each in found:
                if isinstance(each, Finding) and each.severity == "error":
                    self.ledger.left_out(replace(each, line=item.line))
            return
        try:
            line = as_line(row) if done or item.text is None else item.text.encode("utf-8") + b"\n"
        except TypeError:
            message = "the row holds a value that JSON has no notation for, such as bytes or a decimal number. Write it as text, or leave it out."
            self.ledger.left_out(Finding(path, item.line, "error", "no-json", message))
            return
        if self._is_leak(good.conversation) or self._is_copy(good.conversation):
            return
        for code, what in done:
            self.ledger.changed(Finding(path, item.line, "note", code, f"{what}."))
        self._shapes.setdefault(good.shape, good.conversation)
        self._line_of.append(item.line)
        self._file.write(line)

    def _is_leak(self, conversation: Conversation) -> bool:
        if not self._leaks or _digest(normalise(conversation.question)) not in self._leaks:
            return False
        message = "the question is also in the evaluation data. Remove one of the two, or pass --set data.allow_leak=true."
        self.ledger.left_out(Finding(conversation.file, conversation.line, "error", "leak", message))
        return True

    def _is_copy(self, conversation: Conversation) -> bool:
        key = _digest(canonical(conversation))
        first = self._seen.setdefault(key, len(self._line_of))
        if first == len(self._line_of):
            return False
        message = f"the same row as {self._where(first)[0]}:{self._where(first)[1]} was removed."
        self.ledger.changed(Finding(conversation.file, conversation.line, "note", "duplicate", message))
        return True

    def _where(self, number: int) -> tuple[str, int]:
        path = next(path for begin, path in reversed(self._places) if begin <= number)
        return path, self._line_of[number]

    def finish(self, given: Sequence[str]) -> None:
        """What concerns all rows together. Raises UserError where something must not be dropped, or nothing is left."""
        dropped = self.ledger.dropped.findings()
        if self.ledger.unread or (dropped.count and not self._wanted.drop):
            way_out = "" if self.ledger.unread else " Mend them by hand, or pass --drop to leave them out."
            what = "files" if self.ledger.unread else "rows"
            total = f"{count(dropped.count, 'error')} in {what} that can't be repaired without guessing; nothing was written.{way_out}"
            raise UserError("\n".join([*dropped.lines, total]))
        self._seen.clear()  # 130 MB for a million rows, which the comparisons below find a use for
        if len(self._shapes) > 1:
            self._one_shape()
        if self._wanted.near_duplicates or self._wanted.drop_contradictions:
            self._file.flush()
            found = crossing(
                self._file.temporary, near_duplicates=self._wanted.near_duplicates, contradictions=self._wanted.drop_contradictions
            )
            if found:
                self._file.rewrite(lambda lines: self._without(lines, found))
        if not self._file.lines:
            total = f"{', '.join(map(printable, given))}: no row is left; nothing was written."
            raise UserError("\n".join([*self.ledger.dropped.findings().lines, total]))

    def _one_shape(self) -> None:
        text = self._shapes.get("text")
        if text is not None:
            other = next(row for shape, row in self._shapes.items() if shape != "text")
            raise UserError(
                f"{text.where} is a rendered text and {other.where} a row of messages or columns; one file can't hold both; nothing was written. Repair each alone."
            )
        self._file.rewrite(self._as_messages)

    def _as_messages(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        for number, line in enumerate(lines):
            row = json.loads(line)
            path, at = self._where(number)
            good = next(each for each in rows(path, [Record(at, row)], columns={}, roles={}) if isinstance(each, Row))
            if good.shape == "messages":
                yield line
                continue
            self.ledger.changed(Finding(path, at, "note", "shape", f"the row's {good.shape} was written as messages, as other rows are."))
            yield as_line(_as_messages(row, good))

    def _without(self, lines: Iterator[bytes], found: Mapping[int, Crossing]) -> Iterator[bytes]:
        for number, line in enumerate(lines):
            if number not in found:
                yield line
                continue
            (path, at), (other, there) = self._where(number), self._where(found[number].beside)
            if found[number].code == "near-duplicate":
                message = f"nearly the same row as {other}:{there} was removed."
                self.ledger.changed(Finding(path, at, "note", "near-duplicate", message))
            else:
                message = f"its question has another answer at {other}:{there}."
                self.ledger.left_out(Finding(path, at, "error", "contradiction", message))


def _as_messages(row: dict[str, object], read: Row) -> dict[str, object]:
    """The row as `messages`, its other keys behind them; ShareGPT's own messages are read under that name too."""
    if read.shape == "conversations":
        return {"messages" if key == "conversations" else key: value for key, value in row.items()}
    return {**as_row(read.conversation), **{key: value for key, value in row.items() if key not in NAMES and key != "tools"}}


def _questions(wanted: Wanted) -> frozenset[bytes]:
    """Hashes of the evaluation's questions, which must not be trained on."""
    if not wanted.eval_paths or wanted.allow_leak:
        return frozenset()
    found: set[bytes] = set()
    examination = examine(
        wanted.eval_paths,
        columns=wanted.columns,
        roles=wanted.roles,
        offline=wanted.offline,
        take=lambda conversation: found.add(_digest(normalise(conversation.question))),
    )
    examination.findings.raise_errors()
    return frozenset(found)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
