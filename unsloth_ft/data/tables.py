"""CSV and Parquet rows as records."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import MachineError
from .findings import Finding
from .jsonfiles import Record, decoded, error
from .streams import MAX_LINE_BYTES, lines
from .wording import count, listed, printable, quote

PARQUET_MAGIC = b"PAR1"
_BATCH_ROWS = 256


class _BadLine(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def csv_rows(path: str, stream: BinaryIO, *, tabs: bool = False) -> Iterator[Record | Finding]:
    """Rows under a header line, numbered from 1 after it; every cell is text.

    The delimiter is the comma; a header without one that has semicolons or tabs is read with those.
    """
    text = _texts(path, stream)
    try:
        first = next((line for line in text if line.strip()), "")
        rows = _parsed(path, first, text, _delimiter(first, tabs=tabs))
        header = next(rows)
        if isinstance(header, Finding):
            yield header
            return
        bad = _bad_header(path, header)
        if bad is not None:
            yield bad
            return
        yield from _records(path, header, rows)
    except _BadLine as bad_line:
        yield bad_line.finding


def _texts(path: str, stream: BinaryIO) -> Iterator[str]:
    for line in lines(stream):
        if line.raw is None:
            message = f"line {line.number} is longer than {MAX_LINE_BYTES // 2**20} MiB. Remove or split it."
            raise _BadLine(error(path, None, "line-too-long", message, offset=line.offset))
        text = decoded(path, line.number, line.offset, line.raw)
        if isinstance(text, Finding):
            raise _BadLine(error(path, None, text.code, f"line {line.number}: {text.message}", offset=text.offset))
        yield text


def _delimiter(header: str, *, tabs: bool) -> str:
    if tabs or ("," not in header and "\t" in header):
        return "\t"
    return ";" if "," not in header and ";" in header else ","


def _parsed(path: str, first: str, text: Iterator[str], delimiter: str) -> Iterator[list[str] | Finding]:
    # process-wide, and only ever raised: the csv module has no limit of its own for one reader
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))

    def chained() -> Iterator[str]:
        yield first
        yield from text

    reader = csv.reader(chained(), delimiter=delimiter, strict=True)
    number = -1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            yield error(path, max(number + 1, 1), "invalid-csv", _csv_problem(str(problem)))
            return
        number += 1
        yield row


def _csv_problem(found: str) -> str:
    if "end of data" in found:
        return "a quoted cell is never closed. Close its quote; a quote inside a quoted cell is written twice."
    if "new-line" in found:
        return "lines end in a lone carriage return, as on old Macs. Save the file with LF or CRLF line ends."
    if "expected after" in found:
        return "text after a closing quote. A quote inside a quoted cell is written twice."
    return "not valid CSV. Write it again with a CSV library."


def _bad_header(path: str, header: list[str]) -> Finding | None:
    names = [name.strip() for name in header]
    if any(not name for name in names):
        message = f"the header's column {names.index('') + 1} has no name. Name it, or remove the column."
        return error(path, None, "bad-header", message)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return error(path, None, "bad-header", f"the header has {quote(twice, limit=40)} twice. Rename one of them.")
    return None


def _records(path: str, header: list[str], rows: Iterator[list[str] | Finding]) -> Iterator[Record | Finding]:
    names = [name.strip() for name in header]
    number = 0
    for row in rows:
        if isinstance(row, Finding):
            yield row
            return
        if not row or (len(row) == 1 and len(names) > 1 and not row[0].strip()):
            continue
        number += 1
        if len(row) != len(names):
            message = f"{count(len(row), 'cell')} under a header of {len(names)} ({listed(names)}). Quote cells that hold the delimiter."
            yield error(path, number, "ragged-row", message)
        else:
            yield Record(number, dict(zip(names, row, strict=True)))


def parquet_rows(path: str) -> Iterator[Record | Finding]:
    """Rows of a Parquet file, a small batch at a time. Raises: MachineError without pyarrow.

    Columns of dates and times are left out: no row shape has them, and nanoseconds can't be read without pandas.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MachineError(f"{printable(path)}: reading Parquet needs the package pyarrow. Run: pip install pyarrow") from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns = [field.name for field in file.schema_arrow if not pyarrow.types.is_temporal(field.type)]
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield Record(number, row)
    except UnicodeDecodeError:
        yield error(path, number + 1, "not-utf8", "a text in these rows is not UTF-8. Write the file again.")
    except (pyarrow.ArrowException, OSError):  # pyarrow reports damaged data as OSError too
        where = f"after row {number}" if number else "at its beginning or end"
        yield error(path, None, "damaged", f"the Parquet data is damaged {where}. Copy the file again.")
