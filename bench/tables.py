"""Trials as tables of words: what the Markdown report, the page and the README show alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from unsloth_ft.bench import figures
from unsloth_ft.bench.figures import Figure, headline_of
from unsloth_ft.bench.load import NOTICED_CPU_SHARE
from unsloth_ft.bench.measurement import Measurement
from unsloth_ft.bench.standing import baseline, is_check
from unsloth_ft.bench.trials import LegResult, Trial, machine, outcome_words
from unsloth_ft.bench.validity import Judgement, judge
from unsloth_ft.report.wording import count, moment, plain

BESIDES = (
    figures.STEP,
    figures.PADDING,
    figures.IMPORT,
    figures.LOAD,
    figures.COLD_WARM_UP,
    figures.WARM_UP,
    figures.MATMUL_SHARE,
    figures.ENERGY,
    figures.ADAPTER,
)
MEMORY = (figures.RESERVED, figures.ALLOCATED, figures.HOST)
INVALID = "INVALID"


@dataclass(frozen=True)
class Table:
    """`invalid` holds the numbers of the rows that nobody should read without their reasons."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    invalid: frozenset[int] = frozenset()


def kind_of(trial: Trial) -> str:
    """The section of a report in which it stands."""
    if is_check(trial):
        return "check"
    if trial.case.measures == "context":
        return "context"
    return "sweep" if trial.point else trial.case.measures


def leg_table(trial: Trial, judgement: Judgement) -> Table:
    """A row a leg: the case's figure and memory, each against the baseline."""
    base = baseline(trial, judgement)
    shown = shown_figures([trial])
    columns = [name for figure in shown for name in (figure.title, *([f"against {base.name}"] if base else []))]
    rows = [(_leg_cell(leg, judgement), *_cells(leg, shown, base, judgement)) for leg in trial.legs]
    invalid = frozenset(at for at, leg in enumerate(trial.legs) if not judgement.valid(leg.name))
    return Table(("leg", *columns), tuple(rows), invalid)


def shown_figures(points: Sequence[Trial]) -> list[Figure]:
    """The case's figure, and memory where it is one; how much the longest row needs is what was allowed."""
    legs = _legs(points)
    headline = headline_of(points[0].case.measures, next((leg for leg in legs if leg.done), None))
    return [headline, *(figure for figure in MEMORY if points[0].case.measures != "context" and _any(figure, legs))]


def besides_table(trial: Trial, judgement: Judgement) -> Table | None:
    """A row a leg: everything else that was measured of its training; figures that no leg has are left out."""
    if trial.case.measures != "training":
        return None
    shown = [figure for figure in BESIDES if _any(figure, trial.legs)]
    legs = [leg for leg in trial.legs if leg.done]
    if not shown or not legs:
        return None
    rows = [(_leg_cell(leg, judgement), *(figure.told_of(leg) for figure in shown)) for leg in legs]
    return Table(
        ("leg", *(figure.title for figure in shown)),
        tuple(rows),
        frozenset(at for at, leg in enumerate(legs) if not judgement.valid(leg.name)),
    )


def time_of(points: Sequence[Trial]) -> Figure:
    """What a sweep's points are timed by: a step; where nothing is trained, all of it."""
    return figures.ALL if points[0].case.measures != "training" else figures.STEP


def point_figures(points: Sequence[Trial]) -> list[Figure]:
    """What a sweep's tables show: the case's figure, memory, and time; of a context case the longest row alone."""
    shown = shown_figures(points)
    timed = time_of(points)
    return shown if points[0].case.measures == "context" or timed in shown or not _any(timed, _legs(points)) else [*shown, timed]


def point_table(points: Sequence[Trial], figure: Figure) -> Table:
    """A row a point of a sweep or a memory cap, a column a leg."""
    names = list(dict.fromkeys(leg.name for trial in points for leg in trial.legs))
    rows = []
    for trial in points:
        legs, judgement = {leg.name: leg for leg in trial.legs}, judge(trial)
        rows.append((trial.point_words or "all memory", *(_point_cell(legs.get(name), figure, judgement) for name in names)))
    return Table(("", *names), tuple(rows))


def setup_table(trial: Trial) -> Table | None:
    """A row a setting, a column a leg: how each trains, with the reason. The plan, which holds all of ours, stays in the JSON."""
    setups = {leg.name: next((one.setup for one in leg.measurements if one.setup), {}) for leg in trial.legs}
    names = list(dict.fromkeys(name for setup in setups.values() for name in setup if name != "plan"))
    if not names:
        return None
    rows = [(name, *(_decision(setup.get(name)) for setup in setups.values())) for name in names]
    return Table(("setting", *setups), tuple(rows))


def problems(trial: Trial, judgement: Judgement) -> list[str]:
    """Every leg that is invalid or didn't finish, with its reason."""
    found = []
    for leg in trial.legs:
        found += [f"{leg.name} is {INVALID}: {reason}" for reason in judgement.legs[leg.name].reasons]
        found += [f"{leg.name}, {repeats}: {text}" for repeats, text in _outcomes(leg)]
    return found


