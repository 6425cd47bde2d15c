"""When a run ends, and what it took: no model needed."""

from __future__ import annotations

import dataclasses
import mmap
import re
from pathlib import Path

import pytest

from tests.train.setting import MACHINE
from unsloth_ft.known_models import KNOWN
from unsloth_ft.plan import DataFacts, Decision, Plan, resolve
from unsloth_ft.recipe import Recipe, Train
from unsloth_ft.train import memory
from unsloth_ft.train.progress import Metrics, is_exhausted


@pytest.mark.parametrize(
    ("losses", "patience", "ended"),
    [
        ([3, 2, 1], 1, False),
        ([3, 2, 2.5], 1, True),
        ([3, 2, 2.5], 2, False),
        ([3, 2, 2.5, 2.1], 2, True),
        ([3, 2, 2.0], 1, True),  # equal is not better
        ([3, 4, 1], 1, False),  # it rose in between, and came back
        ([3, 4, 5], 0, False),
        ([], 2, False),
        ([3], 1, False),
    ],
)
def test_patience_is_counted_from_the_best_evaluation(losses: list[float], patience: int, ended: bool):
    history = [{"step": 0, "eval_loss": 0.0}]  # the base's own loss is no result of training
    for step, loss in enumerate(losses, start=1):
        history += [{"step": step, "loss": 1.0}, {"step": step, "eval_loss": loss}]
    assert is_exhausted(history, patience) is ended


def test_metrics_beyond_the_checkpoint_and_torn_lines_are_taken_out(tmp_path: Path):
    file = tmp_path / "metrics.jsonl"
    whole = [f'{{"step": {step}, "loss": 1.0, "tokens": 10, "seconds": 0.5}}\n' for step in (1, 2, 3)]
    file.write_text("".join(whole) + '{"step": 4, "lo')
    metrics = Metrics(file)
    metrics.restore(2)
    assert file.read_text() == "".join(whole[:2])
    assert (metrics.total_tokens, metrics.total_seconds) == (20, 1.0)
    Metrics(file).restore(0)
    assert file.read_text() == ""


def plan(micro_batch: int, accumulation: int) -> Plan:
    train = Train(per_device_train_batch_size=micro_batch, gradient_accumulation_steps=accumulation)
    facts = KNOWN["HuggingFaceTB/SmolLM2-135M-Instruct"]
    return resolve(Recipe(model="m", train=train), DataFacts(100, 10, 300, 500, 600), facts, MACHINE, Decision("peft", "a test"))


def test_out_of_memory_names_what_to_try_next_with_its_peak_the_same_result_first():
    said = memory.out_of_memory(plan(4, 2), "CUDA out of memory. Tried 2 GiB\nmore")
    first, *tries = said.splitlines()
    assert re.fullmatch(
        r"out of memory while training \(CUDA out of memory\. Tried 2 GiB\)\. The plan expected \d\.\d GiB\. To try next:", first
    )
    flags, sizes = zip(*(re.fullmatch(r"  (.*): about (\d+\.\d) GiB", line).groups() for line in tries))
    single = "--set train.per_device_train_batch_size=1 --set train.gradient_accumulation_steps=8"
    assert flags == (
        "--set train.per_device_train_batch_size=2 --set train.gradient_accumulation_steps=4",
        single,
        f"{single} --set train.gradient_checkpointing=true",
        f"{single} --set train.gradient_checkpointing=true --set load_in_4bit=true",
        f"{single} --set train.gradient_checkpointing=true --set load_in_4bit=true --set max_seq_length=300",
    )
    assert list(sizes) == sorted(sizes, key=float, reverse=True)


def test_a_run_that_is_read_back_has_no_table_to_look_into():
    known = dataclasses.replace(plan(1, 8), fitting=None)
    assert memory.out_of_memory(known, "CUDA out of memory") == (
        "out of memory while training (CUDA out of memory). Less memory: --set max_seq_length=320."
    )


@pytest.mark.skipif(not memory.CLEAR_REFS.exists(), reason="only Linux can forget a peak")
def test_the_peak_is_that_of_training_not_of_what_came_before():
    on_cpu = dataclasses.replace(plan(2, 4), device=Decision("cpu", ""))
    before = mmap.mmap(-1, 300 * 2**20)  # not the allocator's: that keeps what is freed, and may have had it already
    for page in range(0, len(before), mmap.PAGESIZE):
        before[page] = 1
    high = memory.peak_memory_bytes(on_cpu)
    before.close()
    memory.reset_peak(on_cpu)
    assert memory.peak_memory_bytes(on_cpu) < high - 200 * 2**20
