"""data fix as a user sees it: what it says, what it writes, and what stays untouched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.calling import call, sha256, snapshot


def test_every_change_is_told_kind_by_kind_and_listed_in_a_file(work: Path):
    (work / "d.jsonl").write_bytes(
        b'{"question": "A?", "answer": "1"},\n' * 13 + b'{"question": "B?", "answer": ""}\n{"question": "C?", "answer": " 2"}\n'
    )
    answer = call("data", "fix", "d.jsonl", "--out", "new.jsonl", "--changes", "changes.jsonl", "--drop")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "trailing-comma (13)",
        *(f"  d.jsonl:{line}: a trailing comma was removed." for line in range(1, 11)),
        "  and 3 more of this kind, 13 in all",
        "duplicate (12)",
        *(f"  d.jsonl:{line}: the same row as d.jsonl:1 was removed." for line in range(2, 12)),
        "  and 2 more of this kind, 12 in all",
        "white-space (1)",
        '  d.jsonl:15: white space around "answer" was removed.',
        "dropped: empty-content (1)",
        '  d.jsonl:14: "answer" is empty; expected text. Fill it in, or remove the row.',
        f"new.jsonl: 2 rows, 26 changes, 1 row dropped; it passes data check; sha256 {sha256(work / 'new.jsonl')}",
        "every change: changes.jsonl",
    ]
    listed = [json.loads(line) for line in (work / "changes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(each["did"], each["line"], each["kind"]) for each in listed[-2:]] == [
        ("dropped", 14, "empty-content"), ("changed", 15, "white-space"),
    ]  # fmt: skip
    assert len(listed) == 27
    checked = call("data", "check", "new.jsonl", "--json")
    assert (checked.code, json.loads(checked.out)["rows"]) == (0, 2)


def test_a_clean_file_is_copied_and_said_to_be_clean(work: Path):
    answer = call("data", "fix", "faq.jsonl", "--out", "new.jsonl")
    content = (work / "faq.jsonl").read_bytes()
    assert (answer.code, answer.err, (work / "new.jsonl").read_bytes()) == (0, "", content)
    assert answer.out == f"new.jsonl: 12 rows, nothing to repair; it passes data check; sha256 {sha256(work / 'faq.jsonl')}\n"


def test_the_answer_as_json_has_changes_dropped_rows_and_remarks(work: Path):
    (work / "d.jsonl").write_bytes(b'\xef\xbb\xbf{"question": "A?", "answer": "1"}\n{"question": "a", "answer": "2"}\n3\n')
    answer = call("data", "fix", "d.jsonl", "--out", "new.jsonl", "--drop", "--json")
    found = json.loads(answer.out)
    assert (answer.code, answer.err, found["rows"], found["path"]) == (0, "", 2, "new.jsonl")
    assert [(kind["code"], kind["count"]) for kind in found["changes"]] == [("byte-order-mark", 1)]
    assert [kind["code"] for kind in found["dropped"]] == ["not-an-object"]
    assert [(kind["code"], kind["first"][0]["file"]) for kind in found["remarks"]] == [("contradiction", "new.jsonl")]


@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["link", "hard link"])
def test_a_link_to_an_input_is_that_input(work: Path, make):
    make(work / "faq.jsonl", work / "other.jsonl")
    before = snapshot(work)
    answer = call("data", "fix", "faq.jsonl", "--out", "other.jsonl")
    says = "error: --out other.jsonl: this is an input (as faq.jsonl), which is never written over. Name a new file.\n"
    assert (answer.code, answer.out, answer.err, snapshot(work)) == (2, "", says, before)


def test_a_full_disk_leaves_nothing(work: Path, full_disk: None):
    before = snapshot(work)
    answer = call("data", "fix", "faq.jsonl", "--out", "new.jsonl", "--changes", "changes.jsonl")
    says = "error: new.jsonl: could not be written: No space left on device. Nothing of it is left.\n"
    assert (answer.code, answer.out, answer.err, snapshot(work)) == (3, "", says, before)
