"""A leg, loaded: what the runner asked for, the model and trainer that its setup says, and the talk with the runner.

What `leg_worker` and `context_worker` share.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unsloth_ft import base_model, catalog, hardware
from unsloth_ft.bench import instruments, workload
from unsloth_ft.bench.case import Case, Leg
from unsloth_ft.bench.legs import Setup, Situation, product_plan, recipe_of, setup
from unsloth_ft.bench.memory_cap import cap_device_memory
from unsloth_ft.plan import Plan
from unsloth_ft.train.memory import forget_peak_host

ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class Request:
    """What the runner asks for."""

    case: Case
    leg: Leg
    model: Path
    scratch: Path
    repeats: int
    keep_loaded: bool
    matmul_flops_per_second: float | None

    @property
    def seed(self) -> int:
        """The case's, unless the leg has one of its own."""
        return self.case.seed if self.leg.seed is None else self.leg.seed

    @classmethod
    def read(cls, path: Path) -> Request:
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            case=Case(**told["case"]),
            leg=Leg(**told["leg"]),
            model=Path(told["model"]),
            scratch=Path(told["scratch"]),
            repeats=told.get("repeats", 1),
            keep_loaded=told.get("keep_loaded", False),
            matmul_flops_per_second=told.get("matmul_flops_per_second"),
        )


class Line:
    """The conversation with the runner: stdout is its own, so what libraries print goes to stderr."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
        os.dup2(2, 1)

    def say(self, event: str, **told: Any) -> None:
        self.answers.write(json.dumps({"event": event, **told}) + "\n")

    def asked(self) -> Iterator[dict[str, Any]]:
        for line in sys.stdin:
            yield json.loads(line)


@dataclass(frozen=True)
class Loaded:
    """A leg that is ready to train."""

    request: Request
    setup: Setup
    situation: Situation
    trainer: Any
    start: dict[str, Any]
    """The trained weights as they stand at the start, by name."""
    at_start: dict[str, int]
    """Bytes before the model was loaded: host, and allocated and reserved on a card."""
    ready: dict[str, Any]
    """What the loading measured, under the names of Measurement."""
    weights: str
    """The model's fingerprint; the same for all repeats, so its files are read once."""

    @property
    def on_cuda(self) -> bool:
        return self.situation.hardware.gpu is not None

    @property
    def first_pass(self) -> bool:
        """Whether all rows are trained once before anything is measured.

        On a GPU each new shape loads its kernels: on an H200 a step of the first pass took up to 2.9 s where the second took 0.4 s.
        """
        return self.on_cuda and self.request.case.measures == "training"

    def forget_peaks(self) -> None:
        forget_peak_host()
        if self.on_cuda:
            import torch

            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()

    def give_back_cache(self) -> None:
        """Lets go of device memory that torch keeps for its next allocation."""
        if self.on_cuda:
            import torch

            torch.cuda.empty_cache()

    def peaks(self) -> dict[str, int]:
        """The peaks since then, less what there was before the model."""
        found = {"peak_host_bytes": instruments.peak_host_bytes() - self.at_start["host"]}
        if self.on_cuda:
            import torch

            found["peak_device_allocated_bytes"] = torch.cuda.max_memory_allocated() - self.at_start["allocated"]
            found["peak_device_reserved_bytes"] = torch.cuda.max_memory_reserved() - self.at_start["reserved"]
        return found


def prepare(path: Path) -> Loaded:
    """Reads the request, imports the leg's libraries and loads its model; what each took is in `ready`."""
    request = Request.read(path)
    machine = hardware.detect()
    hardware.pin(machine)
    recipe = catalog.find(request.case.recipe).recipe
    facts = base_of(request.model).facts()
    rows = workload.build(request.case, vocab_size=facts.vocab_size, rows_seed=request.leg.rows_seed)
    situation = Situation(request.case, recipe, facts, machine, rows)
    chosen = setup(request.leg, situation)
    begun = time.perf_counter()
    from unsloth_ft.backends import activate

    backend = activate(chosen.backend.value)
    import trl  # noqa: F401  what the leg imports sooner or later

    imported = time.perf_counter()
    if request.case.memory_cap_bytes:
        cap_device_memory(request.case.memory_cap_bytes, alone=not request.keep_loaded)
    at_start = memory_now()
    begun_loading = time.perf_counter()
    trainer, start = load(request, chosen, situation, backend)
    load_seconds = time.perf_counter() - begun_loading
    from unsloth_ft.record import versions

    ready = {
        "import_seconds": imported - begun,
        "load_seconds": load_seconds,
        "versions": versions(),
        "setup": chosen.as_json() | {"trained_dtype": {"value": trained_dtype(trainer), "reason": "as library and trainer left it"}},
        "adapter_bytes": None if chosen.method.value == "full" else adapter_bytes(trainer, request.scratch),
    }
    return Loaded(request, chosen, situation, trainer, start, at_start, ready, base_of(request.model).fingerprint())


def base_of(model: Path) -> base_model.BaseModel:
    return base_model.BaseModel(model.name, None, model, "the bench")


def memory_now() -> dict[str, int]:
    """Bytes before the model is loaded."""
    import torch

    found = {"host": instruments.host_bytes()}
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # the context
        found |= {"allocated": torch.cuda.memory_allocated(), "reserved": torch.cuda.memory_reserved()}
    return found


def load(request: Request, setup_: Setup, situation: Situation, backend: Any) -> tuple[Any, dict[str, Any]]:
    """The trainer, and the trained weights as they stand at the start."""
    import torch
    from transformers import AutoTokenizer

    from unsloth_ft.bench.training import arranged, make_trainer, start_adapters

    recipe = recipe_of(situation)
    plan = setup_.plan or plan_with(setup_, situation)
    model = backend.load(base_of(request.model), plan)
    lora = None
    if setup_.method.value == "full":
        model = model.float().requires_grad_()
    elif request.leg.kind == "peft-naive":
        from unsloth_ft.backends.peft import lora_config

        lora = lora_config(recipe)  # TRL adds it, as a tutorial has it
    else:
        model = backend.add_lora(model, recipe, plan)
    tokenizer = AutoTokenizer.from_pretrained(os.fspath(request.model), local_files_only=True)
    rows = arranged(situation.workload, setup_.arrangement.value)
    times = request.repeats + 1  # one more for a first pass
    others = situation.workload.others
    trainer = make_trainer(
        model, tokenizer, setup_, request.case, rows, others=others, times=times, scratch=request.scratch, lora=lora
    )
    start = start_adapters(trainer.model, request.seed)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return trainer, start


def plan_with(setup_: Setup, situation: Situation) -> Plan:
    """The product's plan with the leg's values in it: what the backends want to know when they load."""
    return replace(
        product_plan(situation),
        backend=setup_.backend,
        dtype=setup_.dtype,
        load_in_4bit=setup_.load_in_4bit,
        gradient_checkpointing=setup_.gradient_checkpointing,
    )


def trained_dtype(trainer: Any) -> str:
    """Of the weights that are trained."""
    found = {str(parameter.dtype).removeprefix("torch.") for parameter in trainer.model.parameters() if parameter.requires_grad}
    return ", ".join(sorted(found))


def adapter_bytes(trainer: Any, scratch: Path) -> int:
    """Size of the adapter's weights file, written once."""
    folder = scratch / "adapter"
    trainer.model.save_pretrained(folder, save_embedding_layers=False)
    return (folder / ADAPTER).stat().st_size
