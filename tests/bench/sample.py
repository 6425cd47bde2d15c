"""Measurements with everything in them; the numbers are made up, their shape is that of `bench run`."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

from unsloth_ft.bench.case import KINDS, Case
from unsloth_ft.bench.measurement import Measurement, Step, Work

GIB = 2**30
CPU: dict[str, Any] = {
    "device": "cpu",
    "summary": "no GPU; Intel Xeon, 2 cores, 8 GiB",
    "gpu": None,
    "cpu": "Intel Xeon",
    "cpu_count": 2,
    "threads": 2,
    "memory_bytes": 8 * GIB,
    "system": "Linux",
}
GPU = CPU | {
    "device": "cuda",
    "summary": "NVIDIA H200, 139 GiB",
    "gpu": {"name": "NVIDIA H200", "memory_bytes": 139 * GIB, "compute_capability": [9, 0], "driver": "580.95.05", "index": 0},
    "cpu_count": 16,
    "threads": 16,
    "memory_bytes": 128 * GIB,
}
WORK = Work(
    weights="a1" * 32,
    rows="b2" * 32,
    tokens=8000,
    learned_tokens=5600,
    steps=8,
    effective_batch_size=8,
    seed=3407,
    r=16,
    load_in_4bit=False,
    learning_rate=2e-4,
)
CASE = Case(what="How fast are steps on short, ragged rows?", steps=8, warm_up_steps=2)
RUN = "2026-11-26-cpu"


def losses(count: int, *, start: float = 3.0, off: float = 0.0) -> list[float]:
    """A falling curve; `off` is the relative distance of the last step, that of the first is 0."""
    return [start * math.exp(-at / 20) * (1 + off * at / (count - 1)) for at in range(count)]


def measurement(kind: str = "peft-naive", repeat: int = 0, *, speed: float = 200.0, asked: Case = CASE, **values: Any) -> Measurement:
    """One repeat of a leg that trained at about `speed` tokens/s; `values` replace fields."""
    draw = random.Random(f"{kind} {repeat}")
    curve = values.pop("losses", losses(asked.warm_up_steps + asked.steps))
    tokens = WORK.tokens // asked.steps
    steps = tuple(
        Step(tokens / speed * (1 + draw.uniform(-0.05, 0.05)) * (3 if at == 0 else 1), tokens, tokens * 5 // 4, loss, at < asked.warm_up_steps)
        for at, loss in enumerate(curve)
    )
    found = Measurement(
        run=RUN,
        case="speed-faq",
        point={},
        leg=kind,
        kind=kind,
        repeat=repeat,
        process="fresh",
        date="2026-11-26T10:00:00+00:00",
        command=["unsloth-ft", "bench", "run", "speed-faq"],
        git={"commit": "0123456789abcdef0123456789abcdef01234567", "changed": False},
        machine=CPU,
        versions={"torch": "2.13.0", "peft": "0.21.0", "unsloth": "2026.10.9"},
        case_values=asked.model_dump(mode="json"),
        setup={"batch": {"value": "8 × 1", "reason": "TRL's default"}},
        outcome="done",
        work=WORK,
        steps=steps,
        import_seconds=4.0,
        load_seconds=1.5,
        warm_up_seconds=sum(step.seconds for step in steps if step.warm_up),
        tokens_per_second=speed * (1 + 0.002 * repeat),
        peak_host_bytes=round(1.5 * GIB),
        adapter_bytes=19_000_000,
        model_flops=6e12,
        matmul_flops_per_second=4e11,
    )
    return replace(found, **values)


def leg(kind: str = "peft-naive", *, repeats: int = 3, speed: float = 200.0, **values: Any) -> list[Measurement]:
    return [measurement(kind, repeat, speed=speed, **dict(values)) for repeat in range(repeats)]


def four_legs(**values: Any) -> list[Measurement]:
    """Ours is the fastest but for peft-tuned."""
    speeds = dict(zip(KINDS, (100.0, 200.0, 140.0, 180.0), strict=False))
    return [one for kind, speed in speeds.items() for one in leg(kind, speed=speed, **values)]


def out_of_memory(kind: str, repeat: int = 0, **values: Any) -> Measurement:
    """What a leg that had too little memory leaves."""
    return measurement(
        kind,
        repeat,
        **{"outcome": "out_of_memory", "error": "CUDA out of memory. Tried to allocate 1.96 GiB.", "work": None, "steps": (),
           "tokens_per_second": None, "warm_up_seconds": None, "adapter_bytes": None, "peak_host_bytes": None, **values},
    )  # fmt: skip


