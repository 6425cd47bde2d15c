"""Whether legs did the same work. A leg that didn't is marked invalid with its reasons, wherever its figures are shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from unsloth_ft.bench.case import Case
from unsloth_ft.bench.figures import padding
from unsloth_ft.bench.measurement import Measurement, Step, Work
from unsloth_ft.bench.trials import NOT_WORK, LegResult, Trial, case_of, loads_kernels, machine
from unsloth_ft.report.wording import plain

HASHES = ("weights", "rows")
NOTICED_PADDING = 0.05  # of the tokens that went through the model; kernels may round lengths up by a few
# What full fine-tuning, LoRA and QLoRA exchange; a case with same_losses=False compares just that.
EXCHANGED = ("weights", "r", "load_in_4bit")
# The longest row is what a context case asks for: each leg ends with its own.
OWN_LENGTH = ("rows", "tokens", "learned_tokens", "steps")
# Of what a command worked on, what must be the same. How many tokens are learned is said: a template's newline behind the turn-end token
# is learned by one way of preparing and not by another.
AMOUNTS = ("rows", "tokens")
SAID_AMOUNTS = ("learned_tokens",)
# Legs of these cases are different commands: each is timed for itself.
ALONE = ("export", "startup")


@dataclass(frozen=True)
class LossGap:
    """Where two trajectories are farthest apart. `step` counts from 1, warm-up included; `relative` is of the larger loss."""

    step: int
    one: float
    other: float
    relative: float

    def __str__(self) -> str:
        return f"step {self.step}: {self.one:.6g} and {self.other:.6g}, {self.relative:.2g} relative"


@dataclass(frozen=True)
class Agreement:
    """What two legs have in common: `reasons` make the comparison invalid, `notes` are said beside it, `own` of the leg alone."""

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    gap: LossGap | None = None
    """Between the legs; None where no losses are compared."""
    repeats: LossGap | None = None
    """Between the leg's own repeats; None with fewer than two."""
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """A trial's legs, each against `reference`: the leg that most others agree with, the first such one."""

    reference: str
    legs: dict[str, Agreement]

    def valid(self, leg: str) -> bool:
        return not self.legs[leg].reasons


def judge(trial: Trial) -> Judgement:
    """Every leg by name. A leg without a finished repeat has nothing to compare, and no reasons: its outcome says why."""
    inner = {leg.name: inside(leg, trial.case) for leg in trial.legs}
    measured = [leg for leg in trial.legs if leg.done]
    if not measured:
        return Judgement("", inner)
    sound = [leg for leg in measured if not inner[leg.name].reasons] or measured
    others = [] if trial.case.measures in ALONE else measured
    pairs = {(one.name, other.name): agreement(one, other, trial.case) for one in sound for other in others if one is not other}
    reference = max(sound, key=lambda one: sum(not found.reasons for (name, _), found in pairs.items() if name == one.name)).name
    return Judgement(reference, {name: _joined(alone, pairs.get((reference, name)), reference) for name, alone in inner.items()})


def inside(leg: LegResult, case: Case) -> Agreement:
    """Whether a leg's own repeats did one work, with finite losses on one trajectory."""
    if not leg.done:
        return Agreement()
    reasons = [f"its repeats differ: {text}" for text in _unique(_between_repeats(leg, case))]
    reasons += [
        f"loss of step {at} is {step.loss} (repeat {one.repeat})"
        for one in leg.done
        for at, step in enumerate(one.steps, 1)
        if not math.isfinite(step.loss)
    ][:1]
    gap = widest([(one.steps, other.steps) for at, one in enumerate(leg.done) for other in leg.done[at + 1 :]])
    if gap and gap.relative > case.loss_band:
        reasons.append(f"its repeats' losses differ by more than {case.loss_band:.2g}: {gap}")
    return Agreement(tuple(reasons), repeats=gap, own=(*not_as_asked(leg.done[0]), *_loading_kernels(leg)))


def not_as_asked(one: Measurement) -> Iterator[str]:
    """What a library did otherwise than the leg's setup says, as the steps show it."""
    asked, wasted = one.setup.get("padding_free"), padding(one) or 0.0
    if isinstance(asked, dict) and asked.get("value") is True and wasted > NOTICED_PADDING:
        yield f"its rows were to be laid end to end, and {wasted:.0%} of what was computed is padding"


def _loading_kernels(leg: LegResult) -> Iterator[str]:
    """A process's first steps on a GPU, where no pass went before them."""
    cold = [str(one.repeat + 1) for one in leg.done if loads_kernels(one)]
    if leg.only_loading:
        yield "its steps loaded their kernels while they were measured, in all repeats that it has"
    elif cold:
        yield f"repeat {', '.join(cold)} is not counted: its steps loaded their kernels while they were measured"


def agreement(one: LegResult, other: LegResult, case: Case) -> Agreement:
    """Of two legs of one run that finished: `other` seen from `one`. Besides the work, the place has to be the same."""
    found = same_work(one, other, case)
    places = place_differences(one.done[0], other.done[0])
    return replace(found, reasons=(*found.reasons, *places))


