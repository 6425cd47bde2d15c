"""`run` refuses and accepts the same files as `data check`, with the same words: both examine them in the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import call, snapshot, start
from tests.data.errors_page import SECTIONS
from tests.data.near_misses import NEAR_MISSES
from tests.data.test_good_files import GOOD_FILES
from unsloth_ft import prepare
from unsloth_ft.errors import UserError

BAD = [case for _, cases in SECTIONS for case in cases]
# A model that isn't there is looked for once the data are read: a run that gets so far has taken the file, and loads no weight.
NOWHERE = "./nowhere: no such folder; expected a hub id (owner/name), or a folder with config.json and safetensors."


def said_by_run(file: str, *eval_data: str) -> str:
    """What a run says of the file, or that it looks for its model."""
    asked = prepare.request("smollm2-135m", data=(file,), eval_data=eval_data, model="./nowhere", backend="peft")
    with pytest.raises(UserError) as refused:
        prepare.prepare(asked, activate=False)
    return str(refused.value)


def without_remarks(err: str) -> str:
    """Standard error but for the warnings before the errors."""
    return err[max(err.find("error: "), 0) :]


@pytest.mark.parametrize("section", range(len(SECTIONS)), ids=[title for title, _ in SECTIONS])
def test_run_and_check_refuse_every_bad_file_with_the_same_words(work: Path, section: int):
    for name, file, content, message in SECTIONS[section][1]:
        (work / file).write_bytes(content)
        before = snapshot(work)
        checked = call("data", "check", file)
        assert (name, checked.code, without_remarks(checked.err)) == (name, 2, f"error: {message}\n")
        assert all(line.startswith("note: ") for line in checked.out.splitlines())
        assert (name, said_by_run(file)) == (name, message)
        assert (name, said_by_run(file, "eval.jsonl")) == (name, message)
        assert snapshot(work) == before
        (work / file).unlink()


def test_run_and_check_accept_every_good_file(work: Path):
    for name, file, content, _ in [*GOOD_FILES, *NEAR_MISSES]:
        (work / file).write_bytes(content)
        before = snapshot(work)
        checked = call("data", "check", file)
        assert (name, checked.code) == (name, 0)
        warnings = [line.removeprefix("warning: ") for line in checked.err.splitlines()]
        one_question = next((line for line in warnings if "a held-out split needs at least 2 rows" in line), None)
        assert (name, said_by_run(file)) == (name, one_question or NOWHERE)
        assert (name, said_by_run(file, "eval.jsonl")) == (name, NOWHERE)
        assert "a held-out split needs" not in call("data", "check", file, "--eval-data", "eval.jsonl").err
        assert snapshot(work) == before
        (work / file).unlink()


@pytest.mark.parametrize("name", ["UTF-16", "gzip cut in its header", "parquet damaged", "number in hexadecimal"])
def test_the_whole_program_says_it_in_both_commands(work: Path, name: str):
    _, file, content, message = next(case for case in BAD if case[0] == name)
    (work / file).write_bytes(content)
    before = snapshot(work)
    checked = call("data", "check", file)
    ran = call("run", "smollm2-135m", "--data", file, "--model", "./nowhere", "--backend", "peft", "--out", "runs/x")
    assert checked == ran
    assert (ran.code, ran.out, ran.err) == (2, "", f"error: {message}\n")
    assert snapshot(work) == before


def test_a_process_of_its_own_says_it_in_both_commands(work: Path):
    _, file, content, message = next(case for case in BAD if case[0] == "100,000 nested objects")
    (work / file).write_bytes(content)
    before = snapshot(work)
    for arguments in (("data", "check", file), ("run", "smollm2-135m", "--data", file, "--offline", "--out", "runs/x")):
        answer = start(*arguments, cwd=work)
        assert (answer.code, answer.out, answer.err) == (2, "", f"error: {message}\n")
    assert snapshot(work) == before
