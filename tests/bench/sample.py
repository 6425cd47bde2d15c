"""Measurements with everything in them; the numbers are made up, their shape is that of `bench run`."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

from unsloth_ft.bench.case import KINDS, Case, Leg
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
        Step(
            tokens / speed * (1 + draw.uniform(-0.05, 0.05)) * (3 if at == 0 else 1),
            tokens,
            tokens * 5 // 4,
            loss,
            at < asked.warm_up_steps,
        )
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


def sweep(name: str, field: str, values: dict[int, float], *, speeds: dict[str, float], what: str, **fixed: Any) -> list[Measurement]:
    """Points of a sweep; `values` are the GiB that the slowest leg needs at each, of which a quicker one needs less."""
    asked = CASE.model_copy(update={"what": what})
    found = []
    for value, gibibytes in values.items():
        for kind, speed in speeds.items():
            for repeat in range(3):
                used = round(gibibytes * GIB * (100 / speed) ** 0.5 * (1 + 0.01 * repeat))
                found.append(
                    measurement(kind, repeat, speed=speed, asked=asked, case=name, point={field: value}, peak_host_bytes=used, **fixed)
                )
    return found


def slower_steps(measurements: list[Measurement], field: str, *, of: int) -> list[Measurement]:
    """Steps whose time grows with the point: in proportion, and a little more."""
    found = []
    for one in measurements:
        factor = (one.point[field] / of) ** 1.1
        found.append(replace(one, steps=tuple(replace(step, seconds=step.seconds * factor) for step in one.steps)))
    return found


def commands(name: str, measures: str, legs: dict[str, float], **values: Any) -> list[Measurement]:
    """A command case: seconds of each leg, a few samples each."""
    kinds = tuple(Leg(kind=kind) for kind in legs)
    asked = Case(what=f"How long does {name} take?", measures=measures, legs=kinds)  # type: ignore[arg-type]
    plain = {"work": None, "losses": [], "tokens_per_second": None, "model_flops": None, "adapter_bytes": None, "load_seconds": None}
    plain |= {"import_seconds": None, "warm_up_seconds": None}
    plain |= {"peak_host_bytes": None} if measures == "startup" else {}
    return [
        measurement(
            kind, repeat, asked=asked, case=name, seconds=tuple(seconds * (1 + 0.03 * (repeat + at)) for at in range(3)), **plain, **values
        )
        for kind, seconds in legs.items()
        for repeat in range(3)
    ]


def everything() -> list[Measurement]:
    """Every section of the report: four legs, one invalid, out of memory, sweeps, context, commands, checks, a GPU."""
    speeds = dict(zip(KINDS, (100.0, 200.0, 140.0, 180.0), strict=False))
    found = four_legs()
    found += [
        *four_legs(case="speed-full")[:-3],
        *leg("unsloth-plan", case="speed-full", speed=260.0, work=replace(WORK, seed=1, rows="ff" * 32)),
    ]
    found += leg("peft-tuned", case="speed-faq-grouped", speed=3.1, losses=losses(10, off=0.01))
    found += leg("unsloth-plan", case="speed-faq-grouped", speed=3.4, repeats=2)
    found += [measurement("unsloth-plan", 2, case="speed-faq-grouped", outcome="no_time", error="12 s were left", work=None, steps=())]
    lengths = {256: 0.8, 512: 1.0, 1024: 1.6, 2048: 2.9, 4096: 5.5}
    grown = sweep("memory-length", "length", lengths, speeds=speeds, what="What does memory do with the length of the rows?")
    found += [one for one in slower_steps(grown, "length", of=256) if one.leg != "peft-naive" or one.point["length"] < 2048]
    for value in (2048, 4096):
        found.append(
            out_of_memory("peft-naive", case="memory-length", point={"length": value}, error="<script>alert(1)</script> killed by SIGKILL")
        )
    ranks = {8: 0.9, 16: 0.92, 32: 0.97, 64: 1.07, 128: 1.3}
    found += sweep("memory-rank", "r", ranks, speeds=speeds, what="What does memory do with the rank?")
    found += [*context(), *methods()]
    found += commands("startup", "startup", {"cli-help": 0.11, "cli-recipes": 0.17, "cli-plan": 1.4})
    found += commands("export", "export", {"merge": 3.2, "gguf-q8_0": 6.1, "gguf-q4_k_m": 9.7})
    for rows in (1_000, 10_000):
        preparing = {"prepare-ours": 0.4 * rows / 1000, "prepare-datasets": 0.9 * rows / 1000}
        found += commands("data-preparation", "data", preparing, amount={"rows": float(rows), "tokens": 130.0 * rows}, point={"rows": rows})
    found += self_check()
    return found + [one for kind, speed in speeds.items() for one in on_gpu(kind, speed)]


def self_check() -> list[Measurement]:
    """Two identical legs, and two that did other work."""
    names = {"one": WORK, "same-again": WORK, "other-seed": replace(WORK, seed=1), "other-rows": replace(WORK, rows="ff" * 32)}
    seeds: dict[str, Any] = {"other-seed": {"seed": 1}, "other-rows": {"rows_seed": 1}}
    legs = tuple(Leg(kind="peft-tuned", name=name, **seeds.get(name, {})) for name in names)
    asked = CASE.model_copy(update={"what": "Does the bench see no difference where there is none?", "legs": legs})
    return [one for name, work in names.items() for one in leg("peft-tuned", case="self-check", asked=asked, leg=name, work=work)]


def methods() -> list[Measurement]:
    """Full fine-tuning, LoRA and QLoRA: other weights are trained, so losses part after the first step."""
    kinds = {"peft-full": (60.0, 6.1, 0.3), "peft-lora": (110.0, 1.6, 0.0), "peft-qlora": (48.0, 1.1, 0.1)}
    asked = CASE.model_copy(update={"what": "What do full, LoRA and QLoRA cost?", "same_losses": False})
    asked = asked.model_copy(update={"legs": tuple(Leg(kind=kind) for kind in kinds)})
    works = {"peft-full": replace(WORK, r=0), "peft-lora": WORK, "peft-qlora": replace(WORK, load_in_4bit=True, weights="cc" * 32)}
    return [
        one
        for kind, (speed, memory, off) in kinds.items()
        for one in leg(
            kind,
            case="methods",
            asked=asked,
            speed=speed,
            work=works[kind],
            losses=losses(10, off=off),
            peak_host_bytes=round(memory * GIB),
        )
    ]


def context() -> list[Measurement]:
    """The longest row of two legs under four caps; at 8 GiB vanilla trains nothing."""
    asked = Case(what="How long may a row be?", measures="context")
    fixed = {"case": "context", "asked": asked, "run": "2026-11-27-gpu", "machine": GPU, "losses": [], "tokens_per_second": None}
    longest = {"peft-naive": {16: 1024, 24: 2560, 80: 28_416}, "unsloth-plan": {8: 3072, 16: 21_760, 24: 78_336, 80: 131_072}}
    found = [out_of_memory("peft-naive", point={"memory_cap_gib": 8}, **{key: fixed[key] for key in ("case", "asked", "run", "machine")})]
    for kind, caps in longest.items():
        for cap, tokens in caps.items():
            found += leg(kind, point={"memory_cap_gib": cap}, longest_tokens=tokens, **fixed)
    return found


def on_gpu(kind: str, speed: float) -> list[Measurement]:
    """A GPU has device memory and energy, and its first repeat compiles."""
    found = leg(
        kind, speed=speed * 40, run="2026-11-27-gpu", machine=GPU, date="2026-11-27T09:00:00+00:00", peak_device_allocated_bytes=9 * GIB
    )
    found = [replace(one, peak_device_reserved_bytes=round(11.5 * GIB * (100 / speed)), energy_joules=3000.0) for one in found]
    cold = replace(found[0], machine=GPU | {"caches": "cold", "load_before": {"cpu_share": 0.23}}, warm_up_seconds=142.0)
    return [cold, *found[1:]]
