"""One leg, once: what was done, on what, and every raw sample. Written as one JSON file, and never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from unsloth_ft.errors import UserError
from unsloth_ft.record import write_atomically

FORMAT = 1
OUTCOMES = ("done", "out_of_memory", "failed", "no_time")


@dataclass(frozen=True)
class Work:
    """What has to be equal for two legs to be compared. Hashes are sha256."""

    weights: str
    rows: str
    """Of every row's ids and labels, in the order in which they are trained."""
    tokens: int
    """Real ones of the measured steps, without padding."""
    learned_tokens: int
    steps: int
    effective_batch_size: int
    seed: int
    r: int
    load_in_4bit: bool
    learning_rate: float


@dataclass(frozen=True)
class Step:
    """One optimizer step. Tokens are real ones; `computed_tokens` counts the padding that went through the model too."""

    seconds: float
    tokens: int
    computed_tokens: int
    loss: float
    """Mean over the step's learned tokens, in nats."""
    warm_up: bool = False


@dataclass(frozen=True)
class Try:
    """One row length of a search for the longest; `peaks` as in Measurement, of those that fitted."""

    tokens: int
    fitted: bool
    seconds: float
    peaks: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """What one process measured. Bytes are differences to the value before the model was loaded; None where nothing tells."""

    run: str
    """Names the call of `bench run` that it belongs to."""
    case: str
    point: dict[str, int]
    """The sweep's value, as {"length": 512}; empty without a sweep."""
    leg: str
    kind: str
    repeat: int
    process: str
    """fresh: a process of its own; kept: a leg's process stays loaded, and the legs take turns in it."""
    date: str
    command: list[str]
    git: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    case_values: dict[str, Any]
    setup: dict[str, Any]
    """How the leg trains, each with its reason."""
    outcome: str
    error: str = ""
    work: Work | None = None
    steps: tuple[Step, ...] = ()
    import_seconds: float | None = None
    load_seconds: float | None = None
    first_pass_seconds: float | None = None
    """Of training all rows once before, where that was done: on a GPU, each new shape loads its kernels."""
    warm_up_seconds: float | None = None
    """First steps in all, and the first pass, compilation included."""
    tokens_per_second: float | None = None
    peak_device_allocated_bytes: int | None = None
    peak_device_reserved_bytes: int | None = None
    peak_host_bytes: int | None = None
    energy_joules: float | None = None
    adapter_bytes: int | None = None
    model_flops: float | None = None
    """Of the measured steps; bench/flops.py has the formula."""
    matmul_flops_per_second: float | None = None
    """What this machine's matrix product reached just before, in the training's dtype."""
    longest_tokens: int | None = None
    """The longest row that trained (measures = context)."""
    tries: tuple[Try, ...] = ()
    """Every length of that search, in the order in which it was tried."""
    seconds: tuple[float, ...] = ()
    """Wall seconds of a command, each time it ran (measures = data, export, startup)."""
    amount: dict[str, float] = field(default_factory=dict)
    """What the command worked on, as {"rows": 10000} or {"bytes": …}, and figures that it printed."""

    @property
    def model_flops_utilisation(self) -> float | None:
        """Share of the measured matmul rate that the step's necessary operations amount to."""
        measured = sum(step.seconds for step in self.steps if not step.warm_up)
        if not (self.model_flops and self.matmul_flops_per_second and measured):
            return None
        return self.model_flops / measured / self.matmul_flops_per_second

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


def path_of(measurement: Measurement, folder: Path) -> Path:
    """<folder>/<run>/<case>/[point/]<leg>-<repeat>.json"""
    point = [f"{name}-{value}" for name, value in measurement.point.items()]
    return Path(folder, measurement.run, measurement.case, *point, f"{measurement.leg}-{measurement.repeat}.json")


def write(measurement: Measurement, folder: Path) -> Path:
    """Whole or not there."""
    path = path_of(measurement, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(measurement.as_json(), indent=1) + "\n")
    return path


def read(path: Path) -> Measurement:
    """Raises UserError for a file that is none of ours."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read as a measurement ({error}).") from None
    if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
        raise UserError(f"{path}: not a measurement of format {FORMAT}; expected a file that `bench run` wrote.")
    unknown = told.keys() - {one.name for one in fields(Measurement)}
    if unknown:
        raise UserError(f"{path}: unknown fields {', '.join(sorted(unknown))}; it was written by another version.")
    return of(told)


def of(values: Mapping[str, Any]) -> Measurement:
    """The measurement of plain values, as JSON has them."""
    nested = {
        "work": Work(**values["work"]) if values.get("work") else None,
        "steps": tuple(Step(**step) for step in values.get("steps", ())),
        "tries": tuple(Try(**one) for one in values.get("tries", ())),
        "seconds": tuple(values.get("seconds", ())),
    }
    return Measurement(**{**values, **nested})


def read_all(folder: Path) -> list[Measurement]:
    """Every measurement under the folder, ordered by path. Files of other kinds beside them are left out."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        text = path.read_text(encoding="utf-8")
        if f'"format": {FORMAT}' in text[:100]:
            found.append(read(path))
    return found
