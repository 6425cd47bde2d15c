"""The reader survives anything: mutated files give conversations or a refusal in sentences, nothing else.

A sample of what `make fuzz-million` and `make fuzz` do for longer.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections import Counter

import pytest
import zstandard

from tests.data.building import parquet
from tests.fuzz import million, survival
from tests.fuzz.mutation import SEEDS, mutated
from tests.fuzz.survival import Died, survive
from unsloth_ft import data


def test_10000_mutated_lines_are_taken_or_refused(tmp_path):
    state = million.run(dict(million.FRESH), wanted=10_000, seconds=float("inf"), folder=tmp_path)
    assert (state["lines"], state["crashes"]) == (10_000, [])
    assert state["rows_taken"] > 1_000
    assert state["errors_found"] > 5_000


def test_1000_mutated_arrays_are_taken_or_refused(tmp_path):
    chance = random.Random(11)
    bodies = (b",".join([chance.choice(SEEDS)] * 2) for _ in range(1_000))
    outcomes = Counter(survive(tmp_path / "f.json", b"[" + mutated(chance, body + b"]")).loaded for body in bodies)
    assert outcomes.total() == 1_000
    assert min(outcomes.values()) > 100


def test_1000_mutated_tables_are_taken_or_refused(tmp_path):
    chance = random.Random(12)
    table = b'question,answer,id\n"a, ""b""",c,1\nd,"e\nf",2\n'
    outcomes = Counter(survive(tmp_path / "f.csv", mutated(chance, table)).loaded for _ in range(1_000))
    assert outcomes.total() == 1_000
    assert min(outcomes.values()) > 100


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet", "jsonl.gz", "jsonl.zst", "txt"])
def test_300_mutated_files_of_each_format_are_taken_or_refused(tmp_path, ending):
    whole = {
        "json": b"[" + SEEDS[0] + b"," + SEEDS[0] + b"]",
        "csv": b"question,answer\na,b\n",
        "parquet": parquet({"question": ["a", "b"], "answer": ["c", "d"]}),
        "jsonl.gz": gzip.compress(SEEDS[0], mtime=0),
        "jsonl.zst": zstandard.compress(SEEDS[0]),
    }.get(ending, SEEDS[2])
    chance = random.Random(ending)
    outcomes = Counter(survive(tmp_path / f"f.{ending}", mutated(chance, whole)).loaded for _ in range(300))
    assert outcomes[False] > 0


def test_what_kills_the_reader_is_noticed(tmp_path, monkeypatch):
    def killed(path, **options):
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(survival, "examine", killed)
    with pytest.raises(Died, match="^RecursionError: maximum recursion depth exceeded$"):
        survive(tmp_path / "f.jsonl", b"{}")


@pytest.mark.parametrize(
    ("content", "message"),
    [("\ud83d", "half a character at f:1"), ("  ", "an answer without text at f:1")],
)
def test_rows_that_must_not_come_out_are_noticed(tmp_path, monkeypatch, content, message):
    def through(path, *, take):
        take(data.Conversation((data.Message("assistant", content),), "f", 1))
        return data.Examination(1, "text", (), data.Findings(), survey=None)

    monkeypatch.setattr(survival, "examine", through)
    with pytest.raises(Died, match=f"^{message}$"):
        survive(tmp_path / "f.jsonl", b"{}")


def test_the_million_goes_on_where_it_stopped_and_keeps_what_kills_the_reader(tmp_path, monkeypatch):
    out, folder = tmp_path / "figures.json", tmp_path / "crashes"
    for lines in ("200", "400"):
        monkeypatch.setattr(sys, "argv", ["million", "--lines", lines, "--out", str(out), "--crashes", str(folder)])
        assert million.main() == 0
    straight = million.run(dict(million.FRESH), wanted=400, seconds=float("inf"), folder=tmp_path)
    figures = json.loads(out.read_text())
    assert {key: figures[key] for key in ("lines", "rows_taken", "errors_found")} == {
        key: straight[key] for key in ("lines", "rows_taken", "errors_found")
    }

    def killed(path, content):
        raise Died("KeyError: 'role'")

    monkeypatch.setattr(million, "survive", killed)
    monkeypatch.setattr(sys, "argv", ["million", "--lines", "500", "--out", str(out), "--crashes", str(folder)])
    assert million.main() == 1
    assert json.loads(out.read_text())["crashes"] == [{"block": 4, "message": "KeyError: 'role'"}]
    assert (folder / "crash-4.jsonl").read_bytes() == million.block(4)
