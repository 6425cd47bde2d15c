"""Runs cases: every leg in its own process, the legs in turn, each measurement written as soon as it is there.

Nothing that a leg does ends the run: what fails, doesn't fit or finds no time is a measurement with that outcome.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from unsloth_ft.bench import load, machine, measurement, processes
from unsloth_ft.bench.case import Leg
from unsloth_ft.bench.measurement import Measurement
from unsloth_ft.bench.processes import Worker, WorkerError
from unsloth_ft.bench.schedule import Round
from unsloth_ft.hardware import Hardware
from unsloth_ft.plan import training_dtype
from unsloth_ft.record import now, versions, without_folders

# What a case measures -> the program that measures it; matmul: the rate that training steps are held against.
WORKERS = {
    "matmul": "unsloth_ft.bench.matmul_worker",
    "training": "unsloth_ft.bench.leg_worker",
    "context": "unsloth_ft.bench.context_worker",
    "data": "unsloth_ft.bench.command_worker",
    "export": "unsloth_ft.bench.command_worker",
    "startup": "unsloth_ft.bench.command_worker",
}
OF_STEPS = ("training", "context")
MATMUL_SECONDS = 120  # a limit; it takes a few
ANSWER_SECONDS = 1800  # Unsloth compiles for minutes on a GPU; what takes half an hour hangs
KNOWN = {one.name for one in fields(Measurement)}


@dataclass(frozen=True)
class Call:
    """One call of `bench run`: what holds for all that it measures."""

    run: str
    out: Path
    command: list[str]
    hardware: Hardware
    threads: int
    models: dict[str, Path]
    """Recipe -> the base model's folder on this machine."""
    busy_ok: bool = False
    keep_loaded: bool = False
    """A leg's process stays loaded for all its repeats at one point."""
    end: float = float("inf")
    """time.monotonic() after which nothing begins, and what runs is ended."""
    workers: Mapping[str, str] = field(default_factory=WORKERS.copy)
    answer_seconds: float = ANSWER_SECONDS
    sample_seconds: float = load.SAMPLE_SECONDS

    @property
    def device(self) -> str:
        return "cuda" if self.hardware.gpu else "cpu"

    @property
    def folders(self) -> set[Path]:
        """Where this machine keeps models, and a user his recipes: no record needs to know."""
        recipes = {Path(recipe).parent for recipe in self.models if recipe.endswith(".py")}
        return {folder.parent for folder in self.models.values()} | recipes

    @property
    def seconds_left(self) -> float:
        return self.end - time.monotonic()


