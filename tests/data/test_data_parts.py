"""What is found doesn't depend on where a file is cut into parts, nor on which process reads them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import pytest

from tests.data.errors_page import SECTIONS
from tests.data.near_misses import NEAR_MISSES
from tests.fuzz.million import block
from unsloth_ft.data import Conversation, chunks, examine
from unsloth_ft.data.once import MOST_KINDS, SaidOnce
from unsloth_ft.data.sources import Source, records_at

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


def test_a_file_that_was_cut_before_the_second_reading_ends():
    read = chunks.rest(chunks.Chunk(3, 10**6, None, last=True))
    assert list(read("f.jsonl", io.BufferedReader(io.BytesIO(b'{"question": "a", "answer": "b"}\n')))) == []


def unknown_shapes(rows: int, first: int = 1) -> SaidOnce:
    once = SaidOnce("f.jsonl")
    for line in range(first, first + rows):
        once.unknown_shape((f"k{line}",), line, "no known shape.")
    return once


def in_one(first: SaidOnce) -> SaidOnce:
    for line in range(901, 1501):
        first.unknown_shape((f"k{line}",), line, "no known shape.")
    return first


def in_two_parts(first: SaidOnce) -> SaidOnce:
    first.merge(unknown_shapes(600, first=901))
    return first


@pytest.mark.parametrize("whole", [in_one, in_two_parts])
def test_rows_of_more_kinds_than_are_told_apart_are_counted(whole: Callable[[SaidOnce], SaidOnce]):
    found = [str(finding) for finding in whole(unknown_shapes(900)).findings()]
    assert found[:2] == ["f.jsonl:1: no known shape.", "f.jsonl:2: no known shape."]
    assert found[MOST_KINDS:] == [
        "f.jsonl:1001: from here on 500 more rows of no known shape, whose keys are none of 1,000 other kinds'."
    ]


def test_what_stands_behind_the_last_row_asked_for_is_not_read(tmp_path):
    (tmp_path / "f.csv").write_bytes(b"question,answer\n" + b"a,b\n" * 1000)
    read: list[int] = []

    class Watched(Source):
        def records(self, **more):
            for record in super().records(**more):
                read.append(record.line)
                yield record

    assert [record.line for record in records_at(Watched(str(tmp_path / "f.csv"), offline=True), {2, 3})] == [2, 3]
    assert read == [1, 2, 3]
