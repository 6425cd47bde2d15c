"""Files that look wrong and are right pass without a word, and their texts arrive exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import call
from tests.data.near_misses import NEAR_MISSES
from tests.data.test_good_files import GOOD_FILES
from unsloth_ft.data import examine

# Good files of the other table that something is rightly said about
SAID = {
    "brackets in an array's text",
    "code with braces",
    "empty system message",
    "a user who says None",
    "ShareGPT",
    "ShareGPT with a system key",
}


@pytest.mark.parametrize(("file", "content", "expected"), [case[1:] for case in NEAR_MISSES], ids=[case[0] for case in NEAR_MISSES])
def test_near_miss_passes_without_a_word(tmp_path, monkeypatch, file, content, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_bytes(content)
    taken = []
    examination = examine(file, take=taken.append)
    assert examination.findings.lines == []
    assert [tuple(message.content for message in row.messages) for row in taken] == expected
    Path("held_out.jsonl").write_bytes(b'{"question": "Another one?", "answer": "Yes."}\n')  # without it one question is remarked upon
    answer = call("data", "check", file, "--eval-data", "held_out.jsonl")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-1].endswith(": 0 errors, 0 warnings, 0 notes")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([file, "held_out.jsonl"])


@pytest.mark.parametrize(
    ("file", "content"),
    [case[1:3] for case in GOOD_FILES if case[0] not in SAID],
    ids=[case[0] for case in GOOD_FILES if case[0] not in SAID],
)
def test_good_file_passes_without_a_word(tmp_path, monkeypatch, file, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_bytes(content)
    assert examine(file).findings.lines == []


def test_table_of_near_misses_has_distinct_names():
    names = [case[0] for case in NEAR_MISSES]
    assert len(names) == len(set(names)) >= 80
