"""A row in numbers: what is kept of every row of a file, to be compared with the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .signatures import PERMUTATIONS

if TYPE_CHECKING:
    import numpy as np

ROW_FIELDS = ("place", "row", "asked", "answer", "question")
_LINE_BITS = 40  # of the number that says where a row is; the file's number stands above them


class Index:
    """The rows' records, in order; takes a row's 168 bytes and no more."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, records: bytes) -> None:
        """Rows behind those that are there."""
        self._bytes += records

    @property
    def rows(self) -> np.ndarray:
        """(rows,) of `row_dtype`."""
        import numpy as np

        return np.frombuffer(self._bytes, dtype=row_dtype())


def row_dtype() -> np.dtype:
    """A row in numbers: where it is, hashes of its text, its question with system prompt and tools, its last answer, its question; its signature."""
    import numpy as np

    return np.dtype([*((name, "<u8") for name in ROW_FIELDS), ("signature", "<u2", (2 * PERMUTATIONS,))])


def numbered(file: int, line: int) -> int:
    """A row's place in one number."""
    return file << _LINE_BITS | line


def place_of(row: np.void) -> tuple[int, int]:
    """(the file's number, the line)."""
    place = int(row["place"])
    return place >> _LINE_BITS, place & ((1 << _LINE_BITS) - 1)
