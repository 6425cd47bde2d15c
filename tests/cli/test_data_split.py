"""data split: both files whole, rows as they were, the hashes that a run records, and no question on both sides."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.cli.calling import call, rows, sha256, snapshot
from unsloth_ft.data import Split, load, normalise, split, split_files


def test_every_row_is_in_one_of_the_files_with_the_bytes_it_had(work: Path):
    given = [
        b'{"question": "A?",  "answer": "1", "id": 7}\r\n', b"\n", b'{"answer": "2", "question": "\\u0042?"}\n',
        b'{"question": "a ?", "answer": "3"}\n', '{"question": "Ç?", "answer": "4"}'.encode(),
    ]  # fmt: skip
    (work / "d.jsonl").write_bytes(b"\xef\xbb\xbf" + b"".join(given))
    answer = call("data", "split", "d.jsonl", "--out", "parts", "--rows", "1", "--seed", "1")
    assert (answer.code, answer.err) == (0, "")
    train, held_out = work / "parts" / "train.jsonl", work / "parts" / "held_out.jsonl"
    assert train.read_bytes() == given[0] + given[3] + given[4] + b"\n"
    assert held_out.read_bytes() == given[2]
    assert answer.out == (
        f"parts/train.jsonl: 3 rows, sha256 {sha256(train)}, as conversations {load([train]).sha256}\n"
        f"parts/held_out.jsonl: 1 row, sha256 {sha256(held_out)}, as conversations {load([held_out]).sha256}\n"
        "train on it: unsloth-ft run RECIPE --data parts/train.jsonl --eval-data parts/held_out.jsonl\n"
    )


def test_a_run_on_both_files_has_no_leak_and_records_the_hashes_that_were_said(work: Path, tiny: str):
    again = "".join(json.dumps({"question": f"WHEN does the office in Oslo open on day {day} ?", "answer": "?"}) + "\n" for day in (0, 1))
    (work / "more.jsonl").write_text(rows(40) + again, encoding="utf-8")
    said = json.loads(call("data", "split", "more.jsonl", "--out", "parts", "--share", "0.3", "--json").out)
    files = ("--data", said["train"]["path"], "--eval-data", said["held_out"]["path"])
    planned = call("plan", "smollm2-135m", *files, "--model", tiny, "--backend", "peft", "--json")
    assert (planned.code, planned.err) == (0, "")
    recorded = json.loads(planned.out)["data"]
    assert recorded["files"][0]["sha256"] == said["train"]["sha256"]
    assert [(file["name"], file["sha256"]) for file in recorded["held_out_files"]] == [("held_out.jsonl", said["held_out"]["sha256"])]
    assert [recorded["train_sha256"], recorded["held_out_sha256"]] == [said[side]["conversations_sha256"] for side in ("train", "held_out")]
    sides = [{normalise(row.question) for row in load([said[side]["path"]]).conversations} for side in ("train", "held_out")]
    assert (sides[0] & sides[1], said["held_out"]["rows"]) == (set(), 13)
    assert sum(said[side]["rows"] for side in ("train", "held_out")) == 42


def test_files_of_other_formats_get_one_line_a_row(work: Path):
    (work / "d.csv").write_text("question,answer\nA?,1\nB?,2\n", encoding="utf-8")
    (work / "e.jsonl.gz").write_bytes(gzip.compress(b'{"messages": [{"role": "human", "content": "C?"}, {"role": "gpt", "content": "3"}]}\n'))
    answer = call("data", "split", "d.csv", "e.jsonl.gz", "--out", "parts", "--rows", "1", "--seed", "3")
    assert answer.code == 0
    assert answer.err == "note: not all files are JSON Lines of one shape: each row was written as a line of JSON with its messages\n"
    both = b"".join(sorted(path.read_bytes() for path in (work / "parts").iterdir())).splitlines()
    assert sorted(json.loads(line)["messages"][0]["content"] for line in both) == ["A?", "B?", "C?"]
    assert {message["role"] for line in both for message in json.loads(line)["messages"]} == {"user", "assistant"}


def test_files_of_one_shape_and_two_formats_become_files_of_one_shape(work: Path):
    (work / "d.csv").write_text("q,answer\nA?,1\nB?,2\n", encoding="utf-8")
    (work / "e.jsonl").write_text('{"q": "C?", "answer": "3"}\n', encoding="utf-8")
    mapping = ("--set", "data.columns.question=q")
    answer = call("data", "split", "d.csv", "e.jsonl", "--out", "parts", "--rows", "1", *mapping)
    assert answer.out.splitlines()[-1] == "train on it: unsloth-ft run RECIPE --data parts/train.jsonl --eval-data parts/held_out.jsonl"
    assert sum(len(load([path]).conversations) for path in (work / "parts").iterdir()) == 3
    answer = call("data", "split", "e.jsonl", "e.jsonl", "--out", "again", *mapping)
    assert (answer.code, "given twice" in answer.err) == (2, True)


def test_rows_that_keep_their_names_are_trained_on_with_the_same_mapping(work: Path):
    (work / "e.jsonl").write_text("".join(f'{{"q": "{name}?", "answer": "3"}}\n' for name in "ABC"), encoding="utf-8")
    answer = call("data", "split", "e.jsonl", "--out", "parts", "--rows", "1", "--set", "data.columns.question=q")
    assert answer.out.splitlines()[-1].endswith(" --eval-data parts/held_out.jsonl --set data.columns.question=q")


def test_the_seed_decides_and_the_same_seed_decides_the_same(work: Path):
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert call("data", "split", "faq.jsonl", "--out", folder, "--share", "0.25", "--seed", seed).code == 0
    assert sha256(work / "a" / "held_out.jsonl") == sha256(work / "b" / "held_out.jsonl") != sha256(work / "c" / "held_out.jsonl")


@pytest.mark.parametrize("change", ["a row less", "another row", "gone"])
def test_a_file_that_changes_between_two_readings_is_split_by_neither(work: Path, monkeypatch: pytest.MonkeyPatch, change: str):
    def split_then_change(*arguments: object, **options: object) -> Split:
        content = (work / "faq.jsonl").read_text(encoding="utf-8")
        (work / "faq.jsonl").unlink()
        if change != "gone":
            lines = content.splitlines(keepends=True)
            changed = [*lines[:-1], *([lines[-1].replace("Riga", "Rome")] if change == "another row" else [])]
            (work / "faq.jsonl").write_text("".join(changed), encoding="utf-8")
        return split(*arguments, **options)

    monkeypatch.setattr(split_files, "split", split_then_change)
    answer = call("data", "split", "faq.jsonl", "--out", "parts")
    says = "error: faq.jsonl: the file changed while it was read. Start again when nothing writes to it.\n"
    assert (answer.code, answer.out, answer.err, (work / "parts").exists()) == (2, "", says, False)


def test_a_full_disk_leaves_no_file_and_no_folder(work: Path, full_disk: None):
    before = snapshot(work)
    answer = call("data", "split", "faq.jsonl", "--out", "parts")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err == "error: parts/train.jsonl: could not be written: No space left on device. Nothing of it is left.\n"
    assert snapshot(work) == before


def test_the_share_is_the_recipes_unless_another_is_named(work: Path):
    (work / "more.jsonl").write_text(rows(40), encoding="utf-8")
    held = [
        json.loads(call("data", "split", "more.jsonl", "--out", name, "--json", *words).out)["held_out"]["rows"]
        for name, words in (("a", ()), ("b", ("--set", "data.held_out=0.5")), ("c", ("--set", "data.held_out=0.5", "--share", "0.25")))
    ]
    assert held == [4, 20, 10]
