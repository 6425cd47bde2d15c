"""The README's table, made from the committed results alone, so that it can't say what no file says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from unsloth_ft.bench import tables
from unsloth_ft.bench.contents import Contents, contents
from unsloth_ft.bench.figures import headline_of, memory_of
from unsloth_ft.bench.markdown import escaped, table_lines
from unsloth_ft.bench.measurement import Measurement, read_all
from unsloth_ft.bench.standing import baseline
from unsloth_ft.bench.tables import Table
from unsloth_ft.bench.trials import LegResult, Trial, machine
from unsloth_ft.bench.validity import judge, not_as_asked
from unsloth_ft.errors import UserError
from unsloth_ft.record import write_atomically

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
NO_GPU = "Not yet measured on a GPU."
# What a figure depends on most; all versions are in the files.
TOLD_VERSIONS = ("unsloth", "torch", "transformers", "trl", "peft", "bitsandbytes")


def is_stale(readme: Path, folder: Path) -> bool:
    """Whether the README says something else than the results. Raises UserError where it has no place for the table."""
    old, new = _old_and_new(readme, folder)
    return new != old


def rewrite(readme: Path, folder: Path) -> bool:
    """Puts the table of the results between the markers; False where it stood there already. Raises as `is_stale`."""
    old, new = _old_and_new(readme, folder)
    if new != old:
        write_atomically(readme, new)
    return new != old


def _old_and_new(readme: Path, folder: Path) -> tuple[str, str]:
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{readme}: can't be read as text ({error}).") from None
    return text, rewritten(text, section(read_all(folder), link=_link(folder, readme)), readme)


def rewritten(text: str, told: str, readme: Path) -> str:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UserError(f"{readme}: no place for the bench's table; expected one line {BEGIN} and one line {END} below it.")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{told}\n{END}{rest.partition(END)[2]}"


def section(measurements: Sequence[Measurement], *, link: str) -> str:
    """What stands between the markers. `link`: the results' folder, seen from the README."""
    on_gpu = any(one.machine["device"] == "cuda" and one.outcome == "done" for one in measurements)
    if not measurements:
        return NO_GPU
    found = contents(measurements)
    parts = [part for place, trials in _places(found) for part in _place(place, trials, link)]
    parts += [_slower(found), *_self_checks(found, link)]
    parts.append(
        "Medians over interleaved repeats with [least, largest]; a difference is one whose 95\N{NO-BREAK SPACE}% interval leaves out 1 and"
        " that is above 2\N{NO-BREAK SPACE}%. Each run's folder holds every raw sample, the versions, the command and the commit;"
        " `unsloth-ft bench report` makes tables and plots of them, sweeps included, and `unsloth-ft bench compare` holds your rerun"
        " against them."
    )
    return "\n\n".join(parts if on_gpu else [*parts, NO_GPU])


def _places(found: Contents) -> Iterator[tuple[str, list[Trial]]]:
    ordered = sorted((trial for trial in found.trials), key=_place_key)
    for (_, place), trials in groupby(ordered, key=_place_key):
        yield place, list(trials)


def _place_key(trial: Trial) -> tuple[bool, str]:
    """Machines with a GPU first."""
    return trial.example.machine["device"] != "cuda", machine(trial.example)


def _place(place: str, trials: Sequence[Trial], link: str) -> Iterator[str]:
    kinds = ("training", "context", "data", "export", "startup")
    groups = {kind: [trial for trial in trials if tables.kind_of(trial) == kind] for kind in kinds}
    groups["data"] += _largest_points(trials)
    if not any(groups.values()):
        return
    yield f"**{place}**, {_dates(trials)}; {_versions(trials)}:"
    if groups["training"]:
        yield "\n".join(table_lines(_training(groups["training"], link)))
        yield from _notes(groups["training"])
    for _, points in groupby(groups["context"], key=lambda one: (one.name, one.case.recipe)):
        yield "\n".join(table_lines(_context(list(points), link)))
    commands = [*groups["data"], *groups["export"], *groups["startup"]]
    if commands:
        yield "\n".join(table_lines(_commands(commands, link)))


def _training(trials: Sequence[Trial], link: str) -> Table:
    rows = [row for trial in trials for row in _rows(trial, link)]
    return Table(("case", "leg", "speed", "against", "peak memory", "run"), tuple(rows))


