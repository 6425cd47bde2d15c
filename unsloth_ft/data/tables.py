"""CSV and Parquet rows as records."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from ..errors import MachineError
from .findings import Finding
from .jsonfiles import Record, decoded, error
from .streams import MAX_LINE_BYTES, UNPACKS_TOO_FAR, Lines, unpacked_limit
from .wording import count, given_twice, listed, printable, quote

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

PARQUET_MAGIC = b"PAR1"
_BATCH_ROWS = 256
_ROW_TOO_LONG = f"the row holds more than {MAX_LINE_BYTES // 2**20} MiB of text. Remove or split it."
_NAMED_DELIMITER = re.compile(r"sep=([,;\t|])\r?\n?")
_OTHER_DELIMITERS = "|^,;\t"


class _BadLine(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def csv_rows(path: str, stream: BinaryIO, *, tabs: bool = False) -> Iterator[Record | Finding]:
    """Rows under a header line, numbered from 1 after it; every cell is text.

    The delimiter is the comma; a header without one that has semicolons or tabs is read with those. Excel's line `sep=;` names it too.
    """
    source = Lines(stream)
    text = _texts(path, source)
    try:
        first = next((line for line in text if line.strip()), "")
        named = _NAMED_DELIMITER.fullmatch(first)
        first = next(text, "") if named else first
        rows = _parsed(path, first, text, named[1] if named else _delimiter(first, tabs=tabs), source.skip_blank)
        header = next(rows, [])
        if isinstance(header, Finding):
            yield header
            return
        if not header:
            return
        bad = _bad_header(path, header)
        if bad is not None:
            yield bad
            return
        yield from _records(path, header, rows)
    except _BadLine as bad_line:
        yield bad_line.finding


def _texts(path: str, source: Lines) -> Iterator[str]:
    for line in source:
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


def _parsed(path: str, first: str, text: Iterator[str], delimiter: str, after_blank: Callable[[], None]) -> Iterator[list[str] | Finding]:
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
        if not row:
            after_blank()
            continue
        number += 1
        yield row


def _csv_problem(found: str) -> str:
    if "field larger" in found:
        return f"a cell is longer than {MAX_LINE_BYTES // 2**20} MiB. Close its quote, or split it."
    if "end of data" in found:
        return "a quoted cell is never closed. Close its quote; a quote inside a quoted cell is written twice."
    if "new-line" in found:
        return "lines end in a lone carriage return, as on old Macs. Save the file with LF or CRLF line ends."
    if "expected after" in found:
        return "text after a closing quote. A quote inside a quoted cell is written twice."
    return "not valid CSV. Write it again with a CSV library."


def _bad_header(path: str, header: list[str]) -> Finding | None:
    names = [name.strip() for name in header]
    if len(names) == 1 and any(mark in names[0] for mark in _OTHER_DELIMITERS):
        found = f"the header is one column, {quote(names[0], limit=40)}; expected commas between its columns"
        return error(path, None, "bad-header", f"{found}. Write it again with commas, and quotes around cells that hold one.")
    if any(not name for name in names):
        place = names.index("") + 1
        index = " pandas wrote its index there: write with to_csv(…, index=False)." if place == 1 and len(names) > 1 else ""
        return error(path, None, "bad-header", f"the header's column {place} has no name. Name it, or remove the column.{index}")
    twice = given_twice(names)
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
        if not any(cell.strip() for cell in row) and len(names) > 1:  # spreadsheets leave rows of commas alone at a table's end
            continue
        number += 1
        if len(row) != len(names):
            message = f"{count(len(row), 'cell')} under a header of {len(names)} ({listed(names)}). Quote cells that hold the delimiter."
            yield error(path, number, "ragged-row", message)
        elif row == header and len(row) > 1:
            yield error(path, number, "header-again", "the row is the header once more, as joined files have it. Remove it.")
        else:
            yield Record(number, dict(zip(names, row, strict=True)))


def parquet_rows(path: str) -> Iterator[Record | Finding]:
    """Rows of a Parquet file, a small batch at a time. Raises: MachineError without pyarrow.

    Columns that hold dates and times are left out: no row shape has them, nanoseconds can't be read without pandas, and a year past
    9999 or an unknown time zone would end the reading of good rows.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MachineError(f"{printable(path)}: reading Parquet needs the package pyarrow. Run: pip install pyarrow") from None
    number = 0
    try:
        with parquet.ParquetFile(path, read_dictionary=_texts_of(path)) as file:
            wrong = _bad_columns(path, file.schema_arrow.names) or _unpacks_too_far(path, file.metadata)
            if wrong is not None:
                yield wrong
                return
            columns = [field.name for field in file.schema_arrow if not _holds_times(field.type)]
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for row in _unpacked(batch):
                    number += 1
                    yield Record(number, row) if row is not None else error(path, number, "line-too-long", _ROW_TOO_LONG)
    except UnicodeDecodeError:
        yield error(path, number + 1, "not-utf8", "a text in these rows is not UTF-8. Write the file again.")
    except (pyarrow.ArrowException, OSError):  # pyarrow reports damaged data as OSError too
        where = f"after row {number}" if number else "at its beginning or end"
        yield error(path, None, "damaged", f"the Parquet data is damaged {where}. Copy the file again.")


