"""A run's peaks, measured before it begins: its largest batches through real steps, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsloth_ft.chat import IGNORE, Row
from unsloth_ft.errors import MachineError
from unsloth_ft.flops import model_flops
from unsloth_ft.memory_values import Batch, Work
from unsloth_ft.plan import Plan
from unsloth_ft.token_rows import lengths_of
from unsloth_ft.train.memory import out_of_memory

if TYPE_CHECKING:
    from unsloth_ft.prepare import Prepared

STEPS = 2  # in the second the first one's optimizer state is there already
STEP = "step"  # the last of them, by itself
LAST_WORDS = 5  # lines of a process that died
KILLED = (-9, 137)  # by the system's out-of-memory killer, as a shell or Python says it


@dataclass(frozen=True)
class Probe:
    """What was measured. `out_of_memory`: the phase in which it was, or nothing."""

    peaks: dict[str, int]
    """Phase -> bytes, under the names of the memory table. On a card, tensors alone: without its context and fragments."""
    seconds: dict[str, float]
    out_of_memory: str = ""
    message: str = ""

    @property
    def step_seconds(self) -> float | None:
        """Of one optimizer step with the largest micro-batch alone, the last of the probe's; None: it was not reached."""
        return self.seconds.get(STEP)


def rate(prepared: Prepared, measured: Probe) -> float:
    """Operations a second of the probe's training steps."""
    plan, lora = prepared.plan, prepared.recipe.lora
    rows = longest(prepared.rows, plan.per_device_train_batch_size.value)
    pairs = [(len(ids), sum(label != IGNORE for label in labels)) for ids, labels in rows]
    return model_flops(prepared.base.facts(), pairs, r=lora.r, target_modules=lora.target_modules) / measured.seconds[STEP]


def measured_work(prepared: Prepared) -> Work:
    """The plan's work with the probe's own training batch: the longest rows, which need not meet in the run."""
    plan = prepared.plan
    assert plan.fitting is not None, "a plan that was just made has one"
    lengths = [len(ids) for ids, _ in longest(prepared.rows, plan.per_device_train_batch_size.value)]
    tokens = sum(lengths) if plan.padding_free.value else len(lengths) * lengths[0]
    return replace(plan.fitting.work, training=Batch(len(lengths), lengths[0], tokens, tokens))


def refuse_out_of_memory(plan: Plan, measured: Probe) -> None:
    """Raises MachineError when memory ran out, with what to try next."""
    if measured.out_of_memory:
        raise MachineError(out_of_memory(plan, f"{measured.out_of_memory}: {measured.message}", doing="in the probe"))


def probe(prepared: Prepared) -> Probe:
    """The run's own largest batches. Raises MachineError when the process dies of something else than memory."""
    return measure(request_of(prepared))


def request_of(prepared: Prepared) -> dict[str, Any]:
    """What the program is given: the longest rows, as many as a batch has."""
    plan, recipe = prepared.plan, prepared.recipe
    return {
        "recipe": recipe.model_dump(mode="json"),
        "plan": plan.as_json(),
        "base": os.fspath(prepared.base.folder),
        "rows": longest(prepared.rows, plan.per_device_train_batch_size.value),
        "held_out": longest(prepared.held_out_rows, plan.fitting.work.evaluation.rows if plan.fitting else 1),
        "prompts": prompts(prepared),
        "max_new_tokens": recipe.evaluate.max_new_tokens,
    }


def longest(rows: Sequence[Row], count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(ids, labels) of so many rows, the longest first; a file that has fewer gives them again."""
    lengths = lengths_of(rows)
    order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
    found = [rows[order[at % len(order)]] for at in range(count if order else 0)]
    return [(row.input_ids, row.labels) for row in found]


def prompts(prepared: Prepared) -> list[list[int]]:
    """The longest questions, as many as are answered at once."""
    from unsloth_ft.evaluate.answers import questions

    plan, recipe = prepared.plan, prepared.recipe
    if plan.fitting is None or not plan.fitting.work.answers.rows:
        return []
    limit, length = recipe.evaluate.answers, plan.max_seq_length.value
    _, asked, _ = questions(prepared.held_out, prepared.chat, limit=limit, longest=length)
    return sorted(asked, key=len, reverse=True)[: plan.fitting.work.answers.rows]


def measure(request: dict[str, Any]) -> Probe:
    """Runs the program on the request. Raises MachineError when it dies without an answer, with its last words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "unsloth_ft.probe_worker", os.fspath(path)], capture_output=True, text=True, check=False
        )
    if done.returncode in KILLED:
        return Probe({}, {}, out_of_memory="the process", message="the system ended it")
    if done.returncode or not done.stdout.strip():
        words = "\n".join(done.stderr.strip().splitlines()[-LAST_WORDS:])
        raise MachineError(f"the probe died (exit code {done.returncode}) before its first answer:\n{words}")
    return Probe(**json.loads(done.stdout.splitlines()[-1]))