def same_work(one: LegResult, other: LegResult, case: Case) -> Agreement:
    """Of two legs that finished, wherever and whenever: `other` seen from `one`."""
    first, second = one.done[0], other.done[0]
    reasons = [*work_differences(first, second, case), *_case_differences(first, second)]
    notes = [text for name, text in _work_differences(first.work, second.work) if not case.same_losses and name in EXCHANGED]
    notes += [*_amount_differences(first, second, SAID_AMOUNTS), *version_differences(first, second)]
    gap = None
    if comparable_losses(first, second, case):
        gap = widest([(a.steps[: _compared(case)], b.steps[: _compared(case)]) for a, b in product(one.done, other.done)])
        if gap and not gap.relative <= case.loss_band:
            reasons.append(f"losses differ by more than {case.loss_band:.2g}: {gap}")
    return Agreement(tuple(reasons), tuple(notes), gap)


def comparable_losses(first: Measurement, second: Measurement, case: Case) -> bool:
    """Legs that train different weights have one loss before the first update, and only on the same base in the same precision."""
    if case.measures != "training":
        return False
    if case.same_losses:
        return True
    if first.work is None or second.work is None:
        return False
    return (first.work.weights, first.work.load_in_4bit) == (second.work.weights, second.work.load_in_4bit)


def work_differences(first: Measurement, second: Measurement, case: Case) -> list[str]:
    """Each difference with both values, `second` first: what a reader of its figures has to know."""
    free = (*(() if case.same_losses else EXCHANGED), *(OWN_LENGTH if case.measures == "context" else ()))
    told = [text for name, text in _work_differences(first.work, second.work) if name not in free]
    return told + _amount_differences(first, second, AMOUNTS)


def version_differences(first: Measurement, second: Measurement) -> list[str]:
    """Versions of packages, and the code's commit; said, since a comparison of versions is one that people make."""
    names = sorted(first.versions.keys() | second.versions.keys())
    pairs = [(name, first.versions.get(name), second.versions.get(name)) for name in names]
    pairs += [(f"git {name}", first.git.get(name), second.git.get(name)) for name in ("commit", "changed")]
    return [_against(name, shown(theirs), shown(ours)) for name, ours, theirs in pairs if ours != theirs]


def place_differences(first: Measurement, second: Measurement) -> list[str]:
    """Another machine, or a process of another kind."""
    pairs = (("machine", machine(first), machine(second)), ("process", first.process, second.process))
    return [_against(name, theirs, ours) for name, ours, theirs in pairs if ours != theirs]


def widest(pairs: list[tuple[tuple[Step, ...], tuple[Step, ...]]]) -> LossGap | None:
    """The largest relative difference of two losses at one step; a loss that is no number is farther than any other."""
    gaps = [
        LossGap(at, one.loss, other.loss, _relative(one.loss, other.loss))
        for first, second in pairs
        for at, (one, other) in enumerate(zip(first, second, strict=False), 1)
    ]
    return max(gaps, key=lambda gap: gap.relative, default=None)


def shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    return f"{int(value):,}" if isinstance(value, int) or value.is_integer() else plain(value)


def _compared(case: Case) -> int | None:
    """How many steps' losses must agree; None: all."""
    return None if case.same_losses else 1


def _relative(one: float, other: float) -> float:
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other)) if one != other else 0.0


def _work_differences(first: Work | None, second: Work | None) -> Iterator[tuple[str, str]]:
    """(field, words) of each field that isn't equal."""
    if first is None or second is None:
        if first is not second:
            yield (
                "work",
                _against("work", "not recorded" if second is None else "recorded", "not recorded" if first is None else "recorded"),
            )
        return
    for field in fields(Work):
        ours, theirs = getattr(first, field.name), getattr(second, field.name)
        if ours != theirs:
            brief = (lambda value: f"{value[:12]}…") if field.name in HASHES else shown
            yield field.name, _against(field.name, brief(theirs), brief(ours))


def _case_differences(first: Measurement, second: Measurement) -> list[str]:
    ours, theirs = (case_of(one).model_dump(mode="json", exclude=set(NOT_WORK)) for one in (first, second))
    return [_against(f"case {name}", shown(theirs[name]), shown(ours[name])) for name in ours if ours[name] != theirs[name]]


def _amount_differences(first: Measurement, second: Measurement, names: tuple[str, ...]) -> list[str]:
    amounts = [(name, first.amount.get(name), second.amount.get(name)) for name in names]
    return [_against(name, shown(theirs), shown(ours)) for name, ours, theirs in amounts if ours != theirs]


def _between_repeats(leg: LegResult, case: Case) -> Iterator[str]:
    everything = case.model_copy(update={"same_losses": True})  # nothing is exchanged between repeats
    first = leg.done[0]
    for other in leg.done[1:]:
        yield from work_differences(first, other, everything)
        yield from _case_differences(first, other)
        yield from place_differences(first, other)


def _against(name: str, found: str, expected: str) -> str:
    return f"{name} {found} against {expected}"


def _unique(texts: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _joined(alone: Agreement, pair: Agreement | None, reference: str) -> Agreement:
    if pair is None:
        return alone
    reasons = [f"not the work of {reference}: {reason}" for reason in pair.reasons]
    return Agreement((*alone.reasons, *reasons), pair.notes, pair.gap, alone.repeats, alone.own)
