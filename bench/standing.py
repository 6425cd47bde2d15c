"""How our leg stands against the others: faster, slower, or no different, said of each case in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unsloth_ft.bench.figures import Figure, headline_of, memory_of
from unsloth_ft.bench.statistics import Ratio
from unsloth_ft.bench.trials import LegResult, Trial
from unsloth_ft.bench.validity import Judgement, judge

OURS = "unsloth-plan"
# The best that vanilla can do; then what a tutorial gives; then what needs the most memory.
BASELINES = ("peft-tuned", "peft-naive", "peft-full")


@dataclass(frozen=True)
class Standing:
    """Our leg against one rival in one figure; both valid. `ratio` is ours over theirs, None where a leg didn't finish."""

    trial: Trial
    figure: Figure
    rival: str
    ratio: Ratio | None
    failed: str = ""
    """Our outcome where we didn't finish and the rival did."""

    @property
    def worse(self) -> bool:
        return bool(self.failed) or (self.ratio is not None and self.ratio.difference not in ("none", "unknown", self.figure.better))

    @property
    def better(self) -> bool:
        return self.ratio is not None and self.ratio.difference == self.figure.better

    def __str__(self) -> str:
        if self.failed:
            return f"{self.trial.title}: {self.failed} where {self.rival} finished"
        return f"{self.trial.title}: {self.figure.verdict(self.ratio)} against {self.rival}"


def baseline(trial: Trial, judgement: Judgement) -> LegResult | None:
    """What the others are compared with: the first of BASELINES that is there, finished and valid, else the first such leg."""
    sound = [leg for leg in trial.legs if leg.done and judgement.valid(leg.name)]
    by_kind = {leg.kind: leg for leg in reversed(sound)}
    return next((by_kind[kind] for kind in BASELINES if kind in by_kind), sound[0] if sound else None)


def standings(trials: Iterable[Trial]) -> list[Standing]:
    """Of our leg in every trial that has it, against every other valid leg, in the case's figure and in memory."""
    return [standing for trial in trials for standing in _of(trial)]


def is_check(trial: Trial) -> bool:
    """Whether the case tests the bench itself: a leg with another seed or other rows, or one kind twice."""
    kinds = [leg.kind for leg in trial.legs]
    broken = any(leg.seed is not None or leg.rows_seed is not None for leg in trial.case.legs)
    return broken or len(kinds) > len(set(kinds))


def _of(trial: Trial) -> Iterator[Standing]:
    ours = trial.leg(OURS)
    if ours is None or is_check(trial):
        return
    judgement = judge(trial)
    rivals = [leg for leg in trial.legs if leg is not ours and leg.done and judgement.valid(leg.name)]
    if not ours.done:
        figure, outcome = headline_of(trial.case.measures), ours.not_done[0].outcome.replace("_", " ")
        yield from (Standing(trial, figure, rival.name, None, outcome) for rival in rivals if outcome != "no time")
    elif judgement.valid(ours.name):
        for figure in (headline_of(trial.case.measures, ours), memory_of(trial.legs)):
            for rival in rivals:
                ratio = figure.ratio(ours, rival)
                if ratio is not None:
                    yield Standing(trial, figure, rival.name, ratio)
