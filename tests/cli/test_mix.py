"""--mix, from the command line to the record: said in the plan, part of the run's identity, and the same after a resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.calling import QUICK, call, rows
from unsloth_ft.data import conversations_sha256, load


@pytest.fixture
def general(work: Path) -> Path:
    """Another folder's file of general rows."""
    path = work.parent / "elsewhere" / "general.jsonl"
    path.parent.mkdir()
    path.write_text(rows(20, first=500), encoding="utf-8")
    return path


def test_the_plan_says_what_is_mixed_in_and_why(work: Path, general: Path, tiny: str):
    shutil.copy(general, work)
    words = ("plan", "smollm2-135m", "--data", "faq.jsonl", "--model", tiny, "--backend", "peft", "--mix", "general.jsonl:0.25")
    answer = call(*words)
    assert (answer.code, answer.err) == (0, "")
    told = " ".join(answer.out.split())
    assert (
        "mixed in: 4 of the 20 rows of general.jsonl (0.25 of the 15 training rows, drawn by seed 3407), so that general skills are "
        "rehearsed and not forgotten" in told
    )
    assert "held out: 1 row (10% of the rows, split by question with seed 3407)" in told
    data = json.loads(call(*words, "--json").out)["data"]
    (mixed,) = data["mixed"]
    assert (mixed["name"], mixed["share"], mixed["rows"], mixed["taken"], data["train_rows"]) == ("general.jsonl", 0.25, 20, 4, 15)
    assert mixed["sha256"] == load([general]).files[0].sha256
    assert [file["name"] for file in data["files"]] == ["faq.jsonl"]
    by_setting = [*words[:-2], "--set", "data.mix=general.jsonl:0.25", "--json"]
    assert json.loads(call(*by_setting).out)["data"] == data


def test_a_run_with_a_mix_goes_on_from_another_folder_and_another_mix_is_another_run(
    work: Path, general: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
):
    run = ("run", "smollm2-135m", "--data", "faq.jsonl", "--model", tiny, *QUICK)
    mix = ("--set", "data.mix=../elsewhere/general.jsonl:0.25", "--out", "a")
    first = call(*run, *mix, "--json")
    assert (first.code, json.loads(first.out)["status"]) == (0, "done")
    known = json.loads((work / "a" / "run.json").read_text())
    drawn = json.loads(first.out)["data"]["mixed"][0]["taken_sha256"]
    assert known["identity"]["mixed"] == [{"rows": 4, "sha256": drawn, "share": 0.25}]
    assert drawn != conversations_sha256(load([general]).conversations)
    says = f"4 training rows of the 20 in general.jsonl (share 0.25, sha256 {known['data']['mixed'][0]['sha256'][:12]}) rehearse general skills."
    assert says in (work / "a" / "report.html").read_text(encoding="utf-8")
    assert "4 training rows of the 20 in general.jsonl" in (work / "a" / "adapter" / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(work.parent)
    again = call("resume", str(work / "a"), "--json")
    assert (again.code, json.loads(again.out)["identity"]) == (0, known["identity"])
    monkeypatch.chdir(work)
    other = call(*run, "--mix", f"{general}:0.3", "--out", "a")
    assert (other.code, "a holds another run" in other.err, "mixed" in other.err) == (2, True, True)
    alone = call(*run, "--out", "b", "--json")
    assert "mixed" not in json.loads(alone.out)["identity"]
    assert str(general.parent) not in (work / "a" / "run.json").read_text()
