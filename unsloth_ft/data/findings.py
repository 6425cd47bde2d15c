"""What a check found in a data file, with the file and the line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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
    characters from 1 in the line, `offset` bytes from 0 in the (unpacked) file, where they are known.
    """

    file: str
    line: int | None
    severity: Severity
    code: str
    message: str
    column: int | None = None
    offset: int | None = None

    def __str__(self) -> str:
        place = [] if self.line is None else [self.line] if self.column is None else [self.line, self.column]
        return f"{':'.join([printable(self.file), *map(str, place)])}: {self.message}"


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that stop a run."""
    return tuple(finding for finding in findings if finding.severity == "error")


def raise_errors(findings: Iterable[Finding]) -> None:
    """Raise one UserError that names the first ten errors of each kind and how many there are; nothing when there is none."""
    found = errors(findings)
    if not found:
        return
    by_code: dict[str, list[Finding]] = {}
    for finding in found:
        by_code.setdefault(finding.code, []).append(finding)
    lines: list[str] = []
    for same in by_code.values():
        lines += [str(finding) for finding in same[:SHOWN_PER_CODE]]
        if len(same) > SHOWN_PER_CODE:
            lines.append(f"  and {len(same) - SHOWN_PER_CODE:,} more of this kind, {len(same):,} in all")
    if len(found) > 1:
        lines.append(f"{count(len(found), 'error')}; nothing was written.")
    raise UserError("\n".join(lines))
