"""Memory and time stay bounded whatever a file holds: lines, records and cells without end, bombs, nesting, millions of mistakes."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from tests.cli.calling import ROOT
from tests.data.building import KNOWN
from unsloth_ft.data import Message
from unsloth_ft.data.calls import tools_of, unknown_functions
from unsloth_ft.data.jsonfiles import Record
from unsloth_ft.data.tables import csv_rows, parquet_rows

MIB = 2**20
# Of one process, in all: 16 MiB is the longest line, held a few times while it is looked at. The check itself takes 110 MiB.
MOST_MEMORY_BYTES = 600 * MIB
MOST_SECONDS = 300  # of the processor: a gigabyte takes 1 to 10, three million mistakes 40


# wait4's ru_maxrss begins with the memory of the process that started the child; VmHWM is the child's own
PROGRAM = """
import atexit, sys
from pathlib import Path
from unsloth_ft.cli import main

atexit.register(lambda: sys.stderr.write(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line) + "\\n"))
main()
"""


@dataclass(frozen=True)
class Ended:
    """How a child ended: what it said, the most memory that it took, and the processor's time with that of its own children."""

    code: int
    said: list[str]
    peak_bytes: int
    cpu_seconds: float


def check(file: str, folder: Path) -> Ended:
    """`unsloth-ft data check FILE` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, "data", "check", file], cwd=folder, env=environment, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        err.seek(0)
        *said, peak = err.read().splitlines()
        return Ended(child.returncode, said, int(peak.split()[1]) * 1024, usage.ru_utime + usage.ru_stime)


def one_line(size: int) -> Iterator[bytes]:
    yield b'{"question": "'
    yield from (b"x" * MIB for _ in range(size // MIB))
    yield b'", "answer": "b"}\n3\n'


def one_record(size: int) -> Iterator[bytes]:
    yield b'[{"question": "'
    yield from (b"x" * MIB for _ in range(size // MIB))
    yield b'", "answer": "b"}, 3]'


def one_cell(size: int) -> Iterator[bytes]:
    yield b'question,answer\na,"'
    yield from ((b"x" * 79 + b"\n") * (MIB // 80) for _ in range(size // MIB))


def brackets_in_a_text(size: int) -> Iterator[bytes]:
    """Quotes and brackets at every place, which nesting must be followed through."""
    yield b'{"question": "'
    yield from (b'[{\\"' * (MIB // 4) for _ in range(size // MIB))
    yield b"\n"


def nesting(size: int) -> Iterator[bytes]:
    yield b'{"question": "a", "answer": "b", "x": '
    yield from (b"[" * MIB for _ in range(size // MIB))
    yield b"\n"


def mistakes(size: int) -> Iterator[bytes]:
    yield from (b"3\n{}\n{,}\n\xff\n" * (MIB // 48) for _ in range(4 * size // MIB))


def blank_lines(size: int) -> Iterator[bytes]:
    yield from (b"\n" * MIB for _ in range(size // MIB))
    yield b"3\n"


def zeros(size: int) -> Iterator[bytes]:
    yield from (bytes(MIB) for _ in range(size // MIB))


def packed_gzip(size: int) -> Iterator[bytes]:
    yield gzip.compress(b"\n" * 16 * MIB) * (size // (16 * MIB))


def packed_zstd(size: int) -> Iterator[bytes]:
    yield zstandard.compress(bytes(64 * MIB), 19) * max(1, size // (64 * MIB))


TOO_FAR = "it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."
MORE = "  and {more} more of this kind, {each} in all"
CASES: list[tuple[str, Callable[[int], Iterator[bytes]], list[str]]] = [
    (
        "line.jsonl",
        one_line,
        [
            "line.jsonl:1: the line is longer than 16 MiB. Remove or split it.",
            "line.jsonl:2: the row is the number 3; expected one JSON object a line.",
        ],
    ),
    (
        "record.json",
        one_record,
        [
            "record.json:1: the record is longer than 16 MiB. Remove or split it.",
            "record.json:2: the row is the number 3; expected one JSON object a record.",
        ],
    ),
    ("cell.csv", one_cell, ["cell.csv:1: a cell is longer than 16 MiB. Close its quote, or split it."]),
    ("quotes.jsonl", brackets_in_a_text, ["quotes.jsonl:1: the line is longer than 16 MiB. Remove or split it."]),
    ("nesting.jsonl", nesting, ["nesting.jsonl:1: the line is longer than 16 MiB. Remove or split it."]),
    ("zeros.jsonl", zeros, ["zeros.jsonl:1: the line is longer than 16 MiB. Remove or split it."]),
    ("blank.jsonl", blank_lines, ["blank.jsonl:{blank}: the row is the number 3; expected one JSON object a line."]),
    ("bomb.jsonl.gz", packed_gzip, [f"bomb.jsonl.gz: {TOO_FAR}"]),
    ("bomb.jsonl.zst", packed_zstd, [f"bomb.jsonl.zst: {TOO_FAR}"]),
    (
        "mistakes.jsonl",
        mistakes,
        [
            *(f"mistakes.jsonl:{line}: the row is the number 3; expected one JSON object a line." for line in range(1, 41, 4)),
            MORE,
            f"mistakes.jsonl:2: the row has no keys; known shapes: {KNOWN}. {{others}} more rows like it.",
            *(f"mistakes.jsonl:{line}:2: not valid JSON: a trailing comma at column 2. Remove it." for line in range(3, 43, 4)),
            MORE,
            *(
                f"mistakes.jsonl:{line}: byte {byte} of the file (0xff) is not UTF-8. Convert it, from Windows-1252 if it is that: "
                "iconv -f WINDOWS-1252 -t UTF-8 mistakes.jsonl > mistakes.clean.jsonl"
                for line, byte in zip(range(4, 44, 4), range(9, 119, 11), strict=True)
            ),
            MORE,
            "{all} errors; nothing was written.",
        ],
    ),
]


def bounded(folder: Path, case: tuple[str, Callable[[int], Iterator[bytes]], list[str]], size: int) -> Ended:
    """The check of a file of about `size` bytes, which keeps within the bounds."""
    file, pieces, expected = case
    with (folder / file).open("wb") as written:
        written.writelines(pieces(size))
    ended = check(file, folder)
    lines = [line.removeprefix("error: ") for line in ended.said]
    each = MIB // 48 * (4 * size // MIB)  # of `mistakes`: so many lines of each kind
    numbers = {"blank": size // MIB * MIB + 1, "each": f"{each:,}", "more": f"{each - 10:,}", "others": f"{each - 1:,}", "all": f"{4 * each:,}"}
    assert ended.code == 2
    assert [line for line in lines if file == "mistakes.jsonl" or not line.endswith("nothing was written.")] == [line.format(**numbers) for line in expected]
    assert ended.peak_bytes < MOST_MEMORY_BYTES
    assert ended.cpu_seconds < MOST_SECONDS
    return ended


# what says something of a gigabyte at a twelfth of it: past the longest line, and over before a coffee
SAMPLE = ("line.jsonl", "record.json", "cell.csv", "blank.jsonl", "bomb.jsonl.gz", "mistakes.jsonl")


def test_headers_and_tools_without_end_are_read_in_time():
    """A search of each name among all of them would take hours."""
    names = [f"n{number}" for number in range(200_000)]
    (row,) = csv_rows("f.csv", io.BufferedReader(io.BytesIO(f"{','.join(names)}\n{','.join(names[::-1])}\n".encode())))
    assert row.value["n0"] == "n199999"
    tools = tools_of({"tools": [{"name": name} for name in names]})
    call = {"function": {"name": "none", "arguments": {}}}
    message = Message("assistant", "", tool_calls=json.dumps([call, *({"function": {"name": name, "arguments": {}}} for name in names)]))
    assert [problem.message for problem in unknown_functions([message], tools)] == [
        '"none" is called, which the row\'s tools don\'t have. Add it to the tools.'
    ]


READ_PARQUET = """
from pathlib import Path
from unsloth_ft.data.tables import parquet_rows