def losses_sentence(trial: Trial, judgement: Judgement) -> str:
    """The proof that all did the same: how far apart the trajectories are, between legs and between repeats."""
    gaps = [(name, found.gap) for name, found in judgement.legs.items() if found.gap and name != judgement.reference and not found.reasons]
    repeats = [found.repeats for found in judgement.legs.values() if found.repeats and not found.reasons]
    said = []
    if gaps:
        name, worst = max(gaps, key=lambda pair: pair[1].relative)
        which = "losses" if trial.case.same_losses else "first losses"
        said.append(
            f"All valid legs have {judgement.reference}'s {which} to the bit."
            if worst.relative == 0
            else f"The valid legs' {which} are within {worst.relative:.2g} of {judgement.reference}'s, relative; the band is"
            f" {trial.case.loss_band:.2g} (farthest: {name}, step {worst.step}, {worst.other:.6g} against {worst.one:.6g})."
        )
    if repeats:
        apart = max(gap.relative for gap in repeats)
        said.append("Repeats of a leg have the same losses to the bit." if apart == 0 else f"Repeats of a leg are within {apart:.2g}.")
    return " ".join(said)


def notes(trial: Trial, judgement: Judgement) -> list[str]:
    """What is said beside the figures: other versions, exchanged values, a machine that wasn't quiet, results of changed code."""
    told = {name: "; ".join(agreement.notes) for name, agreement in judgement.legs.items() if agreement.notes}
    found = [f"{name}: {'; '.join(agreement.own)}." for name, agreement in judgement.legs.items() if agreement.own]
    found += [f"{name}, otherwise than {judgement.reference}: {text}." for name, text in told.items()]
    measured = [one for leg in trial.legs for one in leg.measurements]
    share = max((_others_share(one) for one in measured), default=0.0)
    if share > NOTICED_CPU_SHARE:
        found.append(f"Not a quiet machine: other processes used up to {share:.0%} of the cores around the repeats.")
    if any(one.git.get("changed") for one in measured):
        found.append("The code was changed after the commit that is named.")
    if any(one.process == "kept" for one in measured):
        found.append(
            "Each leg's process stayed loaded for all repeats. They were loaded side by side, so the seconds of imports and model load"
            " are no leg's own."
        )
    return found


def facts(trial: Trial) -> list[tuple[str, str]]:
    """Where a trial's figures come from."""
    one, repeats = trial.example, max(len(leg.measurements) for leg in trial.legs)
    commit = one.git.get("commit") or "unknown"
    return [
        ("recipe", trial.case.recipe),
        ("machine", machine(one)),
        ("run", trial.run),
        ("repeats", count(repeats, "interleaved repeat") if repeats > 1 else "1"),
        ("date", moment(one.date)),
        ("command", " ".join(one.command)),
        ("git commit", commit),
    ]


def _cells(leg: LegResult, shown: Iterable[Figure], base: LegResult | None, judgement: Judgement) -> list[str]:
    cells = []
    for figure in shown:
        cells.append(figure.told_of(leg) if leg.done else _outcome_word(leg))
        cells += [_against(leg, figure, base, judgement)] if base else []
    return cells


def _against(leg: LegResult, figure: Figure, base: LegResult, judgement: Judgement) -> str:
    if not judgement.valid(leg.name):
        return INVALID
    if not leg.done:
        return ""
    return "1" if leg is base else figure.verdict(figure.ratio(leg, base))


def _leg_cell(leg: LegResult, judgement: Judgement) -> str:
    return leg.name if judgement.valid(leg.name) else f"{leg.name} ({INVALID})"


def _point_cell(leg: LegResult | None, figure: Figure, judgement: Judgement) -> str:
    if leg is None:
        return "not run"
    text = figure.told_of(leg) if leg.done else _outcome_word(leg)
    return text if judgement.valid(leg.name) else f"{text} ({INVALID})"


def _decision(told: Any) -> str:
    """`8: TRL's default`; an entry of another shape as it is."""
    if told is None:
        return ""
    return f"{plain(told['value'])}: {told['reason']}" if isinstance(told, dict) and {"value", "reason"} <= told.keys() else plain(told)


def _outcome_word(leg: LegResult) -> str:
    return leg.not_done[0].outcome.replace("_", " ")


def _outcomes(leg: LegResult) -> list[tuple[str, str]]:
    """(repeats, what became of them) of those that didn't finish; equal ones together. Repeats are counted from 1."""
    told: dict[str, list[int]] = {}
    for one in leg.not_done:
        told.setdefault(outcome_words(one), []).append(one.repeat + 1)
    return [(f"repeat {', '.join(map(str, numbers))}", text) for text, numbers in told.items()]


def _legs(points: Sequence[Trial]) -> list[LegResult]:
    return [leg for trial in points for leg in trial.legs]


def _any(figure: Figure, legs: Iterable[LegResult]) -> bool:
    return any(figure.values(leg) for leg in legs)


def _others_share(one: Measurement) -> float:
    """Of the cores, used by others just before and after; 0 where nothing was recorded."""
    samples = [one.machine.get(name) or {} for name in ("load_before", "load_after")]
    return max((sample.get("cpu_share") or 0.0 for sample in samples), default=0.0)
