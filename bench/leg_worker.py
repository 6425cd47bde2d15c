"""A program: one leg in a process of its own. Loads the model, then trains once for every line that asks for it.

    python -m unsloth_ft.bench.leg_worker REQUEST.json

It speaks JSON, a line an answer, on stdout: `{"event": "ready", "measured": …}`, then `{"event": "repeat", "repeat": k, "measured": …}`
for each `{"repeat": k}` on its stdin. All repeats begin with the same weights, and an optimizer without state. The end of stdin ends it.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from unsloth_ft import flops
from unsloth_ft.bench import instruments, workload
from unsloth_ft.bench.leg import Line, Loaded, prepare
from unsloth_ft.bench.legs import recipe_of
from unsloth_ft.bench.measurement import Step, Work
from unsloth_ft.train.memory import is_out_of_memory


class Clock:
    """Times steps from the end of one to the end of the next, data included, and keeps what each saw."""

    def __init__(self, workload_: workload.Workload, seen: Any) -> None:
        self.workload = workload_
        self.at_hand = seen
        self.steps: list[Step] = []
        self.rows: list[list[Any]] = []
        """Of each step, as they arrived."""
        self.last = time.perf_counter()

    def start(self) -> None:
        self.steps, self.rows = [], []
        self.at_hand.clear()
        self.last = time.perf_counter()

    def step_ended(self) -> None:
        loss = float(self.at_hand.loss)  # waits for the device
        now = time.perf_counter()
        rows = self.at_hand.rows
        self.steps.append(
            Step(
                seconds=now - self.last,
                tokens=sum(len(ids) for ids, _ in rows),
                computed_tokens=self.at_hand.computed_tokens,
                loss=loss,
                warm_up=len(self.steps) < self.workload.warm_up_steps,
            )
        )
        self.rows.append(rows)
        self.at_hand.clear()
        self.last = time.perf_counter()


class Session:
    """A loaded leg that trains, again for each repeat."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.request = loaded.request
        self.setup = loaded.setup
        self.situation = loaded.situation
        self.trainer = loaded.trainer
        gpu = self.situation.hardware.gpu
        self.energy = instruments.Energy(gpu.index if gpu else None)
        self.clock = Clock(self.situation.workload, self.trainer.seen)
        self.repeat: int | None = None
        """None in the first pass, which nobody asked for."""
        self.first_pass_seconds: float | None = None
        self.unsaid_seconds = 0.0
        """Of the first pass, until a repeat has told it as its warm-up."""
        self.joules: float | None = None
        """At the end of the warm-up."""

    def train(self, line: Line) -> None:
        """All repeats, in one call of the trainer: it waits between them for the next line."""
        from unsloth_ft.bench.training import Pauses

        asked = line.asked()
        self.trainer.add_callback(Pauses(partial(self._step_ended, line, asked), partial(self._begun, asked)))
        try:
            self.trainer.train()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            told = {"outcome": "out_of_memory", "error": str(error).splitlines()[0], **self.loaded.peaks()}
            if self.repeat is not None or self._next(asked):  # in the first pass: the answer to whatever is asked first
                line.say("repeat", repeat=self.repeat, measured=told)

    def _begun(self, asked: Iterator[dict[str, Any]]) -> None:
        if self.loaded.first_pass:
            self.clock.start()
        elif not self._next(asked):
            raise SystemExit(0)

    def _step_ended(self, line: Line, asked: Iterator[dict[str, Any]]) -> bool:
        self.clock.step_ended()
        if len(self.clock.steps) == self.situation.workload.warm_up_steps:
            self.joules = self.energy.joules()
        if len(self.clock.steps) < self.situation.workload.steps:
            return True
        if self.repeat is None:
            self.first_pass_seconds = self.unsaid_seconds = sum(step.seconds for step in self.clock.steps)
        else:
            line.say("repeat", repeat=self.repeat, measured=self.measured())
            self.unsaid_seconds = 0.0
        if self.request.keep_loaded:
            self.loaded.give_back_cache()  # to the legs that are loaded beside this one
        return self._next(asked)

    def _next(self, asked: Iterator[dict[str, Any]]) -> bool:
        """Waits for the next line and goes back to the start for it; False when there is none."""
        from unsloth_ft.bench.training import back_to_start

        message = next(asked, None)
        if message is None:
            return False
        self.repeat = message["repeat"]
        if self.trainer.optimizer is not None:
            back_to_start(self.trainer, self.loaded.start)
        self.loaded.forget_peaks()
        self.clock.start()
        return True

    def measured(self) -> dict[str, Any]:
        """What this repeat came to, under the names of Measurement."""
        joules, peaks = self.energy.joules(), self.loaded.peaks()  # before anything else here takes either
        steps = self.clock.steps
        finite = all(math.isfinite(step.loss) for step in steps)
        counted = [step for step in steps if not step.warm_up]
        seconds = sum(step.seconds for step in counted)
        rows = self.situation.workload.measured
        recipe = recipe_of(self.situation)
        return {
            "outcome": "done" if finite else "failed",
            "error": "" if finite else "a loss is no number",
            "work": asdict(self._work(counted)),
            "steps": [asdict(step) for step in steps],
            "first_pass_seconds": self.first_pass_seconds,
            "warm_up_seconds": self.unsaid_seconds + sum(step.seconds for step in steps if step.warm_up),
            "tokens_per_second": sum(step.tokens for step in counted) / seconds if seconds else None,
            "energy_joules": None if joules is None or self.joules is None else joules - self.joules,
            "model_flops": flops.model_flops(
                self.situation.model,
                [(len(row.input_ids), row.learned) for row in rows],
                r=recipe.lora.r,
                target_modules=recipe.lora.target_modules,
                full=self.setup.method.value == "full",
            ),
            "matmul_flops_per_second": self.request.matmul_flops_per_second,
            **peaks,
        }

    def _work(self, counted: list[Step]) -> Work:
        recipe, case = recipe_of(self.situation), self.request.case
        return Work(
            weights=self.loaded.weights,
            rows=workload.sha256_of(self.clock.rows),
            tokens=sum(step.tokens for step in counted),
            learned_tokens=sum(row.learned for row in self.situation.workload.measured),
            steps=len(counted),
            effective_batch_size=case.effective_batch_size,
            seed=self.request.seed,
            r=recipe.lora.r,
            load_in_4bit=self.setup.load_in_4bit.value,
            learning_rate=case.learning_rate,
        )


def main(path: str) -> None:
    line = Line()
    loaded = prepare(Path(path))
    line.say("ready", measured=loaded.ready)
    Session(loaded).train(line)


if __name__ == "__main__":
    main(sys.argv[1])
