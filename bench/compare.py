"""Two sets of results beside each other: a rerun and its original, or two legs. Unequal work is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from unsloth_ft.bench import validity
from unsloth_ft.bench.figures import Figure, headline_of, memory_of
from unsloth_ft.bench.measurement import read_all
from unsloth_ft.bench.statistics import Ratio, Spread, unpaired
from unsloth_ft.bench.trials import LegResult, Trial, machine, newest, outcome_words, trials
from unsloth_ft.errors import UserError

RESULTS = Path("bench/results")
MOST_REASONS = 10  # of all that are named in a message


@dataclass(frozen=True)
class Side:
    """What one argument of `compare` names: a folder's newest trials, or one leg of them."""

    name: str
    trials: tuple[Trial, ...]
    leg: str = ""


@dataclass(frozen=True)
class Row:
    """One figure of one leg on both sides. `within`: the other is inside the one's spread, or no different; None for two legs."""

    case: str
    leg: str
    figure: Figure
    one: Spread
    other: Spread
    ratio: Ratio | None
    within: bool | None


@dataclass(frozen=True)
class Comparison:
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """What is not equal, but no reason to refuse: machines, versions, legs that only one side has or that didn't finish."""

    @property
    def rerun(self) -> tuple[int, int]:
        """(figures inside the spread, figures that are a leg's own once more)"""
        found = [row.within for row in self.rows if row.within is not None]
        return sum(found), len(found)


def side(text: str, results: Path = RESULTS) -> Side:
    """`RUN`, a folder, or either with `:LEG`. Raises UserError where there is none, or where it has no measurement."""
    path, leg = _split(text, results)
    found = newest(trials(read_all(path)))
    if not found:
        raise UserError(f"{text}: no measurements; expected a folder that `unsloth-ft bench run` wrote.")
    known = sorted({one.name for trial in found for one in trial.legs})
    if leg and leg not in known:
        raise UserError(f'{text}: no leg "{leg}"; it has {", ".join(known)}.')
    return Side(text, tuple(_only(trial, leg) for trial in found if not leg or any(one.name == leg for one in trial.legs)), leg)


def compare(one: Side, other: Side) -> Comparison:
    """Every case and leg that both sides have. Raises UserError where their work differs, with all differences."""
    rows: list[Row] = []
    notes: list[str] = []
    refused: list[str] = []
    for first, second in _common(one, other):
        for ours, theirs in _legs(first, second, same_name=not (one.leg and other.leg)):
            where = f"{first.title}, {_called(ours, theirs)}"
            unfinished = [
                f"{where}: {side.name}: {outcome_words(leg.not_done[0])}" for side, leg in ((one, ours), (other, theirs)) if not leg.done
            ]
            if unfinished:
                notes += unfinished
                continue
            refused += [f"{where}: {reason}" for reason in _reasons(ours, theirs, first)]
            notes += _notes(ours, theirs, first)
            rows += _rows(first, second, ours, theirs)
    if refused:
        raise UserError(_refusal(one, other, refused))
    if not rows and not notes:
        raise UserError(f"{one.name} and {other.name} have no case and leg in common. {_has(one)}. {_has(other)}.")
    return Comparison(tuple(rows), tuple(dict.fromkeys([*notes, *_missing(one, other), *_missing(other, one)])))


def _split(text: str, results: Path) -> tuple[Path, str]:
    for name, leg in ((text, ""), text.rpartition(":")[::2]):
        for path in (Path(name), results / name):
            if name and path.is_dir():
                return path, leg
    raise UserError(f"{text}: no such folder, and no run in {results}; expected RUN, a folder, or one of them with :LEG.")


def _only(trial: Trial, leg: str) -> Trial:
    return replace(trial, legs=tuple(one for one in trial.legs if one.name == leg)) if leg else trial


def _common(one: Side, other: Side) -> Iterator[tuple[Trial, Trial]]:
    """Trials that ask the same; where both sides have one of the same machine, those alone."""
    pairs = [(first, second) for first in one.trials for second in other.trials if _key(first) == _key(second)]
    at_home = {_key(first) for first, second in pairs if machine(first.example) == machine(second.example)}
    for first, second in pairs:
        if _key(first) not in at_home or machine(first.example) == machine(second.example):
            yield first, second


def _key(trial: Trial) -> tuple[object, ...]:
    return trial.name, trial.point, trial.case.recipe


def _legs(first: Trial, second: Trial, *, same_name: bool) -> Iterator[tuple[LegResult, LegResult]]:
    for ours in first.legs:
        for theirs in second.legs:
            if not same_name or ours.name == theirs.name:
                yield ours, theirs


def _called(ours: LegResult, theirs: LegResult) -> str:
    return ours.name if ours.name == theirs.name else f"{theirs.name} against {ours.name}"


def _reasons(ours: LegResult, theirs: LegResult, trial: Trial) -> list[str]:
    alone = [reason for leg in (ours, theirs) for reason in validity.inside(leg, trial.case).reasons]
    return list(dict.fromkeys([*alone, *validity.same_work(ours, theirs, trial.case).reasons]))


def _notes(ours: LegResult, theirs: LegResult, trial: Trial) -> list[str]:
    return [*validity.place_differences(ours.done[0], theirs.done[0]), *validity.same_work(ours, theirs, trial.case).notes]


def _rows(first: Trial, second: Trial, ours: LegResult, theirs: LegResult) -> Iterator[Row]:
    took_turns = first.run == second.run
    for figure in (headline_of(first.case.measures, ours), memory_of((ours, theirs))):
        one, other = figure.spread(ours), figure.spread(theirs)
        if one is None or other is None:
            continue
        ratio = figure.ratio(theirs, ours) if took_turns else unpaired(*(list(figure.values(leg).values()) for leg in (theirs, ours)))
        rerun = ours.name == theirs.name
        within = one.holds(other.median) or (ratio is not None and ratio.difference == "none")
        yield Row(first.title, _called(ours, theirs), figure, one, other, ratio, within if rerun else None)


def _missing(one: Side, other: Side) -> list[str]:
    theirs = {(_key(trial), leg.name) for trial in other.trials for leg in trial.legs}
    if one.leg and other.leg:
        theirs |= {(_key(trial), one.leg) for trial in other.trials}
    return [
        f"only in {one.name}: {trial.title}, {leg.name}"
        for trial in one.trials
        for leg in trial.legs
        if (_key(trial), leg.name) not in theirs
    ]


def _refusal(one: Side, other: Side, refused: list[str]) -> str:
    more = [f"and {len(refused) - MOST_REASONS} more"] if len(refused) > MOST_REASONS else []
    lines = "\n  ".join([*refused[:MOST_REASONS], *more])
    return f"{one.name} and {other.name} did not do the same work, so nothing is compared ({other.name} against {one.name}):\n  {lines}"


def _has(side: Side) -> str:
    cases = (f"{trial.title} ({', '.join(leg.name for leg in trial.legs)})" for trial in side.trials)
    return f"{side.name} has {'; '.join(cases)}"
