"""What a report holds, in which order: the newest trial of each question, grouped by what the case asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from unsloth_ft.bench import tables
from unsloth_ft.bench.measurement import Measurement
from unsloth_ft.bench.standing import is_check, standings, worse_sentences, worst_sentences
from unsloth_ft.bench.trials import Trial, machine, newest, told_apart, trials
from unsloth_ft.bench.validity import judge
from unsloth_ft.report.wording import count

# What a case measures -> (title, what is seen there), in the order of the page.
SECTIONS = {
    "training": (
        "Speed and memory",
        "Real tokens per second of the measured steps, without padding and without warm-up; peak memory minus the start.",
    ),
    "sweep": ("How it grows", "The same case at several points."),
    "context": (
        "The longest row that trains",
        "Tokens of one row, batch 1; under a memory cap a leg has no more than a card of that size. ≥: the search ended before it knew.",
    ),
    "data": ("Data preparation", "From the file to token ids and labels."),
    "export": ("Export", "Seconds of a whole command."),
    "startup": ("Start-up of the command line", "Seconds until a command has answered."),
    "check": (
        "Checks of the bench itself",
        "Two identical legs must come out as no difference, and a leg that does other work must be found.",
    ),
}


HOW_TO_READ = (
    "Figures are medians over the repeats with [least, largest], or one number where all are equal. Legs take turns, so repeat k of"
    " one leg is compared with repeat k of the other: the geometric mean of the ratios, with Student's 95\N{NO-BREAK SPACE}% interval."
    " It is called a difference where the interval leaves out 1 and the mean is more than 2\N{NO-BREAK SPACE}% away from it; of equal"
    " legs, one comparison in twenty may still pass by chance. A leg that did other work (weights, rows, tokens, steps, seed, …), or"
    " whose losses leave the band, is INVALID, with the reason; its figures stand, and are compared with none."
)


@dataclass(frozen=True)
class Group:
    """Trials that are shown together: one section's, or all points of one sweep or of one context case."""

    kind: str
    title: str
    what: str
    trials: tuple[Trial, ...]

    @property
    def is_sweep(self) -> bool:
        return self.kind in ("sweep", "context")


@dataclass(frozen=True)
class Contents:
    """All that a report says; both renderings take it from here."""

    groups: tuple[Group, ...]
    worse: tuple[str, ...]
    worst: tuple[str, ...]
    """The same in fewer words."""
    nowhere_worse: str
    problems: tuple[str, ...]
    caught: tuple[str, ...]
    """What checks of the bench itself were made to find."""
    runs: tuple[tuple[str, list[tuple[str, str]], str], ...]
    """(run, its facts, its versions)"""
    older: tuple[str, ...]
    origin: str
    how_to_read: str = HOW_TO_READ

    @property
    def trials(self) -> list[Trial]:
        return [trial for group in self.groups for trial in group.trials]


def contents(measurements: Sequence[Measurement]) -> Contents:
    every = trials(measurements)
    latest = newest(every)
    shown = told_apart(latest)
    groups = tuple(_groups(shown))
    stands = standings(shown)
    return Contents(
        groups=groups,
        worse=tuple(worse_sentences(stands)),
        worst=tuple(worst_sentences(stands)),
        nowhere_worse=_nowhere_worse(bool(stands)),
        problems=_problems(trial for trial in shown if not is_check(trial)),
        caught=_problems(trial for trial in shown if is_check(trial)),
        runs=tuple(_run(list(found)) for _, found in groupby(sorted(shown, key=lambda one: one.run), key=lambda one: one.run)),
        older=tuple(f"{trial.run}: {trial.title}" for trial in every if trial not in latest),
        origin=f"From {count(len(measurements), 'measurement')} in {count(len({one.run for one in measurements}), 'run')}.",
    )


def _groups(shown: Iterable[Trial]) -> list[Group]:
    kinds: dict[str, list[Trial]] = {kind: [] for kind in SECTIONS}
    for trial in shown:
        kinds[tables.kind_of(trial)].append(trial)
    found = []
    for kind, (title, what) in SECTIONS.items():
        if kind in ("sweep", "context"):
            for _, points in groupby(sorted(kinds[kind], key=_curve), key=_curve):
                same = tuple(sorted(points, key=lambda one: one.point))
                called = ", ".join([same[0].called, *same[0].point_words.split(", ")[1:]])
                found.append(Group(kind, f"{title}: {called}", f"{same[0].case.what} {what}", same))
        elif kinds[kind]:
            found.append(Group(kind, title, what, tuple(kinds[kind])))
    return found


def _curve(trial: Trial) -> tuple[object, ...]:
    """Equal for the points of one curve: the sweep's own field comes first in them, a memory cap behind it."""
    return trial.name, trial.case.recipe, machine(trial.example), trial.point[1:]


def _problems(found: Iterable[Trial]) -> tuple[str, ...]:
    return tuple(f"{trial.title}: {text}" for trial in found for text in tables.problems(trial, judge(trial)))


def _run(found: list[Trial]) -> tuple[str, list[tuple[str, str]], str]:
    facts = dict(tables.facts(found[0]))
    kept = [(name, facts[name]) for name in ("machine", "date", "command", "git commit")]
    if found[0].example.machine.get("gpu"):
        kept.append(("driver", str(found[0].example.machine["gpu"].get("driver") or "unknown")))
    return found[0].run, kept, ", ".join(f"{name} {version}" for name, version in sorted(found[0].example.versions.items()))


def _nowhere_worse(compared: bool) -> str:
    if not compared:
        return "No case here has a leg of ours beside another valid one."
    return "In none of these cases is our leg slower than another valid one, or in need of more memory, as far as the repeats can show."
