"""A case: what work is done, by which legs, how often. A case file holds only what differs from the defaults here."""

from __future__ import annotations

import importlib
import pkgutil
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unsloth_ft.catalog import RECIPE_ERRORS
from unsloth_ft.errors import UserError, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

KINDS = (
    "peft-naive", "peft-tuned", "unsloth-notebook", "unsloth-plan", "unsloth-flat", "unsloth-padded",
    "peft-full", "peft-lora", "peft-qlora",
)  # fmt: skip
DATA_KINDS = ("prepare-ours", "prepare-again", "prepare-datasets", "check-ours", "check-datasets")
EXPORT_KINDS = ("merge", "gguf-f16", "gguf-q8_0", "gguf-q4_k_m")
STARTUP_KINDS = ("cli-help", "cli-recipes", "cli-plan", "cli-doctor", "cli-run")
COMMAND_KINDS = (*DATA_KINDS, *EXPORT_KINDS, *STARTUP_KINDS)
FOUR_LEGS = ("peft-naive", "peft-tuned", "unsloth-notebook", "unsloth-plan")

# What a case measures -> the kinds of legs that can.
KINDS_FOR = {"training": KINDS, "context": KINDS, "data": DATA_KINDS, "export": EXPORT_KINDS, "startup": STARTUP_KINDS}

Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class Lengths(Section):
    """How long the rows are, in tokens. Log-normal with this median and 95th percentile; equal ones give rows of one length."""

    median: Count = 108
    """Of the question-and-answer rows that the speed study used (400 rows of an FAQ)."""
    p95: Count = 412
    """Same rows."""
    longest: Count = 2048
    """Longer draws are cut to this; Unsloth's notebooks train with max_seq_length 2048."""


class Leg(Section):
    """One side of a comparison. `kind` says how it trains (bench/legs.py) or what it does (bench/commands.py); the rest is for checks of
    the bench itself."""

    kind: Literal[(*KINDS, *COMMAND_KINDS)]  # type: ignore[valid-type]
    name: Annotated[str, Field(pattern=r"^([A-Za-z0-9][\w.-]*)?$")] = ""
    """How it is called in the report, and its files; empty: its kind."""
    seed: int | None = None
    """Another seed than the case's: the bench must notice."""
    rows_seed: int | None = None
    """Other rows than the case's: the bench must notice."""

    @property
    def title(self) -> str:
        return self.name or self.kind


class Sweep(Section):
    """The same case at several points: one value of the case is exchanged."""

    field: Literal["length", "r", "rows", "batch"]
    """length: every row has so many tokens; r: the adapter's rank; rows: rows in the data set, of which a training takes the first;
    batch: effective batch size."""
    values: Annotated[tuple[int, ...], Field(min_length=1)]
    gpu_values: tuple[int, ...] = ()
    """What stands in place of `values` on a GPU; empty: the same."""

    def values_on(self, device: str) -> tuple[int, ...]:
        """For cpu or cuda."""
        return self.gpu_values if device == "cuda" and self.gpu_values else self.values


