"""One leg, once: what was done, on what, and every raw sample. Written as one JSON file, and never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from unsloth_ft.errors import UserError
from unsloth_ft.record import write_atomically

FORMAT = 1
Outcome = Literal["done", "out_of_memory", "failed", "no_time"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)
CHECKED = ConfigDict(extra="forbid", strict=True)  # of what is read from a file; who makes a value in code is not checked


def measurable(value: float) -> float:
    """Raises ValueError for what no instrument gives: NaN, infinity, and sizes whose ratios leave float64."""
    if value and not 1e-30 <= abs(value) <= 1e30:
        raise ValueError("no number that can be measured")
    return value


def read_of_machine(value: dict[str, Any]) -> dict[str, Any]:
    """The whole record. Raises ValueError where that is missing which reports read of it."""
    Machine.model_validate(value)
    return value


Number = Annotated[float, AfterValidator(measurable)]
Whole = Annotated[int, AfterValidator(measurable)]
Seconds = Annotated[Number, Field(ge=0)]
Natural = Annotated[Whole, Field(ge=0)]
Positive = Annotated[Whole, Field(ge=1)]


class Load(BaseModel):
    model_config = ConfigDict(strict=True)

    cpu_share: Number | None = None


class Gpu(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    memory_bytes: Whole


class Machine(BaseModel):
    """What reports read of a machine. The record has more, for people."""

    model_config = ConfigDict(strict=True)

    device: Literal["cpu", "cuda"]
    cpu: str
    cpu_count: Whole
    threads: Whole
    memory_bytes: Whole
    gpu: Gpu | None
    load_before: Load | None = None
    load_after: Load | None = None


@dataclass(frozen=True)
class Work:
    """What has to be equal for two legs to be compared. Hashes are sha256."""

    __pydantic_config__ = CHECKED

    weights: str
    rows: str
    """Of every row's ids and labels, in the order in which they are trained."""
    tokens: Natural
    """Real ones of the measured steps, without padding."""
    learned_tokens: Natural
    steps: Whole
    effective_batch_size: Whole
    seed: Whole
    r: Whole
    load_in_4bit: bool
    learning_rate: Number


@dataclass(frozen=True)
class Step:
    """One optimizer step. Natural are real ones; `computed_tokens` counts the padding that went through the model too."""

    __pydantic_config__ = CHECKED

    seconds: Seconds
    tokens: Natural
    computed_tokens: Natural
    loss: float
    """Mean over the step's learned tokens, in nats."""
    warm_up: bool = False


@dataclass(frozen=True)
class Try:
    """One row length of a search for the longest; `seconds` of the whole try, `peaks` as in Measurement, of those that fitted."""

    __pydantic_config__ = CHECKED

    tokens: Natural
    fitted: bool
    seconds: Seconds
    peaks: dict[str, Whole] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """What one process measured. Bytes are differences to the value before the model was loaded; None where nothing tells."""

    __pydantic_config__ = CHECKED

    run: str
    """Names the call of `bench run` that it belongs to."""
    case: str
    point: dict[str, Positive]
    """The sweep's value, as {"length": 512}; empty without a sweep."""
    leg: str
    kind: str
    repeat: Natural
    process: str
    """fresh: a process of its own; kept: a leg's process stays loaded, and the legs take turns in it."""
    date: str
    command: list[str]
    git: dict[str, Any]
    machine: Annotated[dict[str, Any], AfterValidator(read_of_machine)]
    versions: dict[str, str]
    case_values: dict[str, Any]
    setup: dict[str, Any]
    """How the leg trains, each with its reason."""
    outcome: Outcome
    error: str = ""
    work: Work | None = None
    steps: tuple[Step, ...] = ()
    import_seconds: Seconds | None = None
    load_seconds: Seconds | None = None
    first_pass_seconds: Seconds | None = None
    """Of training all rows once before, where that was done: on a GPU, each new shape loads its kernels."""
    warm_up_seconds: Seconds | None = None
    """First steps in all, and the first pass, compilation included."""
    tokens_per_second: Number | None = None
    peak_device_allocated_bytes: Whole | None = None
    peak_device_reserved_bytes: Whole | None = None
    peak_host_bytes: Whole | None = None
    energy_joules: Number | None = None
    adapter_bytes: Whole | None = None
    model_flops: Number | None = None
    """Of the measured steps; unsloth_ft/flops.py has the formula."""
    matmul_flops_per_second: Number | None = None
    """What this machine's matrix product reached just before, in the training's dtype."""
    longest_tokens: Natural | None = None
    """The longest row that trained (measures = context)."""
    tries: tuple[Try, ...] = ()
    """Every length of that search, in the order in which it was tried."""
    seconds: tuple[Seconds, ...] = ()
    """Wall seconds of a command, each time it ran (measures = data, export, startup)."""
    amount: dict[str, Number] = field(default_factory=dict)
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


FILE: TypeAdapter[Measurement] = TypeAdapter(Measurement)


def path_of(measurement: Measurement, folder: Path) -> Path:
    """<folder>/<run>/<case>/[point/]<leg>-<repeat>.json"""
    point = [f"{name}-{value}" for name, value in measurement.point.items()]
    return Path(folder, measurement.run, measurement.case, *point, f"{measurement.leg}-{measurement.repeat}.json")


def write(measurement: Measurement, folder: Path) -> Path:
    """Whole or not there. Raises MachineError where it can't be written."""
    path = path_of(measurement, folder)
    write_atomically(path, json.dumps(measurement.as_json(), indent=1) + "\n")
    return path


def read(path: Path) -> Measurement:
    """Raises UserError for a file that is none of ours, or has values that no measurement has."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: can't be read as a measurement ({error}).") from None
    if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
        raise UserError(f"{path}: not a measurement of format {FORMAT}; expected a file that `bench run` wrote.")
    try:
        # A lone surrogate (half a character in an error message) is none of UTF-8's.
        return FILE.validate_json(json.dumps(told, ensure_ascii=False).encode("utf-8", "replace"))
    except ValidationError as error:
        first, more = error.errors()[0], error.error_count() - 1
        where, others = ".".join(map(str, first["loc"])) or "all of it", f" (and {more} more)" if more else ""
        raise UserError(f"{path}: {where}: {first['msg']}{others}; expected a file that this version's `bench run` wrote.") from None


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
    """Every measurement under the folder, ordered by path. Files of other kinds beside them are left out.

    Raises UserError where there is no such folder, or where one of the files can't be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no measurements; expected a folder that `unsloth-ft bench run` wrote.")
    return [read(path) for path in sorted(folder.rglob("*.json")) if path.is_file() and _begins_as_ours(path)]


def _begins_as_ours(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return f'"format": {FORMAT}'.encode() in stream.read(100)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}).") from None
