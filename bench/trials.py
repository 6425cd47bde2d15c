"""Measurements as they belong together: a trial is one run's case at one point, with every leg's repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from unsloth_ft.bench.case import Case
from unsloth_ft.bench.measurement import Measurement
from unsloth_ft.hardware import GIB

POINT_WORDS = {
    "length": "{:,} tokens a row",
    "r": "r = {:,}",
    "rows": "{:,} rows",
    "batch": "{:,} rows a step",
}
# Of a case, what doesn't change the work: its question, who does it, how often, and how its losses are judged.
NOT_WORK = ("what", "legs", "repeats", "same_losses", "loss_band")
MEMORY_CAP = "memory_cap_mib"  # a trial's name for a cap, whether the measurement says it in GiB or in MiB


@dataclass(frozen=True)
class LegResult:
    """All repeats of one leg in a trial, by repeat; at least one."""

    name: str
    kind: str
    measurements: tuple[Measurement, ...]

    @property
    def done(self) -> tuple[Measurement, ...]:
        return tuple(one for one in self.measurements if one.outcome == "done")

    @property
    def not_done(self) -> tuple[Measurement, ...]:
        return tuple(one for one in self.measurements if one.outcome != "done")

    @property
    def counted(self) -> tuple[Measurement, ...]:
        """Of those that are done the ones whose kernels were loaded before; all of them where there is no such one."""
        return tuple(one for one in self.done if not loads_kernels(one)) or self.done

    @property
    def only_loading(self) -> bool:
        """Whether all that counts loaded kernels while it was measured."""
        return bool(self.done) and all(map(loads_kernels, self.done))

    def values(self, read: Callable[[Measurement], float | None], *, uncounted: bool = False, zero: bool = False) -> dict[int, float]:
        """Repeat -> the figure, of the counted ones that have it. Below 0 there is none; nor is 0, unless it is asked for: no ratio can be
        made of it."""
        figures = {one.repeat: read(one) for one in (self.done if uncounted else self.counted)}
        return {repeat: value for repeat, value in figures.items() if value is not None and (value > 0 or zero and value == 0)}


@dataclass(frozen=True)
class Trial:
    """`point` is the sweep's value and the memory cap, where there are such. Legs stand in the case's order."""

    run: str
    name: str
    point: tuple[tuple[str, int], ...]
    case: Case
    legs: tuple[LegResult, ...]
    where: str = ""
    """The recipe or machine, where trials stand beside each other that differ in it."""

    @property
    def called(self) -> str:
        """Without the point."""
        return f"{self.name} ({self.where})" if self.where else self.name

    @property
    def point_words(self) -> str:
        return ", ".join(_point_words(field, value) for field, value in self.point)

    @property
    def title(self) -> str:
        return f"{self.called}, {self.point_words}" if self.point else self.called

    @property
    def example(self) -> Measurement:
        """One that stands for what all have in common: machine, versions, date, command."""
        return self.legs[0].measurements[0]

    @property
    def question(self) -> tuple[Any, ...]:
        """What work is asked for, of which weights, on which machine: of two trials with the same one, the newer answers it."""
        works = [one.work.weights for leg in self.legs for one in leg.measurements if one.work is not None]
        asked = self.case.model_dump_json(exclude=set(NOT_WORK))
        return machine(self.example), self.name, self.point, asked, works[0] if works else None


def trials(measurements: Iterable[Measurement]) -> list[Trial]:
    """All trials, ordered by run, case and point."""
    ordered = sorted(measurements, key=lambda one: (*_trial_of(one), one.repeat))
    return [_trial(list(group)) for _, group in groupby(ordered, key=_trial_of)]


def newest(found: Iterable[Trial]) -> list[Trial]:
    """Of all trials that ask the same on the same machine only the newest, by its date, then by its run's name."""
    latest: dict[tuple[Any, ...], Trial] = {}
    for trial in sorted(found, key=lambda one: (one.example.date, one.run)):
        latest[trial.question] = trial
    return sorted(latest.values(), key=lambda one: (machine(one.example), one.name, one.case.recipe, one.point))


def told_apart(found: Sequence[Trial]) -> list[Trial]:
    """The same, with machine and recipe in their titles where there are several."""
    machines = {machine(trial.example) for trial in found}
    recipes = {trial.case.recipe for trial in found}

    def where(trial: Trial) -> str:
        told = trial.example.machine
        place = (told["gpu"] or {"name": told["cpu"]})["name"]
        return ", ".join([trial.case.recipe] * (len(recipes) > 1) + [place] * (len(machines) > 1))

    return [replace(trial, where=where(trial)) for trial in found]


def loads_kernels(one: Measurement) -> bool:
    """Whether its measured steps loaded the kernels of each new shape: a process's first on a GPU, with no pass before it."""
    return one.machine["device"] == "cuda" and one.machine.get("caches") == "cold" and bool(one.steps) and one.first_pass_seconds is None


def outcome_words(one: Measurement) -> str:
    """`out of memory: CUDA out of memory. …`, with the last line of what was said."""
    said = one.error.strip().splitlines()[-1:]
    return ": ".join([one.outcome.replace("_", " "), *said])


def case_of(one: Measurement) -> Case:
    """The case as it was measured. Raises UserError where another version of this program wrote it."""
    from pydantic import ValidationError

    from unsloth_ft.errors import UserError

    try:
        return Case.model_validate(one.case_values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{one.run}/{one.case}: its case can't be read ({where}: {first['msg']}); it was written by another version."
        ) from None


def machine(measurement: Measurement) -> str:
    """The machine in words; equal words are an equal machine. What changes by the second (load, clocks) is not in them."""
    told = measurement.machine
    card = [f"{told['gpu']['name']} with {told['gpu']['memory_bytes'] / GIB:.0f} GiB"] if told["gpu"] else []
    cores = f"{told['threads']} of {told['cpu_count']} cores" if told["threads"] != told["cpu_count"] else f"{told['cpu_count']} cores"
    return ", ".join([*card, f"{told['cpu']} ({cores}, {told['memory_bytes'] / GIB:.0f} GiB)"])


def _trial_of(one: Measurement) -> tuple[str, str, tuple[tuple[str, int], ...]]:
    caps = {"memory_cap_gib": 1024, MEMORY_CAP: 1}
    point = [(MEMORY_CAP, value * caps[name]) if name in caps else (name, value) for name, value in one.point.items()]
    return one.run, one.case, tuple(sorted(point, key=lambda each: (each[0] == MEMORY_CAP, each)))


def _point_words(field: str, value: int) -> str:
    if field == MEMORY_CAP:
        return f"{value // 1024:,} GiB" if value % 1024 == 0 else f"{value:,} MiB"
    return POINT_WORDS.get(field, field + " {:,}").format(value)


def _trial(group: list[Measurement]) -> Trial:
    run, name, point = _trial_of(group[0])
    case = case_of(group[0])
    legs: dict[str, list[Measurement]] = {leg.title: [] for leg in case.legs}
    for one in group:
        legs.setdefault(one.leg, []).append(one)
    return Trial(run, name, point, case, tuple(LegResult(leg, found[0].kind, tuple(found)) for leg, found in legs.items() if found))
