"""The probe: the run's own largest batches through real steps, in a process of its own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.cli.calling import QUICK, call, rows
from tests.train.setting import MACHINE
from unsloth_ft.chat import Row
from unsloth_ft.errors import MachineError
from unsloth_ft.known_models import KNOWN
from unsloth_ft.memory_values import ANSWERS, EVALUATION, TRAINING
from unsloth_ft.plan import DataFacts, Decision, Plan, resolve
from unsloth_ft.probe import STEP, Probe, longest, measure, refuse_out_of_memory
from unsloth_ft.recipe import Recipe

SMALL = KNOWN["HuggingFaceTB/SmolLM2-135M-Instruct"]


def plan() -> Plan:
    return resolve(Recipe(model="m"), DataFacts(100, 10, 100, 200, 300), SMALL, MACHINE, Decision("peft", "a test"))


def row(tokens: int) -> Row:
    ids = tuple(range(tokens))
    return Row(ids, ids, f"a row of {tokens}", (tokens,))


def test_a_plan_with_a_probe_measures_every_phase_and_remembers_the_rate(family_dir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNSLOTH_FT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNSLOTH_FT_REMEMBER", "1")
    (tmp_path / "faq.jsonl").write_text(rows(12), encoding="utf-8")
    answer = call("plan", "smollm2-135m", "--data", "faq.jsonl", "--model", str(family_dir("smollm2")), "--probe", "--json", *QUICK)
    assert (answer.code, answer.err) == (0, "")
    probed = json.loads(answer.out)["probe"]
    assert set(probed["peaks"]) == {"load", TRAINING, EVALUATION, ANSWERS}
    assert min(probed["peaks"].values()) > 100 * 2**20  # torch alone
    assert (probed["out_of_memory"], probed["seconds"][STEP] > 0) == ("", True)
    (rate,) = json.loads((tmp_path / "cache" / "rates.json").read_text()).values()
    assert rate > 0
    ((kept,),) = json.loads((tmp_path / "cache" / "peaks.json").read_text())["peaks"].values()
    assert (kept["source"], kept["peaks"], kept["work"]["backend"]) == ("probe", probed["peaks"], "peft")
    assert not (tmp_path / "runs").exists()


def test_the_longest_rows_are_tried_and_again_where_there_are_too_few():
    found = longest([row(3), row(9), row(5)], 2)
    assert [len(ids) for ids, _ in found] == [9, 5]
    assert [len(ids) for ids, _ in longest([row(3), row(9)], 5)] == [9, 3, 9, 3, 9]
    assert longest([], 3) == []


def test_a_probe_that_ran_out_of_memory_says_what_to_try_next():
    failed = Probe({"load": 2**30}, {"load": 1.0}, out_of_memory=TRAINING, message="CUDA out of memory")
    with pytest.raises(MachineError, match=r"^out of memory in the probe \(training step: CUDA out of memory\)\. The plan expected \d"):
        refuse_out_of_memory(plan(), failed)
    refuse_out_of_memory(plan(), dataclasses.replace(failed, out_of_memory=""))


def test_a_probe_that_dies_of_something_else_tells_its_last_words():
    with pytest.raises(MachineError, match=r"(?s)^the probe died \(exit code 1\) before its first answer:\n.*KeyError: 'recipe'$"):
        measure({})
