"""The loader survives anything: mutated files give conversations or a UserError, nothing else."""

from __future__ import annotations

import io
import json
import random
from collections import Counter

import pytest

from tests.data.building import chat, lines, qa
from unsloth_ft.data import Finding, load, raise_errors
from unsloth_ft.data.jsonarray import json_array
from unsloth_ft.data.jsonfiles import json_lines
from unsloth_ft.data.rows import Row, rows
from unsloth_ft.data.tables import csv_rows
from unsloth_ft.errors import UserError

SEEDS = [
    lines(qa("What is é 😀?", 'a "quoted" \\ [1, {2}]')),
    lines({"instruction": "Add.", "input": None, "output": "4", "id": 12.5e3}),
    chat(("system", "s"), ("user", "a"), ("assistant", "b"), ("tool", "c"), ("assistant", "d")),
    lines({"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]}),
    lines({"text": "<s>x</s>", "tags": [[], {}, [[["x"]]], True, False, None]}),
    chat(("user", [{"type": "text", "text": "a"}]), ("assistant", "b")),
]
PIECES = [
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\\",
    b'"',
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\r",
    b"NaN",
]
PIECES += [
    b"null",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b"[" * 100,
    b'{"a":' * 1500,
    b'"role"',
    b'"content"',
    b"None",
    b'""',
    b" ",
    b"\t",
    b";",
]


def mutated(chance: random.Random, text: bytes) -> bytes:
    """`text` after one to three edits: a byte changed, a part cut or doubled, a piece put in."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((1, 1, 2, 5, 20)))
        kind = chance.choice(("changed", "changed", "cut", "doubled", "put"))
        if kind == "changed":
            text = text[:start] + bytes([chance.choice((chance.randrange(97, 123), chance.randrange(256)))]) + text[start + 1 :]
        elif kind == "cut":
            text = text[:start] + text[end:]
        elif kind == "doubled":
            text = text[:end] + text[start:]
        else:
            text = text[:start] + chance.choice(PIECES) + text[start:]
    return text


def outcome(items) -> str:
    """'loaded' or 'refused'; any other exception fails the test."""
    found = list(rows("f", items, columns={}, roles={}))
    for item in found:
        if isinstance(item, Row):
            assert all(message.content.strip() for message in item.conversation.messages)
            json.dumps([message.content for message in item.conversation.messages], ensure_ascii=False).encode("utf-8")
    try:
        raise_errors(item for item in found if isinstance(item, Finding))
    except UserError as refused:
        message = str(refused)
        assert all(line.isprintable() for line in message.splitlines()), message
        assert "Traceback" not in message and "Error(" not in message and "<class" not in message
        return "refused"
    return "loaded"


def test_20000_mutated_lines_load_or_are_refused():
    chance = random.Random(20261123)
    outcomes = Counter(outcome(json_lines("f", io.BytesIO(mutated(chance, chance.choice(SEEDS))))) for _ in range(20_000))
    assert outcomes.total() == 20_000
    assert min(outcomes["loaded"], outcomes["refused"]) > 1_000


def test_4000_mutated_arrays_load_or_are_refused():
    chance = random.Random(11)
    bodies = (b",".join([chance.choice(SEEDS)] * 2) for _ in range(4_000))
    outcomes = Counter(outcome(json_array("f", io.BytesIO(b"[" + mutated(chance, body + b"]")))) for body in bodies)
    assert outcomes.total() == 4_000
    assert min(outcomes["loaded"], outcomes["refused"]) > 200


def test_4000_mutated_tables_load_or_are_refused():
    chance = random.Random(12)
    table = b'question,answer,id\n"a, ""b""",c,1\nd,"e\nf",2\n'
    outcomes = Counter(outcome(csv_rows("f", io.BytesIO(mutated(chance, table)))) for _ in range(4_000))
    assert outcomes.total() == 4_000
    assert min(outcomes["loaded"], outcomes["refused"]) > 200


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet", "jsonl.gz", "jsonl.zst", "txt"])
def test_300_mutated_files_of_each_format_load_or_are_refused(tmp_path, ending):
    import gzip

    import pyarrow
    import pyarrow.parquet
    import zstandard

    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"question": ["a", "b"], "answer": ["c", "d"]}), sink)
    whole = {
        "json": b"[" + SEEDS[0] + b"," + SEEDS[0] + b"]",
        "csv": b"question,answer\na,b\n",
        "parquet": sink.getvalue(),
        "jsonl.gz": gzip.compress(SEEDS[0], mtime=0),
        "jsonl.zst": zstandard.compress(SEEDS[0]),
    }.get(ending, SEEDS[2])
    chance = random.Random(ending)
    path = tmp_path / f"f.{ending}"
    loaded = 0
    for _ in range(300):
        path.write_bytes(mutated(chance, whole))
        try:
            load(path)
            loaded += 1
        except UserError as refused:
            assert all(line.isprintable() for line in str(refused).splitlines())
    assert 0 <= loaded < 300