@dataclass
class Bench:
    """A call at work: what was found out on the way, and the processes that are loaded."""

    call: Call
    scratch: Path
    tell: Callable[[str], None]
    facts: dict[str, Any] = field(default_factory=dict)
    matmul_flops_per_second: float | None = None
    loaded: dict[str, tuple[Worker, dict[str, Any]]] = field(default_factory=dict)
    """Leg -> its process, and what that told when it was ready."""
    took_seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    """(round, leg) -> its last turn."""
    compiled: set[str] = field(default_factory=set)
    """Legs that had a turn: what they compiled is in their caches."""
    started: int = 0

    def measure(self, round_: Round, leg: Leg, repeat: int) -> Measurement:
        """One turn of one leg, whatever becomes of it."""
        # A turn that can't be finished would take the time from one that can.
        needed = self.took_seconds.get((str(round_), leg.title), 0.0)
        if self.call.seconds_left <= needed:
            return self._record(round_, leg, repeat, {"outcome": "no_time", "error": f"{max(0.0, self.call.seconds_left):.0f} s were left"})
        quiet = self._load()
        cold = leg.title not in self.compiled
        try:
            told = self._answer(round_, leg, repeat)
        except WorkerError as error:
            told = {"outcome": error.outcome, "error": str(error)}
        if not self.call.keep_loaded or told.get("outcome") != "done":  # after a failed step nobody knows what is left of it
            self._close(leg)
        self.compiled.add(leg.title)
        around = {"load_before": quiet, "caches": "cold" if cold else "warm"}
        if not self.call.keep_loaded:  # there the next turn's sample says it, and a rented card's seconds are counted
            around["load_after"] = self._load()
        return self._record(round_, leg, repeat, told, **around)

    def load_all(self, round_: Round) -> None:
        """Starts every leg's process, where they stay loaded: they import and load side by side, and train in turn."""
        for leg in round_.case.legs:
            self.loaded[leg.title] = self._start(round_, leg), {}
        for leg in round_.case.legs:
            with contextlib.suppress(WorkerError):  # its first turn says it
                worker, _ = self.loaded[leg.title]
                self.loaded[leg.title] = worker, worker.ready(limit_seconds=self._limit_seconds)

    def close(self) -> None:
        """Ends every process."""
        while self.loaded:
            self.loaded.popitem()[1][0].close()

    def measure_matmul(self) -> None:
        """What the machine's matrix product reaches, in a process of its own; unknown where that fails."""
        dtype = training_dtype(None, self.call.hardware).value
        command = [sys.executable, "-m", self.call.workers["matmul"], self.call.device, dtype]
        limit = min(MATMUL_SECONDS, self.call.seconds_left)
        if limit <= 0:
            return
        environment = processes.environment(threads=self.call.threads, caches=self.scratch / "caches" / "matmul")
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.scratch, timeout=limit, check=True)
            self.matmul_flops_per_second = json.loads(done.stdout.splitlines()[-1])["matmul_flops_per_second"]
        except (subprocess.SubprocessError, ValueError, LookupError) as error:
            self.tell(f"the matmul rate is unknown: {type(error).__name__}; the share of it that a leg reaches can't be told")

    def _answer(self, round_: Round, leg: Leg, repeat: int) -> dict[str, Any]:
        began, compiling = time.monotonic(), 0.0
        try:
            if leg.title not in self.loaded:
                self.loaded[leg.title] = self._start(round_, leg), {}  # from here on it is ended whatever happens
            worker, loading = self.loaded[leg.title]
            if not loading:
                loading = worker.ready(limit_seconds=self._limit_seconds)
                self.loaded[leg.title] = worker, loading
            if self.call.keep_loaded:
                began = time.monotonic()  # its next turn needs no loading
            told = worker.repeat(repeat, limit_seconds=self._limit_seconds)
            if self.call.keep_loaded:
                # What the first turn compiled is compiled: its warm-up but for a share that any step takes.
                compiling = max(0.0, (told.get("warm_up_seconds") or 0.0) - _usual_warm_up_seconds(told))
            return loading | told
        except WorkerError:
            if self.call.seconds_left <= 0:
                raise WorkerError("no_time", "the time budget ended while it ran") from None
            raise
        finally:
            self.took_seconds[str(round_), leg.title] = time.monotonic() - began - compiling

    @property
    def _limit_seconds(self) -> float:
        return max(0.0, min(self.call.answer_seconds, self.call.seconds_left))

    def _start(self, round_: Round, leg: Leg) -> Worker:
        self.started += 1
        folder = self.scratch / f"process-{self.started}"
        caches = self._caches(leg)
        caches.mkdir(parents=True, exist_ok=True)
        request = {
            "case": round_.case.model_dump(mode="json"),
            "leg": leg.model_dump(mode="json"),
            "model": str(self.call.models[round_.case.recipe]),
            "device": self.call.device,
            "matmul_flops_per_second": self.matmul_flops_per_second,
            "scratch": str(folder),
            "repeats": round_.case.repeats if self.call.keep_loaded else 1,
            "keep_loaded": self.call.keep_loaded,
        }
        environment = processes.environment(threads=self.call.threads, caches=caches)
        return Worker(self.call.workers[round_.case.measures], request, folder=folder, environment=environment)

    def _caches(self, leg: Leg) -> Path:
        # A leg's own, empty at the start of the call: its first process compiles, as a user's first run does, the others find it done.
        return self.scratch / "caches" / leg.title

    def _load(self) -> dict[str, Any]:
        """Between two turns, when nothing of ours works; the card's memory holds the legs that stay loaded."""
        return load.sample(self.call.hardware.gpu, seconds=self.call.sample_seconds).as_json()

    def _close(self, leg: Leg) -> None:
        if leg.title in self.loaded:
            self.loaded.pop(leg.title)[0].close()

    def _record(self, round_: Round, leg: Leg, repeat: int, told: dict[str, Any], **machine_facts: Any) -> Measurement:
        unknown = sorted(told.keys() - KNOWN)
        if unknown or told.get("outcome") not in measurement.OUTCOMES:
            wrong = f"{', '.join(unknown)}, which a measurement hasn't" if unknown else f"the outcome {told.get('outcome')!r}"
            told = {"outcome": "failed", "error": f"the worker told of {wrong}"}
        private = machine.private_folders(self.scratch, *self.call.folders)
        noticed = {"busy_ok": self.call.busy_ok, "environment": processes.SET}
        about = self.facts | {"machine": self.facts["machine"] | noticed | machine_facts}
        turn = {
            "run": self.call.run,
            "case": round_.name,
            "point": round_.point,
            "leg": leg.title,
            "kind": leg.kind,
            "repeat": repeat,
            "process": "kept" if self.call.keep_loaded else "fresh",
            "date": now(),
            "command": self.call.command,
            "versions": versions(),
            "case_values": without_folders(round_.case.model_dump(mode="json"), private),
            "setup": {},
        }
        return measurement.of(turn | about | without_folders(told, private))


