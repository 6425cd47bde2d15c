"""The report as one HTML page that needs no network, no script and no font."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from unsloth_ft.bench import plots, tables, views
from unsloth_ft.bench.contents import Contents, Group
from unsloth_ft.bench.figures import HOST, RESERVED, Figure, headline_of
from unsloth_ft.bench.tables import Table
from unsloth_ft.bench.trials import MEMORY_CAP, LegResult, Trial
from unsloth_ft.bench.validity import Judgement, judge
from unsloth_ft.report import pages
from unsloth_ft.report.wording import GIB

AXES = {"length": "tokens a row", "r": "rank r", "rows": "rows", "batch": "rows a step", MEMORY_CAP: "GiB of memory allowed"}
SPREAD = re.compile(r"\[[^\]]{1,40}\]")
PROPORTIONAL = ("length", "rows", "batch")  # what a step's, or a command's, time should be in proportion to


@dataclass(frozen=True)
class Plot:
    title: str
    wide: Markup
    narrow: Markup
    legend: tuple[tuple[str, Markup], ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Block:
    """One trial, or all points of a sweep."""

    title: str
    what: str
    plots: tuple[Plot, ...]
    tables: tuple[tuple[str, Table], ...]
    problems: tuple[str, ...]
    said: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    setup: Table | None


def render(contents: Contents) -> str:
    """The page's HTML. All text of a measurement is hostile here (an error message's `<script>`): the template escapes every value."""
    here = Path(__file__).parent
    numbers = views.leg_numbers(contents.trials)
    return pages.render(
        here / "page.html",
        styles=(here / "page.css",),
        filters={"unbroken": unbroken},
        contents=contents,
        groups=[(group, list(_blocks(group, numbers))) for group in contents.groups],
    )


def unbroken(text: str) -> str:
    """A spread in one piece, wherever the line breaks: `192 tokens/s [190, 195]`."""
    return SPREAD.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def _blocks(group: Group, numbers: dict[str, int]) -> Iterator[Block]:
    if group.is_sweep:
        yield _points(group.trials, numbers)
        return
    for trial in group.trials:
        yield _trial(trial, numbers)


def _trial(trial: Trial, numbers: dict[str, int]) -> Block:
    judgement = judge(trial)
    shown = [("", tables.leg_table(trial, judgement)), ("Besides", tables.besides_table(trial, judgement))]
    said = [tables.losses_sentence(trial, judgement), *tables.notes(trial, judgement)]
    return Block(
        title=trial.title,
        what=trial.case.what,
        plots=tuple(_trial_plots(trial, judgement, numbers)),
        tables=tuple((title, table) for title, table in shown if table is not None),
        problems=tuple(tables.problems(trial, judgement)),
        said=tuple(text for text in said if text),
        facts=tuple(tables.facts(trial)[:4]),
        setup=tables.setup_table(trial),
    )


def _points(points: Sequence[Trial], numbers: dict[str, int]) -> Block:
    shown = [(figure.title.capitalize(), tables.point_table(points, figure)) for figure in tables.point_figures(points)]
    return Block(
        title="",
        what="",
        plots=tuple(_point_plots(points, numbers)),
        tables=tuple(shown),
        problems=tuple(f"{trial.title}: {text}" for trial in points for text in tables.problems(trial, judge(trial))),
        said=tuple(dict.fromkeys(text for trial in points for text in tables.notes(trial, judge(trial)))),
        facts=tuple(tables.facts(points[0])[:4]),
        setup=tables.setup_table(points[0]),
    )


def _trial_plots(trial: Trial, judgement: Judgement, numbers: dict[str, int]) -> Iterator[Plot]:
    for at, figure in enumerate(tables.shown_figures([trial])[:2]):
        drawn = plots.both(plots.bars, views.bars(trial, figure, judgement, numbers), label=f"{trial.title}: {figure.title}")
        yield Plot(figure.title.capitalize(), *drawn, caption="" if at else "bar: median; whisker: least to largest repeat")
    unit = "seconds a step" if trial.case.measures == "training" else "seconds"
    drawn = plots.both(plots.strips, views.strips(trial, judgement, numbers), unit=unit, label=f"{trial.title}: {unit}, raw")
    yield Plot("Every sample", *drawn, caption="a dot a sample, a lane a repeat; box: the middle half; line: median; warm-up left out")
    lines = views.trajectories(trial, numbers)
    drawn = plots.both(plots.trajectories, lines, label=f"{trial.title}: loss of each step")
    caption = "one repeat of each leg, drawn over one another: equal losses are one line that changes its colour"
    yield Plot("Losses", *drawn, legend=_legend([(name, leg) for name, leg, _ in lines]), caption=caption)


def _point_plots(points: Sequence[Trial], numbers: dict[str, int]) -> Iterator[Plot]:
    field = points[0].point[0][0] if points[0].point else ""
    if not field or len(points) < 2:
        for trial in points:
            yield from _trial_plots(trial, judge(trial), numbers)
        return
    named: dict[str, Any] = {"x_title": AXES.get(field, field)}
    if points[0].case.measures == "context":
        yield _curves(points, headline_of("context"), numbers, "Longest row", y_title="tokens", logarithmic=True, **named)
        return
    for figure in (RESERVED, HOST):
        if _known(figure, points):
            yield _curves(points, figure, numbers, figure.title.capitalize(), y_title="GiB", divisor=GIB, **named)
    timed = tables.time_of(points)
    reference = {"logarithmic": True, "linear_reference": True} if field in PROPORTIONAL else {}
    yield _curves(points, timed, numbers, timed.title.capitalize(), y_title="seconds", **named, **reference)


def _curves(points: Sequence[Trial], figure: Figure, numbers: dict[str, int], title: str, *, divisor: float = 1.0, **named: Any) -> Plot:
    rows = views.curves(points, figure, numbers, divisor=divisor)
    drawn = plots.both(plots.curves, rows, label=f"{points[0].name}: {figure.title} over {named['x_title']}", **named)
    said = ["median, with a line from least to largest"]
    if any(curve.failed for curve in rows):
        said.append("✕: not finished")
    legend = _legend([(curve.name, curve.leg) for curve in rows])
    if named.get("linear_reference"):
        legend = (*legend, ("in proportion", plots.reference_swatch()))
    return Plot(title, *drawn, legend=legend, caption="; ".join(said))


def _legend(legs: Sequence[tuple[str, int]]) -> tuple[tuple[str, Markup], ...]:
    return tuple((name, plots.swatch(leg)) for name, leg in legs)


def _known(figure: Figure, trials: Sequence[Trial]) -> bool:
    legs: list[LegResult] = [leg for trial in trials for leg in trial.legs]
    return any(figure.values(leg) for leg in legs)
