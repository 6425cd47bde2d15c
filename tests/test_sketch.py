"""A plan without data: no torch, no download, and said what was assumed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.calling import ROOT, call

PLANNED = "plan llama31-8b --gpu 24GB --offline --json"


def test_a_plan_for_a_card_imports_no_heavy_library_and_opens_no_socket():
    code = f"""
import socket, sys
def opened(*_): raise AssertionError("a socket was opened")
socket.getaddrinfo = socket.socket.connect = opened
sys.argv = ["unsloth-ft", *"{PLANNED}".split()]
from unsloth_ft.cli import main
main()
found = {{"torch", "transformers", "trl", "peft", "unsloth", "datasets", "huggingface_hub", "numpy"}} & set(sys.modules)
print(sorted(found), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    told = json.loads(done.stdout)
    assert list(told) == ["plan", "memory", "assumed", "sizes_from", "warnings"]
    assert told["plan"]["device"]["reason"] == "a card of 24 GiB (24 GiB, SM 8.0)"


def test_what_is_assumed_and_where_the_sizes_are_from_is_said():
    told = json.loads(call(*PLANNED.split()).out)
    assert told["assumed"] == "no --data: 1,000 rows of 2,048 tokens are assumed; --set max_seq_length=… says another length"
    assert told["sizes_from"] == (
        "meta-llama/Llama-3.1-8B-Instruct: sizes as this package knows them, not read from its config.json; nothing was downloaded"
    )
    assert told["plan"]["max_steps"] == {"value": 375, "reason": "3 epochs of 125 steps"}
    other = json.loads(call(*PLANNED.split(), "--set", "max_seq_length=512").out)
    assert other["memory"]["micro_batch"]["longest"] == 512


def test_a_models_own_folder_is_read(family_dir: Callable[[str], Path]):
    tiny = str(family_dir("smollm2"))
    told = json.loads(call("plan", "smollm2-135m", "--model", tiny, "--json").out)
    assert told["sizes_from"] == f"{Path(tiny).name}: sizes from its config.json (a folder)"


def test_the_text_has_the_table_bars_what_fits_and_the_time():
    out = call("plan", "llama31-8b", "--gpu", "rtx4090").out
    for words in (
        "memory at the peak of each phase, GiB", "quantization state", "  training step ", " of 22.8 GiB (", "estimate ± 15%, measured on ",
        "what fits into 22.8 GiB of NVIDIA GeForce RTX 4090, 24 GiB", "the plan", "time: about ", "host memory: about ",
    ):  # fmt: skip
        assert words in out, words


@pytest.mark.parametrize(("words", "code", "said"), [
    ("plan llama31-8b --gpu t5", 2, '--gpu "t5": no card of that name is known here. Did you mean t4? A size like 24GB is taken too.'),
    ("plan llama31-8b --gpu 0GB", 2, 'memory "0GB"; expected a size like 24GB (GiB are meant, as cards are sold) or 24564MiB.'),
    ("plan llama31-8b --probe", 2, "--probe wants --data; it trains on the longest rows."),
    ("plan llama31-8b --probe --gpu t4 --data x", 2, "--probe wants no --gpu; it measures this machine."),
    ("plan llama31-8b --export merged", 2,
     "--export, --eval-data and --mix want --data: what they are checked against is the data's own model and rows."),
])  # fmt: skip
def test_what_can_not_be_planned_is_refused(words: str, code: int, said: str):
    answer = call(*words.split())
    assert (answer.code, answer.out, answer.err) == (code, "", f"error: {said}\n")


def test_a_card_that_is_too_small_ends_with_3_and_names_what_would_fit():
    answer = call("plan", "llama31-8b", "--gpu", "4GB")
    assert (answer.code, answer.out) == (3, "")
    assert "What would fit: " in answer.err and "a card of " in answer.err
