"""What a check found in a data file, with the file and the line; the same kind together, the first of them and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from ..errors import UserError
from .wording import count, printable

Severity = Literal["error", "warning", "note"]

SHOWN_PER_CODE = 10  # enough to see the pattern, few enough to read


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in the data.

    `file` is the path as the user gave it. `line` counts from 1 (for arrays, CSV and Parquet: the record's number); None is the
    whole file. `code` is the kind, by which findings are grouped: 'invalid-json', 'unknown-role' and so on. `column` counts
    characters from 1 in the line, `offset` bytes from 0 in the (unpacked) file, where they are known. `rows`: of how many it is said.
    """

    file: str
    line: int | None
    severity: Severity
    code: str
    message: str
    column: int | None = None
    offset: int | None = None
    rows: int = 1

    def __str__(self) -> str:
        place = [] if self.line is None else [self.line] if self.column is None else [self.line, self.column]
        return f"{':'.join([printable(self.file), *map(str, place)])}: {self.message}"


@dataclass(frozen=True, slots=True)
class Kind:
    """All findings of one code: the first of them in the files' order, and of how many rows they are said."""

    severity: Severity
    code: str
    first: tuple[Finding, ...]
    count: int

    @property
    def lines(self) -> list[str]:
        """A line each of the first, and one for the others."""
        more = self.count - sum(finding.rows for finding in self.first)
        shown = [str(finding) for finding in self.first]
        return [*shown, f"  and {more:,} more of this kind, {self.count:,} in all"] if more else shown

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        first = [{key: value for key, value in asdict(finding).items() if key != "rows"} for finding in self.first]
        return {"severity": self.severity, "code": self.code, "count": self.count, "first": first}


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything found, kind by kind; takes the same memory for ten findings of a kind as for a million."""

    kinds: tuple[Kind, ...] = ()

    def __iter__(self) -> Iterator[Finding]:
        """The findings that are kept: the first of each kind."""
        for kind in self.kinds:
            yield from kind.first

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.kinds + other.kinds)

    def of(self, severity: Severity) -> Findings:
        """Those of one severity."""
        return Findings(tuple(kind for kind in self.kinds if kind.severity == severity))

    def without(self, code: str) -> Findings:
        """Those of all other kinds."""
        return Findings(tuple(kind for kind in self.kinds if kind.code != code))

    @property
    def count(self) -> int:
        """How many were found, kept or not."""
        return sum(kind.count for kind in self.kinds)

    @property
    def lines(self) -> list[str]:
        """The first of each kind with the number of the others."""
        return [line for kind in self.kinds for line in kind.lines]

    def as_json(self) -> list[dict[str, object]]:
        """Plain values, kind by kind."""
        return [kind.as_json() for kind in self.kinds]

    def raise_errors(self) -> None:
        """Raise one UserError that names the first ten errors of each kind and how many there are; nothing when there is none."""
        found = self.of("error")
        if found.count:
            total = [f"{count(found.count, 'error')}; nothing was written."] if found.count > 1 else []
            raise UserError("\n".join([*found.lines, *total]))


class Collector:
    """Takes findings as they come, file after file, and keeps the first of each kind."""

    def __init__(self) -> None:
        self._first: dict[tuple[Severity, str], list[Finding]] = {}
        self._counts: dict[tuple[Severity, str], int] = {}
        self._files: dict[str, int] = {}

    def add(self, finding: Finding) -> None:
        """One more, behind those that are there."""
        key = (finding.severity, finding.code)
        kept = self._first.setdefault(key, [])
        self._files.setdefault(finding.file, len(self._files))
        if len(kept) < SHOWN_PER_CODE:
            kept.append(finding)
        self._counts[key] = self._counts.get(key, 0) + finding.rows

    def extend(self, findings: Iterable[Finding]) -> None:
        """Several more."""
        for finding in findings:
            self.add(finding)

    def merge(self, other: Findings) -> None:
        """What was found behind all that is there."""
        for kind in other.kinds:
            key = (kind.severity, kind.code)
            kept = self._first.setdefault(key, [])
            for finding in kind.first:
                self._files.setdefault(finding.file, len(self._files))
            kept += kind.first[: SHOWN_PER_CODE - len(kept)]
            self._counts[key] = self._counts.get(key, 0) + kind.count

    def findings(self) -> Findings:
        """Kinds in the order of their first lines; what concerns a whole file comes before its lines."""
        kinds = [Kind(*key, tuple(kept), self._counts[key]) for key, kept in self._first.items()]
        return Findings(tuple(sorted(kinds, key=lambda kind: (self._files[kind.first[0].file], kind.first[0].line or 0))))


def collected(findings: Iterable[Finding]) -> Findings:
    """Findings in the files' order, kind by kind."""
    collector = Collector()
    collector.extend(findings)
    return collector.findings()


def raise_errors(findings: Iterable[Finding]) -> None:
    """Raise one UserError that names the first ten errors of each kind and how many there are; nothing when there is none."""
    collected(findings).raise_errors()