def _bad_columns(path: str, names: list[str]) -> Finding | None:
    twice = given_twice(names)
    if twice is None:
        return None
    return error(path, None, "bad-header", f"the table has the column {quote(twice, limit=40)} twice. Rename one of them.")


def _unpacks_too_far(path: str, metadata: pyarrow.parquet.FileMetaData) -> Finding | None:
    """Whether the pages, by what the footer says of them, are a bomb: a page is unpacked whole, up to 2 GiB of it."""
    unpacked = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if unpacked <= unpacked_limit(os.path.getsize(path)):
        return None
    return error(path, None, "unpacks-too-far", UNPACKS_TOO_FAR)


def _texts_of(path: str) -> list[str]:
    """The columns of texts. Read as a dictionary, a value that all rows share is held once, not once a row."""
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path) as file:
        columns = [file.schema.column(number) for number in range(len(file.schema))]
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY" and column.logical_type.type in ("STRING", "NONE")]


def _unpacked(batch: pyarrow.RecordBatch) -> Iterator[dict[str, object] | None]:
    """The rows; None for one whose texts are longer together than a line may be. Rows that are long together are unpacked one by one."""
    if _text_bytes(batch.to_struct_array()) <= MAX_LINE_BYTES:
        yield from batch.to_pylist()
        return
    for place in range(batch.num_rows):
        row = batch.slice(place, 1)
        yield row.to_pylist()[0] if _text_bytes(row.to_struct_array()) <= MAX_LINE_BYTES else None


def _text_bytes(array: pyarrow.Array) -> int:
    """Bytes of all texts in an array, each as often as a row has it."""
    import pyarrow
    import pyarrow.compute as compute

    if pyarrow.types.is_struct(array.type):
        return sum(map(_text_bytes, array.flatten()))
    if pyarrow.types.is_map(array.type):
        return _text_bytes(array.keys) + _text_bytes(array.items)
    if pyarrow.types.is_nested(array.type):
        return _text_bytes(array.flatten())
    packed = pyarrow.types.is_dictionary(array.type)
    values = array.dictionary if packed else array
    if not any(is_text(values.type) for is_text in (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_binary, pyarrow.types.is_large_binary)):
        return 0
    lengths = compute.binary_length(values).cast("int64")
    return compute.sum(lengths.take(array.indices) if packed else lengths, min_count=0).as_py()


def _holds_times(kind: pyarrow.DataType) -> bool:
    import pyarrow

    if pyarrow.types.is_temporal(kind) or pyarrow.types.is_dictionary(kind):
        return pyarrow.types.is_temporal(kind) or _holds_times(kind.value_type)
    return any(_holds_times(kind.field(number).type) for number in range(kind.num_fields))
