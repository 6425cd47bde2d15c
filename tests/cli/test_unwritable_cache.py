"""A cache that can't be written costs what it would have saved, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calling import QUICK, call
from unsloth_ft import token_store

SAYS = (
    "warning: what was measured here is not kept for later plans: $UNSLOTH_FT_CACHE or ~/.cache/unsloth-ft can't be written (File exists). Set "
    "UNSLOTH_FT_CACHE to a folder that can be."
)


@pytest.fixture(autouse=True)
def unwritable(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work.parent / "no folder").write_text("", encoding="utf-8")
    monkeypatch.setenv("UNSLOTH_FT_CACHE", str(work.parent / "no folder"))
    monkeypatch.setenv("UNSLOTH_FT_REMEMBER", "1")


def test_a_whole_run_ends_well_and_says_it(work: Path, tiny: str):
    answer = call("run", "smollm2-135m", "--data", "faq.jsonl", "--model", tiny, *QUICK, "--out", "a", "--json")
    assert (answer.code, json.loads(answer.out)["status"]) == (0, "done")
    assert SAYS in " ".join(answer.err.split())
    assert (work / "a" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_probe_ends_well_and_says_it_once(tiny: str):
    answer = call("plan", "smollm2-135m", "--data", "faq.jsonl", "--model", tiny, "--backend", "peft", "--probe", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["warnings"].count(SAYS.removeprefix("warning: ")) == 1


def test_a_look_at_every_row_says_why_they_are_not_kept(tiny: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_store, "KEPT_FROM", 0)
    answer = call("data", "preview", "faq.jsonl", "--recipe", "smollm2-135m", "--model", tiny, "--statistics")
    says = SAYS.replace("what was measured here is not kept for later plans", "tokenized rows are not kept for the next time")
    assert (answer.code, answer.err) == (0, says.replace("File exists", "Not a directory") + "\n")