def _rows(trial: Trial, link: str) -> Iterator[tuple[str, ...]]:
    """A row a leg, case and run named once, in the first. Legs that found no time are left out; the report has them."""
    begun = [leg for leg in trial.legs if any(one.outcome != "no_time" for one in leg.measurements)]
    for leg in begun:
        first = leg is begun[0]
        yield _case(trial) if first else "", *_told(trial, leg), _run(trial, link) if first else ""


def _notes(trials: Sequence[Trial]) -> Iterator[str]:
    """Where a leg is not what its name says."""
    legs = [(trial, leg) for trial in trials for leg in trial.legs if leg.done]
    said = [f"- {escaped(f'{trial.title}, {leg.name}: {text}.')}" for trial, leg in legs for text in not_as_asked(leg.done[0])]
    if said:
        yield "\n".join(said)


def _told(trial: Trial, leg: LegResult) -> tuple[str, str, str, str]:
    """leg, the case's figure, that against the baseline, memory"""
    judgement = judge(trial)
    figure, memory, base = headline_of(trial.case.measures, leg), memory_of(trial.legs), baseline(trial, judgement)
    if not leg.done:
        return leg.name, leg.not_done[0].outcome.replace("_", " "), "", ""
    told = figure.told_of(leg) + (" while loading kernels" if leg.only_loading else "")
    used = memory.told_of(leg) if memory.values(leg) else ""
    if not judgement.valid(leg.name):
        return f"**{leg.name}**", told, f"**{tables.INVALID}**: {judgement.legs[leg.name].reasons[0]}", used
    against = "" if base is None or base is leg else f"{base.name}: {figure.verdict(figure.ratio(leg, base))}"
    return leg.name, told, against, used


def _context(points: Sequence[Trial], link: str) -> Table:
    table = tables.point_table(points, headline_of("context"))
    columns = (f"longest row, {points[0].case.recipe}", *table.columns[1:], "run")
    return Table(columns, tuple((*row, _run(trial, link)) for row, trial in zip(table.rows, points, strict=True)))


def _commands(trials: Sequence[Trial], link: str) -> Table:
    rows = [row for trial in trials for row in _rows(trial, link)]
    return Table(("case", "command", "figure", "against", "peak memory", "run"), tuple(rows))


def _largest_points(trials: Sequence[Trial]) -> list[Trial]:
    """Of data preparation's sweep over rows the largest number; the report has all."""
    swept = [trial for trial in trials if trial.case.measures == "data" and trial.point]
    return [max(points, key=lambda one: one.point) for _, points in groupby(swept, key=lambda one: (one.name, one.case.recipe))]


def _slower(found: Contents) -> str:
    if not found.worse:
        return found.nowhere_worse
    return "Where we are slower or need more:\n\n" + "\n".join(f"- {escaped(text)}" for text in found.worst)


def _self_checks(found: Contents, link: str) -> Iterator[str]:
    for trial in (trial for group in found.groups if group.kind == "check" for trial in group.trials):
        judgement, said = judge(trial), []
        base = baseline(trial, judgement)
        for leg in trial.legs:
            if not judgement.valid(leg.name):
                said.append(f"{leg.name} was marked {tables.INVALID}")
            elif leg.done and base is not None and leg is not base:
                figure = headline_of(trial.case.measures)
                said.append(f"{leg.name} against {base.name} came out as {figure.verdict(figure.ratio(leg, base))}")
        yield f"The bench held against itself ({_run(trial, link)}): {'; '.join(said)}."


def _case(trial: Trial) -> str:
    words = f"{trial.name}, {trial.point_words}" if trial.point else trial.name
    return f"{words}, {trial.case.recipe}"


def _run(trial: Trial, link: str) -> str:
    return f"[{trial.run}]({link}/{trial.run}/{trial.name})"


def _dates(trials: Sequence[Trial]) -> str:
    days = sorted({one.date[:10] for trial in trials for leg in trial.legs for one in leg.measurements})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _versions(trials: Sequence[Trial]) -> str:
    told = {name: sorted({trial.example.versions[name] for trial in trials if name in trial.example.versions}) for name in TOLD_VERSIONS}
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in told.items() if found)


def _link(folder: Path, readme: Path) -> str:
    return Path(os.path.relpath(folder.resolve(), readme.resolve().parent)).as_posix()
