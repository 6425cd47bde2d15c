"""A program: one leg in a process of its own. Loads the model, then trains once for every line that asks for it.

    python -m unsloth_ft.bench.leg_worker REQUEST.json

It speaks JSON, a line an answer, on stdout: `{"event": "ready", "measured": …}`, then `{"event": "repeat", "repeat": k, "measured": …}`
for each `{"repeat": k}` on its stdin. All repeats begin with the same weights, and an optimizer without state. The end of stdin ends it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unsloth_ft import base_model, catalog, hardware
from unsloth_ft.bench import flops, instruments, workload
from unsloth_ft.bench.case import Case, Leg
from unsloth_ft.bench.legs import Setup, Situation, recipe_of, setup
from unsloth_ft.bench.measurement import Step, Work

ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class Request:
    """What the runner asks for."""

    case: Case
    leg: Leg
    model: Path
    scratch: Path
    repeats: int
    matmul_flops_per_second: float | None

    @classmethod
    def read(cls, path: Path) -> Request:
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            case=Case(**told["case"]),
            leg=Leg(**told["leg"]),
            model=Path(told["model"]),
            scratch=Path(told["scratch"]),
            repeats=told.get("repeats", 1),
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


class Clock:
    """Times steps from the end of one to the end of the next, data included, and keeps what each saw."""

    def __init__(self, workload_: workload.Workload, seen: Any) -> None:
        self.workload = workload_
        self.now = seen
        self.steps: list[Step] = []
        self.seen: list[list[Any]] = []
        self.last = time.perf_counter()

    def start(self) -> None:
        self.steps, self.seen = [], []
        self.now.clear()
        self.last = time.perf_counter()

    def step_ended(self) -> None:
        loss = float(self.now.loss)  # waits for the device
        now = time.perf_counter()
        rows = list(self.now.rows)
        self.steps.append(
            Step(
                seconds=now - self.last,
                tokens=sum(len(ids) for ids, _ in rows),
                computed_tokens=self.now.computed_tokens,
                loss=loss,
                warm_up=len(self.steps) < self.workload.warm_up_steps,
            )
        )
        self.seen.append(rows)
        self.now.clear()
        self.last = time.perf_counter()


class Session:
    """A loaded leg: model, trainer and rows, trained again for each repeat."""

    def __init__(self, request: Request, setup_: Setup, situation: Situation, loaded: Any, at_start: dict[str, int]) -> None:
        self.request = request
        self.setup = setup_
        self.situation = situation
        self.trainer, self.start = loaded
        self.at_start = at_start
        self.energy = instruments.Energy()
        self.clock = Clock(situation.workload, self.trainer.seen)
        self.on_cuda = situation.hardware.gpu is not None

    def train(self, line: Line) -> None:
        """All repeats, in one call of the trainer: it waits between them for the next line."""
        from unsloth_ft.bench.training import Pauses

        asked = line.asked()
        state: dict[str, Any] = {}

        def wait() -> bool:
            from unsloth_ft.bench.training import back_to_start

            message = next(asked, None)
            if message is None:
                return False
            state["repeat"] = message["repeat"]
            back_to_start(self.trainer, self.start)
            self._forget_peaks()
            self.clock.start()
            return True

        def step_ended() -> bool:
            self.clock.step_ended()
            if len(self.clock.steps) == self.situation.workload.warm_up_steps:
                state["joules"] = self.energy.joules()
            if len(self.clock.steps) < self.situation.workload.steps:
                return True
            line.say("repeat", repeat=state["repeat"], measured=self.measured(state.get("joules")))
            return wait()

        def begun() -> None:
            if not wait():
                raise SystemExit(0)

        self.trainer.add_callback(Pauses(step_ended, begun))
        try:
            self.trainer.train()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            line.say("repeat", repeat=state["repeat"], measured={"outcome": "out_of_memory", "error": str(error).splitlines()[0], **self._peaks()})

    def measured(self, joules_before: float | None) -> dict[str, Any]:
        """What this repeat came to, under the names of Measurement."""
        steps = self.clock.steps
        counted = [step for step in steps if not step.warm_up]
        seconds = sum(step.seconds for step in counted)
        joules = self.energy.joules()
        rows = self.situation.workload.measured
        recipe = recipe_of(self.situation)
        return {
            "outcome": "done" if all(math.isfinite(step.loss) for step in steps) else "failed",
            "error": "" if all(math.isfinite(step.loss) for step in steps) else "a loss is no number",
            "work": asdict(self._work(counted)),
            "steps": [asdict(step) for step in steps],
            "warm_up_seconds": sum(step.seconds for step in steps if step.warm_up),
            "tokens_per_second": sum(step.tokens for step in counted) / seconds if seconds else None,
            "energy_joules": None if joules is None or joules_before is None else joules - joules_before,
            "model_flops": flops.model_flops(
                flops.Shape.of(base_config(self.request.model)),
                rows,
                r=recipe.lora.r,
                target_modules=recipe.lora.target_modules,
                full=self.setup.method.value == "full",
            ),
            "matmul_flops_per_second": self.request.matmul_flops_per_second,
            **self._peaks(),
        }

    def _work(self, counted: list[Step]) -> Work:
        recipe, case = recipe_of(self.situation), self.request.case
        return Work(
            weights=base_of(self.request.model).fingerprint(),
            rows=workload.sha256_of(self.clock.seen),
            tokens=sum(step.tokens for step in counted),
            learned_tokens=sum(row.learned for row in self.situation.workload.measured),
            steps=len(counted),
            effective_batch_size=case.effective_batch_size,
            seed=case.seed if self.request.leg.seed is None else self.request.leg.seed,
            r=recipe.lora.r,
            load_in_4bit=self.setup.load_in_4bit.value,
            learning_rate=case.learning_rate,
        )

    def _forget_peaks(self) -> None:
        instruments.forget_peak_host()
        if self.on_cuda:
            import torch

            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()

    def _peaks(self) -> dict[str, int]:
        peaks = {"peak_host_bytes": instruments.peak_host_bytes() - self.at_start["host"]}
        if self.on_cuda:
            import torch

            peaks["peak_device_allocated_bytes"] = torch.cuda.max_memory_allocated() - self.at_start["allocated"]
            peaks["peak_device_reserved_bytes"] = torch.cuda.max_memory_reserved() - self.at_start["reserved"]
        return peaks


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA's and the CPU allocator's ways to say it."""
    import torch

    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def base_of(model: Path) -> base_model.BaseModel:
    return base_model.BaseModel(model.name, None, model, "the bench")


