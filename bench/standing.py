"""How our leg stands against the others: faster, slower, or no different, said of each case in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unsloth_ft.bench.figures import Figure, headline_of, memory_of, times
from unsloth_ft.bench.statistics import FLOOR, Ratio
from unsloth_ft.bench.trials import LegResult, Trial
from unsloth_ft.bench.validity import ALONE, Judgement, judge
from unsloth_ft.report.wording import count

OURS = ("unsloth-plan", "prepare-ours", "prepare-again", "check-ours")
# The best that vanilla can do; then what a tutorial gives; then what needs the most memory.
BASELINES = ("peft-tuned", "peft-naive", "peft-full", "prepare-datasets", "check-datasets")


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
        """Shown to be, or seen to be in too few repeats: nothing that speaks against us hides behind a missing verdict."""
        if self.ratio is None:
            return bool(self.failed)
        if self.ratio.difference == "unknown":
            return self.loss > 1 + FLOOR
        return self.ratio.difference not in ("none", self.figure.better)

    @property
    def loss(self) -> float:
        """How many times worse; not to have finished is the worst."""
        if self.ratio is None:
            return math.inf
        return self.ratio.value if self.figure.better == "less" else 1 / self.ratio.value

    @property
    def how(self) -> str:
        """`slower by 1.11 × [1.10, 1.12]`, of one that is worse."""
        if self.ratio is None:
            return self.failed
        word, ratio = (self.figure.more, self.ratio) if self.figure.better == "less" else (self.figure.less, self.ratio.inverse)
        few = ""
        if ratio.difference == "unknown":
            few = f" ({count(ratio.repeats, 'repeat')}, too few for a verdict)" if ratio.repeats else " (by other turns, no verdict)"
        return f"{word} by {times(ratio)}{few}"


def baseline(trial: Trial, judgement: Judgement) -> LegResult | None:
    """What the others are compared with: the first of BASELINES that is there, finished and valid, else the first such leg.

    None in a case whose legs are different commands.
    """
    if trial.case.measures in ALONE:
        return None
    sound = [leg for leg in trial.legs if leg.done and judgement.valid(leg.name)]
    by_kind = {leg.kind: leg for leg in reversed(sound)}
    return next((by_kind[kind] for kind in BASELINES if kind in by_kind), sound[0] if sound else None)


def standings(trials: Iterable[Trial]) -> list[Standing]:
    """Of our leg in every trial that has it, against every other valid leg, in the case's figure and in memory."""
    return [standing for trial in trials for standing in _of(trial)]


def worse_sentences(found: Iterable[Standing]) -> list[str]:
    """Where we are slower or need more; all points of a sweep in one sentence, with the worst of them."""
    groups: dict[tuple[str, str, str], list[Standing]] = {}
    for standing in found:
        groups.setdefault((standing.trial.called, standing.rival, standing.figure.title), []).append(standing)
    said = []
    for (called, rival, _), group in groups.items():
        worse = [standing for standing in group if standing.worse]
        if not worse:
            continue
        most = max(worse, key=lambda standing: standing.loss)
        where = f"; at {len(worse)} of {len(group)} points, most at {most.trial.point_words}" if most.trial.point else ""
        said.append(f"{called}: {most.how} {'against ' + rival if most.ratio else f'where {rival} finished'}{where}")
    return said


def worst_sentences(found: Iterable[Standing]) -> list[str]:
    """The same in fewer words: of each case and figure the rival that is farthest ahead, and how many others are."""
    groups: dict[tuple[str, str], list[Standing]] = {}
    for standing in found:
        if standing.worse:
            groups.setdefault((standing.trial.called, standing.figure.title), []).append(standing)
    said = []
    for group in groups.values():
        most = max(group, key=lambda standing: standing.loss)
        others = len({standing.rival for standing in group}) - 1
        also = f", and behind {count(others, 'other leg')}" if others else ""
        said.append(f"{worse_sentences([most])[0]}{also}")
    return said


def is_check(trial: Trial) -> bool:
    """Whether the case tests the bench itself: a leg with another seed or other rows, or one kind twice."""
    kinds = [leg.kind for leg in trial.legs]
    broken = any(leg.seed is not None or leg.rows_seed is not None for leg in trial.case.legs)
    return broken or len(kinds) > len(set(kinds))


def _of(trial: Trial) -> Iterator[Standing]:
    ours = next((leg for leg in trial.legs if leg.kind in OURS), None)
    if ours is None or is_check(trial):
        return
    judgement = judge(trial)
    rivals = [leg for leg in trial.legs if leg.kind not in OURS and leg.done and judgement.valid(leg.name)]
    if not ours.done:
        figure, outcome = headline_of(trial.case.measures), ours.not_done[0].outcome.replace("_", " ")
        yield from (Standing(trial, figure, rival.name, None, outcome) for rival in rivals if outcome != "no time")
    elif judgement.valid(ours.name):
        for figure in (headline_of(trial.case.measures, ours), memory_of(trial.legs)):
            for rival in rivals:
                ratio = figure.ratio(ours, rival)
                if ratio is not None:
                    yield Standing(trial, figure, rival.name, ratio)
