"""A program: the largest micro-batch through a real training step, evaluation and answer, in a process of its own.

    python -m unsloth_ft.probe_worker REQUEST.json

It prints one JSON line on stdout: seconds and peak bytes of each phase, or where memory ran out. Nothing is kept.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from unsloth_ft import backends, hardware
from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat, Row, load_tokenizer
from unsloth_ft.memory_values import ANSWERS, EVALUATION, TRAINING
from unsloth_ft.plan import Decision, Plan
from unsloth_ft.probe import STEP, STEPS
from unsloth_ft.recipe import Recipe
from unsloth_ft.record import RunDirectory
from unsloth_ft.train import memory



class Phases:
    """Peak bytes and seconds of one phase after the other; what is under way is where memory ran out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.name = ""
        self.started = 0.0

    def begin(self, name: str) -> None:
        self.name, self.started = name, time.perf_counter()
        memory.reset_peak(self.plan)

    def end(self) -> None:
        self.peaks[self.name] = memory.peak_allocated_bytes(self.plan)
        self.seconds[self.name] = time.perf_counter() - self.started


def main(path: Path) -> None:
    request = json.loads(path.read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    recipe = Recipe.model_validate(request["recipe"])
    plan = probed(Plan(**{name: Decision(entry["value"], entry["reason"]) for name, entry in request["plan"].items()}))
    hardware.pin(hardware.detect())
    backend = backends.activate(plan.backend.value)
    phases = Phases(plan)
    told = {"peaks": phases.peaks, "seconds": phases.seconds}
    try:
        probe(request, recipe, plan, backend, phases)
    except (RuntimeError, MemoryError, OSError) as error:
        if not memory.is_out_of_memory(error):
            raise
        told |= {"out_of_memory": phases.name, "message": str(error).splitlines()[0]}
    answers.write(json.dumps(told) + "\n")


def probed(plan: Plan) -> Plan:
    """The plan of a run of STEPS steps of one micro-batch each."""
    changed = {"max_steps": STEPS, "gradient_accumulation_steps": 1, "eval_steps": STEPS, "save_steps": STEPS}
    return replace(plan, **{name: Decision(value, "the probe's") for name, value in changed.items()})


def probe(request: dict[str, Any], recipe: Recipe, plan: Plan, backend: Any, phases: Phases) -> None:
    """Load, train, evaluate, answer."""
    from unsloth_ft.evaluate.answers import greedy
    from unsloth_ft.train.loop import make_trainer

    folder = Path(request["base"])
    rows, held_out = (
        [Row(tuple(ids), tuple(labels), "a probe", (len(ids),)) for ids, labels in request[part]] for part in ("rows", "held_out")
    )
    phases.begin("load")
    with backends.third_party():
        chat = Chat(load_tokenizer(folder))
        model = backend.add_lora(backend.load(BaseModel(folder.name, None, folder, "the probe's"), plan), recipe, plan)
    phases.end()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = make_trainer(
            model, backend, recipe=recipe, plan=plan, rows=rows * STEPS, held_out=held_out, chat=chat, run=RunDirectory(Path(scratch)),
            resumed=True,
        )  # fmt: skip
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        clock = clock_of(trainer)
        phases.begin(TRAINING)
        with backends.third_party():
            trainer.train()
        phases.end()
        phases.seconds[STEP] = clock[-1] - clock[-2]
        phases.begin(EVALUATION)
        trainer.evaluate()
        phases.end()
    if request["prompts"]:
        phases.begin(ANSWERS)
        with backends.third_party(), backend.inference(model):
            greedy(model, chat, request["prompts"], max_new_tokens=request["max_new_tokens"])
        phases.end()


def clock_of(trainer: Any) -> list[float]:
    """Filled while it trains: when it began, and when each step ended, with the device idle."""
    import torch
    from transformers import TrainerCallback

    moments: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            moments.append(time.perf_counter())

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            moments.append(time.perf_counter())

    trainer.add_callback(Clock())
    return moments


if __name__ == "__main__":
    main(Path(sys.argv[1]))