def run(call: Call, rounds: Sequence[Round], *, tell: Callable[[str], None]) -> Iterator[Measurement]:
    """Every leg of every round in its turn, as it is measured; each is in its file before it is yielded.

    `tell` gets a line about each. Closing the iterator, or an exception in it, ends every process that was started.
    Raises MachineError on a busy machine, unless the call says that it may be.
    """
    before = load.sample(call.hardware.gpu, seconds=call.sample_seconds)
    if not call.busy_ok:
        load.refuse(before)
    noticed = "; ".join(load.obstacles(before)) or load.notice(before)
    if noticed:
        tell(f"not a quiet machine: {noticed}; recorded with every figure")
    facts = {"git": machine.git(), "machine": machine.facts(call.hardware, threads=call.threads) | {"load_at_start": before.as_json()}}
    total = sum(len(one.case.legs) * one.case.repeats for one in rounds)
    with tempfile.TemporaryDirectory(prefix="unsloth-ft-bench-") as folder, _bench(Bench(call, Path(folder), tell, facts)) as bench:
        if any(round_.case.measures in OF_STEPS for round_ in rounds):
            bench.measure_matmul()
        number = 0
        for round_ in rounds:
            if call.keep_loaded and call.seconds_left > 0:
                bench.load_all(round_)
            for repeat, leg in round_.turns():
                number += 1
                measured = bench.measure(round_, leg, repeat)
                measurement.write(measured, call.out)
                tell(f"[{number}/{total}] {round_} {leg.title} repeat {repeat + 1}: {outcome(measured)}")
                yield measured
            bench.close()


@contextlib.contextmanager
def _bench(bench: Bench) -> Iterator[Bench]:
    try:
        yield bench
    finally:
        bench.close()


def _usual_warm_up_seconds(told: dict[str, Any]) -> float:
    """What the warm-up steps take once everything is compiled: as the measured ones do."""
    steps = told.get("steps", ())
    measured = [step["seconds"] for step in steps if not step.get("warm_up", False)]
    return statistics.median(measured) * (len(steps) - len(measured)) if measured else 0.0


def outcome(measured: Measurement) -> str:
    """In a few words: the figure that the case is about, or what went wrong."""
    if measured.outcome != "done":
        first = measured.error.strip().splitlines()[-1:] or [""]
        return f"{measured.outcome.replace('_', ' ')}: {first[0]}".rstrip(": ")
    if measured.tokens_per_second is not None:
        return f"{measured.tokens_per_second:,.0f} tokens/s"
    if measured.longest_tokens is not None:
        return f"{measured.longest_tokens:,} tokens"
    return " ".join(f"{seconds:.2f} s" for seconds in measured.seconds) or "done"