def base_config(model: Path) -> dict[str, Any]:
    return base_of(model).config


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
    from unsloth_ft.plan import resolve

    recipe = recipe_of(situation)
    plan = setup_.plan or plan_of(setup_, situation, recipe, resolve)
    model = backend.load(base_of(request.model), plan)
    lora = None
    if setup_.method.value == "full":
        model = model.float().requires_grad_()
    elif request.leg.kind == "peft-naive":
        lora = lora_config(recipe)
    else:
        model = backend.add_lora(model, recipe, plan)
    tokenizer = AutoTokenizer.from_pretrained(os.fspath(request.model), local_files_only=True)
    rows = arranged(situation.workload, setup_.arrangement.value)
    trainer = make_trainer(model, tokenizer, setup_, request.case, rows, times=request.repeats, scratch=request.scratch, lora=lora)
    seed = request.case.seed if request.leg.seed is None else request.leg.seed
    start = start_adapters(trainer.model, seed)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return trainer, start


def lora_config(recipe: Any) -> Any:
    """The adapter as a tutorial asks for it."""
    from peft import LoraConfig

    lora = recipe.lora
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=list(lora.target_modules),
        use_rslora=lora.use_rslora,
        bias="none",
        task_type="CAUSAL_LM",
    )


def plan_of(setup_: Setup, situation: Situation, recipe: Any, resolve: Any) -> Any:
    """The product's plan with the leg's values in it: what the backends' loading needs to know."""
    from dataclasses import replace

    from unsloth_ft.bench.legs import planned

    plan = planned(situation).plan
    return replace(
        plan,
        backend=setup_.backend,
        dtype=setup_.dtype,
        load_in_4bit=setup_.load_in_4bit,
        gradient_checkpointing=setup_.gradient_checkpointing,
    )


def trained_dtype(trainer: Any) -> str:
    """Of the weights that are trained."""
    return ", ".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in trainer.model.parameters() if parameter.requires_grad}))


def adapter_bytes(trainer: Any, scratch: Path) -> int | None:
    """Size of the adapter's weights file, written once."""
    if not hasattr(trainer.model, "peft_config"):
        return None
    folder = scratch / "adapter"
    trainer.model.save_pretrained(folder, save_embedding_layers=False)
    return (folder / ADAPTER).stat().st_size


def main(path: str) -> None:
    line = Line()
    request = Request.read(Path(path))
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
    at_start = memory_now()
    begun_loading = time.perf_counter()
    loaded = load(request, chosen, situation, backend)
    load_seconds = time.perf_counter() - begun_loading
    from unsloth_ft.record import versions

    ready = {
        "import_seconds": imported - begun,
        "load_seconds": load_seconds,
        "versions": versions(),
        "setup": chosen.as_json() | {"trained_dtype": {"value": trained_dtype(loaded[0]), "reason": "as library and trainer left it"}},
        "adapter_bytes": adapter_bytes(loaded[0], request.scratch),
    }
    line.say("ready", measured=ready)
    Session(request, chosen, situation, loaded, at_start).train(line)


if __name__ == "__main__":
    main(sys.argv[1])