class Case(Section):
    """The work, the legs and the repeats. Every value that isn't named in a case file is the one given here."""

    what: str
    """One line: the question that the case answers."""
    measures: Literal["training", "context", "data", "export", "startup"] = "training"
    """training: steps, timed; context: the longest row that trains; data, export, startup: commands, timed."""
    recipe: str = "smollm2-135m"
    """Base model and adapter; `bench run --recipe` puts another in its place."""
    legs: tuple[Leg, ...] = tuple(Leg(kind=kind) for kind in FOUR_LEGS)
    lengths: Lengths = Lengths()
    order: Literal["random", "grouped"] = "random"
    """Which rows a step has: random ones, or rows of like length (transformers' group_by_length). All legs get the same."""
    learned: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of a row's tokens that is learned, at its end (the answer)."""
    effective_batch_size: Count = 8
    """Rows a step: 2 × 4 in Unsloth's notebooks, TRL's default of 8."""
    warm_up_steps: Count = 2
    """Steps that are left out: compilation, the allocator's growth, the first touch of every page."""
    steps: Count = 10
    """Steps that are measured."""
    rows: Count | None = None
    """Rows of a command's file or of a training's data set; None: as many as the steps take."""
    repeats: Count = 3
    learning_rate: float = 2e-4
    r: Count | None = None
    """The adapter's rank; None: the recipe's."""
    load_in_4bit: bool | None = None
    """None: the recipe's."""
    same_losses: bool = True
    """Whether all legs must have one loss trajectory; False where they train different weights (full, LoRA, QLoRA)."""
    loss_band: Annotated[float, Field(gt=0)] = 0.02
    """Largest relative difference of two legs' losses at one step that rounding explains: bfloat16 has 8 bits of mantissa."""
    seed: int = 3407
    sweep: Sweep | None = None
    without_gpu: dict[str, Any] = {}
    """Fields that are others where there is no GPU: what a card does in a second takes a CPU minutes."""
    memory_cap_bytes: int | None = None
    """Device memory that a leg may have; None: all of it."""
    most_tokens: Count = 131072
    """Where the search for the longest context ends."""

    def on(self, device: str) -> Case:
        """The case for cpu or cuda."""
        changed = self.without_gpu if device == "cpu" else {}
        return Case.model_validate(dict(self) | changed | {"without_gpu": {}})

    def at(self, value: int) -> Case:
        """The case at one point of its sweep. Raises ValueError where it has none, or where the value is none of the field's."""
        if self.sweep is None:
            raise ValueError(f'"{self.what}" has no sweep')
        changed: dict[str, Any] = {
            "length": {"lengths": Lengths(median=value, p95=value, longest=value)},
            "r": {"r": value},
            "rows": {"rows": value},
            "batch": {"effective_batch_size": value},
        }[self.sweep.field]
        return Case.model_validate(dict(self) | changed | {"sweep": None})

    @model_validator(mode="after")
    def legs_that_can(self) -> Case:
        """Each with a name of its own, and of a kind that does what is measured."""
        titles = [leg.title for leg in self.legs]
        if not titles or len(set(titles)) < len(titles):
            raise ValueError(f"legs are {', '.join(titles) or 'none'}; expected one or more, each with a name of its own")
        kinds = KINDS_FOR[self.measures]
        others = [leg.title for leg in self.legs if leg.kind not in kinds]
        if others:
            raise ValueError(f"no leg for {self.measures}: {', '.join(others)}; expected legs of {', '.join(kinds)}")
        return self

    @model_validator(mode="after")
    def rows_for_all_steps(self) -> Case:
        needed = (self.warm_up_steps + self.steps) * self.effective_batch_size
        if self.measures == "training" and self.rows is not None and self.rows < needed:
            raise ValueError(f"rows is {self.rows}; its {self.warm_up_steps} + {self.steps} steps take {needed}")
        return self

    @model_validator(mode="after")
    def can_be_had_everywhere(self) -> Case:
        """At every point of its sweep, and without a GPU: found out here, not in the middle of a run."""
        if self.without_gpu:
            self.on("cpu")
        for value in (*self.sweep.values, *self.sweep.gpu_values) if self.sweep else ():
            self.at(value)
        return self

    def differences(self) -> dict[str, Any]:
        """What the case file says: the values that are not the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)


def names() -> list[str]:
    """Every case of bench/cases/, by file name with dashes."""
    from unsloth_ft.bench import cases

    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(cases.__path__))


def find(name: str) -> Case:
    """The case of that name, or of a user's own .py file with a `CASE`. Raises UserError when there is none."""
    if name.endswith(".py"):
        found = _from_file(name)
    elif name in names():
        found = importlib.import_module(f"unsloth_ft.bench.cases.{name.replace('-', '_')}").CASE
    else:
        raise UserError(f'no case "{name}".{nearest(name, names())} `unsloth-ft bench cases` lists all.')
    if not isinstance(found, Case):
        raise UserError(f"{name}: CASE is {type(found).__name__}; expected an unsloth_ft.bench.case.Case.")
    return found


def _from_file(name: str) -> object:
    """The CASE of a user's file, which is a program: whatever it raises is its author's to mend."""
    if not Path(name).is_file():
        raise UserError(f"{name}: no such file; a case is a .py file with a CASE, or one of {', '.join(names())}.")
    try:
        return runpy.run_path(name).get("CASE")
    except ValidationError as error:
        raise UserError("\n".join(f"{name}: {_sentence(problem)}" for problem in error.errors())) from None
    except (*RECIPE_ERRORS, SystemExit) as error:
        raise UserError(f"{name}: {type(error).__name__}: {error}") from error


def _sentence(problem: ErrorDetails) -> str:
    """`stepz: extra inputs are not permitted.`; what is wrong with the case as a whole has no field."""
    message = problem["msg"].removeprefix("Value error, ")
    return ": ".join([*([".".join(map(str, problem["loc"]))] if problem["loc"] else []), f"{message[:1].lower()}{message[1:]}."])