print(sum(len(record.value["answer"]) for record in parquet_rows("shared.parquet")))
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


def test_a_value_that_all_rows_of_a_parquet_file_share_is_held_once(tmp_path):
    answers = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 256, pyarrow.int32()), pyarrow.array(["x" * 15 * MIB]))
    rows = pyarrow.table({"question": [str(number) for number in range(256)], "answer": answers})
    pyarrow.parquet.write_table(rows, tmp_path / "shared.parquet", store_schema=False)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    read = subprocess.run([sys.executable, "-c", READ_PARQUET], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    characters, peak = read.stdout.splitlines()
    assert int(characters) == 256 * 15 * MIB
    assert int(peak.split()[1]) * 1024 < MOST_MEMORY_BYTES  # 6 GB, when Arrow wrote the rows out


def test_a_row_of_a_parquet_file_is_no_longer_than_a_line(tmp_path):
    rows = pyarrow.table({"parts": [["x" * MIB] * 17, ["y"] * 3, None], "answer": ["a", None, "b"]})
    pyarrow.parquet.write_table(rows, tmp_path / "f.parquet")
    first, *others = parquet_rows(str(tmp_path / "f.parquet"))
    assert first.message == "the row holds more than 16 MiB of text. Remove or split it."
    assert others == [Record(2, {"parts": ["y"] * 3, "answer": None}), Record(3, {"parts": None, "answer": "b"})]


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in SAMPLE], ids=lambda case: case[0])
def test_what_is_too_long_is_refused_within_bounds(tmp_path, case):
    bounded(tmp_path, case, MIB // 4 if case[0] == "mistakes.jsonl" else 32 * MIB)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_gigabyte_is_refused_within_bounds(tmp_path, case):
    ended = bounded(tmp_path, case, 10 * MIB if case[0] == "mistakes.jsonl" else 1024 * MIB)
    print(f"{case[0]}: {ended.peak_bytes / MIB:.0f} MiB, {ended.cpu_seconds:.1f} s of the processor")


def test_the_longest_row_that_fits_passes_within_bounds(tmp_path):
    text = "😀 " * (3 * MIB)
    (tmp_path / "fits.jsonl").write_bytes(f'{{"question": "Who?", "answer": "{text}"}}\n{{"question": "a", "answer": "b"}}\n'.encode())
    ended = check("fits.jsonl", tmp_path)
    assert (ended.code, ended.said) == (0, [])
    assert ended.peak_bytes < MOST_MEMORY_BYTES
