"""Going on after memory ran out: the step at hand again, with fewer rows at once and the same rows a step.

Which rows a step has depends on the effective batch size alone (order.py), and a loss is divided by the learned tokens of the whole step,
so the curve is that of a run which began with the smaller sizes.
"""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import torch
from rich.console import Console

from unsloth_ft.memory import estimate
from unsloth_ft.plan import Plan
from unsloth_ft.plan_memory import smaller_micro_batch
from unsloth_ft.plan_values import Decision
from unsloth_ft.record import RunDirectory
from unsloth_ft.train import checkpoints
from unsloth_ft.train.memory import free, shortened

KEY = "recovered"  # in run.json


@dataclass(frozen=True)
class Randomness:
    """The state of every generator that a training draws from."""

    python: Any
    of_numpy: Any
    cpu: torch.Tensor
    cuda: list[torch.Tensor]

    @classmethod
    def now(cls) -> Randomness:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return cls(random.getstate(), numpy.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        random.setstate(self.python)
        numpy.random.set_state(self.of_numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


def smaller(plan: Plan) -> Plan | None:
    """The plan with the next smaller micro-batch that divides a step's rows; None: it is one row already."""
    size = plan.per_device_train_batch_size.value
    rows = size * plan.gradient_accumulation_steps.value
    return with_micro_batch(plan, smaller_micro_batch(size, rows)) if size > 1 else None


def with_micro_batch(plan: Plan, size: int) -> Plan:
    """The same steps, so many rows at a time."""
    before = plan.per_device_train_batch_size.value
    rows = before * plan.gradient_accumulation_steps.value
    reason = f"memory ran out with {before} rows at a time; effective batch size {rows} as before"
    fitting = plan.fitting
    if fitting is not None:
        work = fitting.work.with_micro_batch(size)
        fitting = replace(fitting, work=work, estimate=estimate(work))
    return replace(
        plan,
        per_device_train_batch_size=Decision(size, reason),
        gradient_accumulation_steps=Decision(rows // size, reason),
        fitting=fitting,
    )


def as_recorded(plan: Plan, run: RunDirectory) -> Plan:
    """The plan with the sizes that an earlier call of this run had to go down to."""
    recorded = run.read().get(KEY) if run.record_file.is_file() else None
    if not recorded:
        return plan
    size = recorded[-1]["per_device_train_batch_size"]
    return with_micro_batch(plan, size) if size < plan.per_device_train_batch_size.value else plan


def write_down(run: RunDirectory, plan: Plan, *, step: int, said: str, console: Console) -> None:
    """Says on the console and in run.json how step `step` is done again. `plan`: with the smaller sizes."""
    size, passes = plan.per_device_train_batch_size.value, plan.gradient_accumulation_steps.value
    message = (
        f"memory ran out in step {step} ({shortened(said)}); it is done again with {size} "
        f"{'row' if size == 1 else 'rows'} at a time, {passes} times a step: the effective batch size stays {size * passes}"
    )
    known = run.read().get(KEY, []) if run.record_file.is_file() else []
    sizes = {"step": step, "per_device_train_batch_size": size, "gradient_accumulation_steps": passes}
    run.update(**{KEY: [*known, sizes]})
    say(run, console, message)


def say(run: RunDirectory, console: Console, message: str) -> None:
    """A warning for both: who watches, and run.json."""
    run.warn(message)
    console.print(message, style="yellow", highlight=False, markup=False)  # torch's own words begin with a bracket


def state_before(trainer: Any) -> Path | None:
    """A whole checkpoint of the state before the step at hand, written now where there is none; None: the step is the first.

    Weights and optimizer are as the step before left them, since the step at hand ended before its update.
    """
    trainer.model.zero_grad(set_to_none=True)
    step = trainer.state.global_step
    if step == 0:
        return None
    there = Path(trainer.args.output_dir) / f"checkpoint-{step}"
    if not checkpoints.is_whole(there):
        trainer.randomness.restore()
        free()
        trainer._save_checkpoint(trainer.model, None)
    return there


def release(trainer: Any) -> None:
    """Lets go of what the trainer holds, but for mixed precision's wrapper around the model: the next trainer finds it there.

    accelerate marks a model that it has wrapped, and puts no second wrapper on; taken off, the next steps would be float32's.
    """
    trainer.accelerator.free_memory()
    trainer.micro_batches.clear()
    gc.collect()
    free()
