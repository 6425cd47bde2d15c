"""A file is examined in parts, by one process or several, in bounded memory, and what is found is the same."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.building import lines, parquet, qa
from tests.data.test_bad_files import CASES
from tests.data.test_good_files import GOOD_FILES
from unsloth_ft.data import Examination, chunks, examine, reading, rows
from unsloth_ft.data.chunks import Chunk
from unsloth_ft.data.jsonfiles import json_lines

ROOT = Path(__file__).parents[2]


def told(found: Examination) -> dict[str, object]:
    """All that an examination says."""
    return {
        "rows": found.rows,
        "shape": found.shape,
        "files": found.files,
        "findings": found.findings.as_json(),
        "survey": found.survey.as_json(),
    }


def mixed_rows(number: int) -> bytes:
    """Good rows of three shapes of mistakes, equal rows, contradictions and near duplicates."""
    chance = random.Random(3)
    words = [f"word{place}" for place in range(400)]
    written = []
    for place in range(number):
        row = qa(f"Question {place}: {' '.join(chance.choices(words, k=20))}?", " ".join(chance.choices(words, k=60)))
        bad = {7: {"question": "no answer"}, 11: qa("empty", ""), 13: {"foo": place}, 17: qa("same?", f"{place % 3}"), 19: qa("equal", "row")}
        written.append(next((other for divisor, other in bad.items() if place % divisor == divisor - 1), row))
        if place % 23 == 22:
            written.append(qa(row["question"] + " Really.", row["answer"] + " Yes."))
    return lines(*written) + b'{"question": \n'


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is true of files of 100 MB, with files of 100 kB."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**14)
    monkeypatch.setattr(chunks, "LONGEST_CHUNK_BYTES", 2**16)
    monkeypatch.setattr(chunks, "ROWS_AT_ONCE", 50)
    monkeypatch.setattr(reading, "ALONE_BYTES", 2**10)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json", "csv", "parquet"])
def test_two_processes_find_what_one_finds(tmp_path: Path, small_parts: None, ending: str):
    content = mixed_rows(400)
    records = [json.loads(line) for line in content.splitlines()[:-1]]
    pairs = [row for row in records if set(row) == {"question", "answer"}]
    path = tmp_path / f"f.{ending}"
    path.write_bytes(
        {
            "jsonl": content,
            "jsonl.gz": gzip.compress(content),
            "json": json.dumps(records).encode(),
            "csv": b"question,answer\n" + "".join(f'"{row["question"]}","{row["answer"]}"\n' for row in pairs).encode(),
            "parquet": parquet({name: [row[name] for row in pairs] for name in ("question", "answer")}),
        }[ending]
    )
    one, two = (told(examine(path, processes=processes)) for processes in (1, 2))
    assert one == two
    assert one["rows"] > 300
    found = {kind["code"]: kind["count"] for kind in one["findings"]}
    assert found["duplicate"] >= 1 and found["contradiction"] == 1 and found["near-duplicate"] > 5 and found["empty-content"] > 20


def test_a_file_in_parts_has_the_findings_of_a_file_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "f.jsonl").write_bytes(mixed_rows(300))
    whole = told(examine(tmp_path / "f.jsonl"))
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**13)
    assert told(examine(tmp_path / "f.jsonl")) == whole


@pytest.mark.parametrize(
    "content",
    [
        b'{\n  "question": "a"\n}\n' * 30 + lines(qa()) + b"3\n",
        lines(*[qa(f"q{place}") for place in range(30)]) + b'{"question":\n' + lines(qa()) * 30,
        lines(*[qa(f"q{place}") for place in range(30)]) + b'{"question": "a",\n"answer": "b"}\n' + lines(qa("z")) + b"3\n",
        lines(qa("long", "x " * 10_000), qa("b")) + b"3\n",
        b"\xef\xbb\xbf" + lines(*[qa(f"q{place}") for place in range(50)]),
        lines(*[qa(f"q{place}") for place in range(50)])[:-1],
        b"\n" * 3000 + lines(qa()) + b"\n" * 3000 + b"3\n",
        b"\n" * 3000,
    ],
    ids=["pretty-printed", "cut off", "one row over two lines", "a long line", "byte order mark", "no last break", "blank lines", "only blank lines"],
)
def test_parts_may_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes):
    (tmp_path / "f.jsonl").write_bytes(content)
    whole = told(examine(tmp_path / "f.jsonl"))
    monkeypatch.setattr(chunks, "LONGEST_CHUNK_BYTES", 2**10)
    for size in (7, 64, 300):
        monkeypatch.setattr(chunks, "CHUNK_BYTES", size)
        assert told(examine(tmp_path / "f.jsonl")) == whole


def test_chunks_are_the_file_and_know_their_lines_and_bytes(monkeypatch: pytest.MonkeyPatch):
    content = lines(*[qa(f"q{place}") for place in range(100)])
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 200)
    cut = list(chunks.chunks("f", io.BufferedReader(io.BytesIO(content))))
    assert b"".join(chunk.raw or b"" for chunk in cut) == content
    assert [(chunk.number, chunk.offset) for chunk in cut] == [
        (content[: chunk.offset].count(b"\n") + 1, sum(len(before.raw or b"") for before in cut[:place])) for place, chunk in enumerate(cut)
    ]
    assert len(cut) > 10 and cut[0] == Chunk(1, 0, cut[0].raw, last=False)


def test_the_quick_way_gives_what_the_exact_way_gives(monkeypatch: pytest.MonkeyPatch):
    contents = [content for _, file, content, *_ in (*CASES, *GOOD_FILES) if file.endswith("jsonl")]
    contents += [mixed_rows(50), lines({"answer": "b", "question": "a"}, {"messages": [{"content": "a", "role": "user"}]})]

    def read(content: bytes) -> list[object]:
        return list(rows.rows("f", json_lines("f", io.BytesIO(content)), columns={}, roles={}))

    quick = [read(content) for content in contents]
    monkeypatch.setattr(rows, "quick_row", lambda value, file, line: None)
    assert quick == [read(content) for content in contents]
    assert len(contents) > 200


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_memory_does_not_grow_with_the_file_beyond_its_index(tmp_path: Path):
    row = json.dumps(qa("Question %d?", "An answer of some words. " * 100)) + "\n"
    peaks = []
    for number in (2_000, 10_000):
        (tmp_path / "f.jsonl").write_text("".join(row % place for place in range(number)))
        code = (
            "from unsloth_ft.data import examine; assert examine('f.jsonl').rows == %d; "
            "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])" % number
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        peaks.append(int(done.stdout) * 1024)
    # 20 MB more of file; its 8,000 rows have 1.3 MB of index
    assert peaks[1] - peaks[0] < 8 * 2**20
