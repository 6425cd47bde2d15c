"""What is found doesn't depend on where a file is cut into parts, nor on which process reads them."""

from __future__ import annotations

import random

from tests.data.errors_page import SECTIONS
from tests.data.near_misses import NEAR_MISSES
from tests.fuzz.million import block
from unsloth_ft.data import Conversation, chunks, examine

CASES = [case for _, cases in SECTIONS for case in cases] + NEAR_MISSES


def seen(path: str) -> tuple[list[str], list[Conversation]]:
    """Everything found, and every row taken."""
    taken: list[Conversation] = []
    return examine(path, take=taken.append).findings.lines, taken


def test_every_fixture_says_the_same_in_parts_of_a_few_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [case[:3] for case in CASES if len(case[2]) < 2_000 and case[1].endswith(".jsonl")]
    assert len(small) > 300
    for name, file, content in small:
        (tmp_path / file).write_bytes(content)
        whole = seen(file)
        with monkeypatch.context() as cut:
            cut.setattr(chunks, "CHUNK_BYTES", 13)
            cut.setattr(chunks, "LONGEST_CHUNK_BYTES", 104)
            assert (name, *seen(file)) == (name, *whole)


def test_mutated_files_say_the_same_in_parts_of_any_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(20261126)
    for number in range(20):
        (tmp_path / "f.jsonl").write_bytes(block(number))
        whole = seen("f.jsonl")
        with monkeypatch.context() as cut:
            size = chance.choice((20, 100, 500, 3_000))
            cut.setattr(chunks, "CHUNK_BYTES", size)
            cut.setattr(chunks, "LONGEST_CHUNK_BYTES", size * chance.choice((1, 8)))
            assert (number, *seen("f.jsonl")) == (number, *whole)
