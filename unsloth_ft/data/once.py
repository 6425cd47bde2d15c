"""What is said once a file, with the first line and the number, instead of once a row."""

from __future__ import annotations

from collections.abc import Iterator

from xxhash import xxh3_64_intdigest

from .findings import Finding
from .unused_columns import CONTEXT, INPUT, SYSTEM, message
from .wording import count

MOST_KINDS = 1000  # of unknown rows that are told apart; a file of rows that are all different must not fill the memory


class SaidOnce:
    """Collects while a file is read; `findings` gives the sum at its end."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._shapes: dict[str, int] = {}
        self._unknown: dict[int, tuple[int, str, int]] = {}
        self._other_kinds: tuple[int, int] | None = None
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}

    def shape(self, name: str, line: int) -> None:
        """A row has this shape."""
        self._shapes.setdefault(name, line)

    def unknown_shape(self, keys: tuple[str, ...], line: int, message: str) -> None:
        """A row's keys are no known shape."""
        # a hash, since the keys of one row may be a megabyte
        self._add_unknown(xxh3_64_intdigest("\0".join(keys).encode("utf-8", "surrogatepass")), line, message, 1)

    def _add_unknown(self, kind: int, line: int, message: str, rows: int) -> None:
        if kind in self._unknown or len(self._unknown) < MOST_KINDS:
            first, said, number = self._unknown.get(kind, (line, message, 0))
            self._unknown[kind] = (first, said, number + rows)
        else:
            first, number = self._other_kinds or (line, 0)
            self._other_kinds = (first, number + rows)

    def counted(self, code: str, name: str, line: int) -> None:
        """Something harmless, such as a key that is not used."""
        self._add_counted((code, name), line, 1)

    def _add_counted(self, kind: tuple[str, str], line: int, times: int) -> None:
        first, number = self._counts.get(kind, (line, 0))
        if number or len(self._counts) < MOST_KINDS:
            self._counts[kind] = (first, number + times)

    def merge(self, other: SaidOnce) -> None:
        """What was met in the rows that come after these."""
        for name, line in other._shapes.items():
            self._shapes.setdefault(name, line)
        for kind, (line, message, number) in other._unknown.items():
            self._add_unknown(kind, line, message, number)
        if other._other_kinds is not None:
            first, number = self._other_kinds or (other._other_kinds[0], 0)
            self._other_kinds = (first, number + other._other_kinds[1])
        for kind, (line, number) in other._counts.items():
            self._add_counted(kind, line, number)

    @property
    def shapes(self) -> tuple[str, ...]:
        """In the order in which they were met."""
        return tuple(self._shapes)

    def findings(self) -> Iterator[Finding]:
        """Errors first."""
        for first, message, number in self._unknown.values():
            more = f" {count(number - 1, 'more row')} like it." if number > 1 else ""
            yield Finding(self._file, first, "error", "unknown-shape", message + more, rows=number)
        if self._other_kinds is not None:
            first, number = self._other_kinds
            message = f"from here on {count(number, 'more row')} of no known shape, whose keys are none of {MOST_KINDS:,} other kinds'."
            yield Finding(self._file, first, "error", "unknown-shapes", message, rows=number)
        if len(self._shapes) > 1:
            yield self._mixed()
        for (code, name), (first, number) in self._counts.items():
            yield _harmless(self._file, code, name, first, number)

    def _mixed(self) -> Finding:
        places = ", ".join(f"{name} (first on line {line})" for name, line in self._shapes.items())
        second = list(self._shapes.values())[1]
        message = f"rows of different shapes in one file: {places}. Split the file, one shape each."
        return Finding(self._file, second, "error", "mixed-shapes", message)


def _harmless(file: str, code: str, name: str, line: int, number: int) -> Finding:
    messages = count(number, "message")
    if code == "empty-system":
        return Finding(file, line, "note", code, f"{messages} of the system without text left out.")
    if code in (SYSTEM, INPUT, CONTEXT):
        return Finding(file, line, "warning", code, message(code, name, number))
    return Finding(file, line, "warning", code, f'"{name}" in {messages} is not used: every assistant message is trained on as it stands.')
