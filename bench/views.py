"""Trials as what plots draw: bars, strips of raw samples, loss trajectories, curves over a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from unsloth_ft.bench.case import KINDS
from unsloth_ft.bench.figures import Figure
from unsloth_ft.bench.plots import Bar, Curve, Strip
from unsloth_ft.bench.trials import MEMORY_CAP, LegResult, Trial
from unsloth_ft.bench.validity import Judgement, judge

Trajectory = tuple[str, int, tuple[float, ...]]


def leg_numbers(trials: Sequence[Trial]) -> dict[str, int]:
    """Leg -> its number on the page: a kind's own; other names and second legs of a kind come after those."""
    numbers: dict[str, int] = {}
    for leg in (leg for trial in trials for leg in trial.legs):
        own = KINDS.index(leg.name) if leg.name in KINDS else len(KINDS) + len(numbers)
        numbers.setdefault(leg.name, own)
    return numbers


def bars(trial: Trial, figure: Figure, judgement: Judgement, numbers: dict[str, int]) -> list[Bar]:
    return [_bar(leg, figure, judgement, numbers[leg.name]) for leg in trial.legs]


def strips(trial: Trial, judgement: Judgement, numbers: dict[str, int]) -> list[Strip]:
    """Measured steps, or a command's runs; legs without any are left out."""
    rows = []
    for leg in trial.legs:
        repeats = tuple(tuple(step.seconds for step in one.steps if not step.warm_up) or one.seconds for one in leg.done)
        if any(repeats):
            rows.append(Strip(leg.name, numbers[leg.name], repeats, not judgement.valid(leg.name)))
    return rows


def trajectories(trial: Trial, numbers: dict[str, int]) -> list[Trajectory]:
    """The losses of each leg's first finished repeat; invalid legs too, since there the reader sees why."""
    return [
        (leg.name, numbers[leg.name], tuple(step.loss for step in leg.done[0].steps))
        for leg in trial.legs
        if leg.done and leg.done[0].steps
    ]


def curves(points: Sequence[Trial], figure: Figure, numbers: dict[str, int], *, divisor: float = 1.0) -> list[Curve]:
    """A curve a leg over the sweep's first field, in units of `divisor`; a point that a leg did not finish is marked."""
    found: dict[str, list[tuple[float, LegResult, bool]]] = {}
    for trial in points:
        judgement = judge(trial)
        for leg in trial.legs:
            found.setdefault(leg.name, []).append((_at(trial), leg, judgement.valid(leg.name)))
    rows = []
    for name, legs in found.items():
        known = [(at, figure.spread(leg)) for at, leg, _ in legs]
        values = tuple((at, *(value / divisor for value in (told.median, told.least, told.largest))) for at, told in known if told)
        failed = tuple(at for at, leg, _ in legs if not leg.done)
        rows.append(Curve(name, numbers[name], values, failed, not all(valid for *_, valid in legs)))
    return rows


def _at(trial: Trial) -> float:
    """Where the trial stands on its curve; a memory cap in GiB."""
    field, value = trial.point[0]
    return value / 1024 if field == MEMORY_CAP else float(value)


def _bar(leg: LegResult, figure: Figure, judgement: Judgement, number: int) -> Bar:
    found, valid = figure.spread(leg), judgement.valid(leg.name)
    name = leg.name if valid else f"{leg.name} (INVALID)"
    if found is None:
        return Bar(name, number, leg.not_done[0].outcome.replace("_", " ") if not leg.done else "not measured", invalid=not valid)
    return Bar(name, number, figure.told_of(leg), found.median, found.least, found.largest, not valid)
