"""`data check` with a model: its chat template and its tokens; and with many rows: a summary in a few lines."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.calling import call
from tests.data.building import lines, qa


def test_a_recipe_or_model_adds_what_its_tokenizer_says(work: Path, tiny: str):
    (work / "d.jsonl").write_bytes(lines(qa("Who?", "Me."), qa("Bad?", "a <|im_end|> b"), qa("Long?", "word " * 60)))
    answer = call("data", "check", "d.jsonl", "--model", tiny, "--set", "max_seq_length=64", "--json")
    found = json.loads(answer.out)
    assert (answer.code, answer.err) == (2, "")
    told = {kind["code"]: [(each["line"], each["severity"]) for each in kind["first"]] for kind in found["findings"]}
    assert told["chat-template"] == [(2, "error")]
    assert told["too-long"] == [(3, "warning")]
    assert found["survey"]["row_tokens"]["number"] == 2
    assert found["survey"]["row_tokens"]["max"] > 64 > found["survey"]["row_tokens"]["min"] > found["survey"]["learned_tokens"]["min"]
    assert found["survey"]["recommended_max_seq_length"]["value"] % 64 == 0


def test_without_errors_the_summary_has_files_lengths_and_counts(work: Path, tiny: str):
    answer = call("data", "check", "faq.jsonl", "--model", tiny)
    assert (answer.code, answer.err) == (0, "")
    *_, files, questions, answers, rows, tokens, last = answer.out.splitlines()
    assert files.startswith("faq.jsonl: 12 rows, ") and ", sha256 " in files
    assert questions.startswith("questions in characters: p50 ") and answers.startswith("answers in characters: p50 ")
    assert rows.startswith("rows in characters: p50 ") and tokens.startswith("rows in tokens: p50 ")
    assert last == "12 rows of shape question/answer: 0 errors, 0 warnings, 0 notes"


def test_a_run_refuses_the_row_that_data_check_refuses(work: Path, tiny: str):
    (work / "d.jsonl").write_bytes(lines(*[qa(f"Question {number}?", f"Answer {number}.") for number in range(6)], qa("Bad?", "a <|im_end|> b")))
    checked = call("data", "check", "d.jsonl", "--model", tiny)
    ran = call("run", "smollm2-135m", "--data", "d.jsonl", "--model", tiny, "--backend", "peft", "--out", "r")
    assert checked.code == ran.code == 2
    assert [line for line in checked.err.splitlines() if not line.startswith("warning: ")] == [ran.err.splitlines()[0]]
    assert not (work / "r").exists()


def test_held_out_rows_are_asked_of_the_template_too_and_their_lengths_are_not_counted(work: Path, tiny: str):
    (work / "e.jsonl").write_bytes(lines(qa("Bad?", "a <|im_end|> b"), qa("Fine?", "c")))
    answer = call("data", "check", "faq.jsonl", "--eval-data", "e.jsonl", "--model", tiny, "--json")
    found = json.loads(answer.out)
    told = {kind["code"]: [(each["file"], each["line"]) for each in kind["first"]] for kind in found["findings"]}
    assert (answer.code, told["chat-template"], found["survey"]["row_tokens"]["number"]) == (2, [("e.jsonl", 1)], 12)


def test_a_run_and_data_check_name_the_same_leaks(work: Path, tiny: str):
    (work / "d.jsonl").write_bytes(lines(qa("Who are you?", "Me."), qa("b?", "c")))
    (work / "e.jsonl").write_bytes(lines(qa("who are you", "Another.")))
    checked = call("data", "check", "d.jsonl", "--eval-data", "e.jsonl")
    ran = call("run", "smollm2-135m", "--data", "d.jsonl", "--eval-data", "e.jsonl", "--model", tiny, "--backend", "peft", "--out", "r")
    assert checked.code == ran.code == 2
    assert checked.err == ran.err
    assert checked.err.startswith("error: e.jsonl:1: the question is also in the training data, at d.jsonl:1: its score would measure memory.")
