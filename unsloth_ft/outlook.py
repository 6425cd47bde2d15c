"""What a plan says beyond its decisions: what else fits into the memory, how long it takes, and what it needs of disk and host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unsloth_ft import cache, measured_files
from unsloth_ft.flops import model_flops
from unsloth_ft.hardware import Hardware
from unsloth_ft.measured import RATES
from unsloth_ft.memory import ADAPTER_BYTES, host_bytes
from unsloth_ft.memory_fit import checkpointing_name
from unsloth_ft.memory_values import Work
from unsloth_ft.pace import ERROR, REACHED, operations_a_second, started_seconds, step_seconds
from unsloth_ft.plan import Plan
from unsloth_ft.plan_memory import longest_that_fits, most_rows_that_fit, recomputed
from unsloth_ft.recipe import Recipe

MOST_ROWS = 256  # looked for in one forward pass
CHECKPOINT_BYTES = 3 * 4  # a trained weight and AdamW's two moments, each in float32
BASE_BYTES = 2  # a weight of a published base model


@dataclass(frozen=True)
class Fits:
    """What fits with one way of holding the base and of checkpointing. 0: nothing."""

    load_in_4bit: bool
    gradient_checkpointing: str | bool | int
    longest_tokens: int
    """Of a row alone."""
    most_rows: int
    """In one forward pass, at the run's own length."""


@dataclass(frozen=True)
class Pace:
    """Seconds a step and of all steps, and where they are from; None: unknown."""

    step_seconds: float | None
    run_seconds: float | None
    basis: str


@dataclass(frozen=True)
class Outlook:
    """All of it."""

    fits: tuple[Fits, ...]
    pace: Pace
    host_bytes: int
    disk_bytes: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return {
            "what_fits": [
                vars(one) | {"checkpointing": checkpointing_name(one.gradient_checkpointing)} for one in self.fits
            ],
            "time": vars(self.pace),
            "host_bytes": self.host_bytes,
            "disk_bytes": self.disk_bytes,
        }


def outlook(recipe: Recipe, plan: Plan, hardware: Hardware, *, tokens_a_row: float) -> Outlook:
    """The outlook of a plan that was just made. `tokens_a_row`: mean length of the rows that are trained."""
    assert plan.fitting is not None, "a plan that is read back has no outlook"
    work = plan.fitting.work
    return Outlook(
        fits=tuple(what_fits(work, plan.fitting.available_bytes)),
        pace=pace(plan, hardware, tokens_a_row=tokens_a_row),
        host_bytes=host_bytes(work),
        disk_bytes=disk_bytes(recipe, work),
    )


def memory_record(recipe: Recipe, plan: Plan, hardware: Hardware, *, tokens_a_row: float) -> dict[str, Any]:
    """The memory table and the outlook, as run.json and `--json` have them."""
    assert plan.fitting is not None, "a plan that is read back has no table"
    return plan.fitting.as_json() | outlook(recipe, plan, hardware, tokens_a_row=tokens_a_row).as_json()


def what_fits(work: Work, room: int) -> list[Fits]:
    """For every way of checkpointing and both kinds of base, fastest first."""
    found = []
    for load_in_4bit in (False, True):
        for way in dict.fromkeys((False, work.gradient_checkpointing, work.own_checkpointing)):
            changed = replace(work, load_in_4bit=load_in_4bit, gradient_checkpointing=way)
            longest = longest_that_fits(changed, room, most=work.model.max_position_embeddings)
            rows = most_rows_that_fit(changed, room, longest=work.training.longest, most=MOST_ROWS)
            found.append(Fits(load_in_4bit, way, longest, rows))
    return found


def pace(plan: Plan, hardware: Hardware, *, tokens_a_row: float) -> Pace:
    """By the rate that a probe measured on this machine, else by the card's published one."""
    assert plan.fitting is not None, "a plan that is read back has no pace"
    work, passes = plan.fitting.work, plan.gradient_accumulation_steps.value
    operations = _step_operations(plan, work, tokens_a_row)
    measured = measured_rate(rate_key(work, hardware))
    if measured:
        step, basis = operations / measured, "at the rate that a probe measured on this machine"
    else:
        rate = operations_a_second(hardware.gpu) if hardware.gpu else None
        if rate is None:
            what = hardware.gpu.name if hardware.gpu else "this CPU"
            return Pace(None, None, f"the rate of {what} isn't known; --probe measures it")
        started = started_seconds(work.backend, padding_free=plan.padding_free.value)
        layers, again = work.model.num_hidden_layers, recomputed(work)
        step = step_seconds(operations, passes=passes, layers=layers, rate=rate, started=started, again=again)
        basis = f"± {ERROR:.0%}, at {REACHED:.0%} of the card's published rate, as measured on an H100 and an H200; a probe would measure it here"
    return Pace(step, step * plan.max_steps.value, basis)


def _step_operations(plan: Plan, work: Work, tokens_a_row: float) -> float:
    """Of one optimizer step; half of the tokens are taken for learned."""
    rows = plan.per_device_train_batch_size.value * plan.gradient_accumulation_steps.value
    return model_flops(
        work.model, [(round(tokens_a_row), round(tokens_a_row / 2))] * rows, r=work.r, target_modules=work.target_modules
    )


def disk_bytes(recipe: Recipe, work: Work) -> dict[str, int]:
    """Download, checkpoints (one more than are kept, while it is written) and adapter. Exports are told by themselves."""
    count = work.adapter_parameters
    return {
        "base model": BASE_BYTES * work.model.parameters,
        "checkpoints": (recipe.train.save_total_limit + 1) * CHECKPOINT_BYTES * count,
        "adapter": ADAPTER_BYTES * count,
    }


def rates_file() -> Path:
    """Where this machine's probes are remembered."""
    return cache.folder() / RATES


def rate_key(work: Work, hardware: Hardware) -> str:
    """What a measured rate holds for."""
    where = hardware.gpu.name if hardware.gpu else f"{hardware.cpu_name}, {hardware.cpu_count} cores"
    bits = "4-bit" if work.load_in_4bit else "16-bit"
    return f"{where}; {work.backend}; {work.dtype}; {bits}; {work.model.architecture} of {work.model.hidden_size}"


def measured_rate(key: str) -> float | None:
    """Operations a second of a step, as a probe measured it; None: none did. A damaged file is none."""
    known = measured_files.read(rates_file())
    rate = known.get(key) if isinstance(known, dict) else None
    return rate if isinstance(rate, float) and rate > 0 else None


def remember_rate(key: str, rate: float) -> tuple[str, ...]:
    """Keeps it for later plans; a warning where it can't be kept."""
    return measured_files.rewrite(rates_file(), lambda known: (known if isinstance(known, dict) else {}) | {key: rate})
