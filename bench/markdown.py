"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unsloth_ft.bench import tables
from unsloth_ft.bench.contents import Contents, Group
from unsloth_ft.bench.tables import Table
from unsloth_ft.bench.trials import Trial
from unsloth_ft.bench.validity import judge


def render(contents: Contents) -> str:
    lines = ["# Bench report", "", contents.origin, "", contents.how_to_read, ""]
    lines += ["## Where we are slower, or need more", "", *_list(contents.worse or [contents.nowhere_worse]), ""]
    if contents.problems:
        lines += ["## Invalid or not finished", "", *_list(contents.problems), ""]
    for group in contents.groups:
        lines += _group(group)
    lines += ["## How it was measured", "", *_provenance(contents)]
    if contents.older:
        lines += ["## Older results of the same cases on the same machine", "", *_list(contents.older), ""]
    return "\n".join(lines).rstrip() + "\n"


def table_lines(table: Table) -> list[str]:
    """A table of GitHub's Markdown; an invalid row's leg is bold."""
    rows = [
        [f"**{cell}**" if at in table.invalid and not number else cell for number, cell in enumerate(row)]
        for at, row in enumerate(table.rows)
    ]
    cells = [list(table.columns), ["---"] * len(table.columns), *rows]
    return ["| " + " | ".join(escaped(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]


def escaped(text: str) -> str:
    """An error message's markup is text here, and stays on its line."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")


def _group(group: Group) -> Iterator[str]:
    yield from (f"## {group.title}", "", group.what, "")
    if group.is_sweep:
        yield from _sweep(group.trials)
        return
    for trial in group.trials:
        yield from _trial(trial)


def _trial(trial: Trial) -> Iterator[str]:
    judgement = judge(trial)
    yield from (f"### {trial.title}", "", trial.case.what, "")
    yield from (*table_lines(tables.leg_table(trial, judgement)), "")
    besides = tables.besides_table(trial, judgement)
    if besides:
        yield from (*table_lines(besides), "")
    said = [tables.losses_sentence(trial, judgement), *tables.problems(trial, judgement), *tables.notes(trial, judgement)]
    yield from (*_list([text for text in said if text]), "")
    setup = tables.setup_table(trial)
    if setup:
        yield from ("<details><summary>What each leg does, and why</summary>", "", *table_lines(setup), "", "</details>", "")
    yield from (_facts(trial), "")


def _sweep(points: Sequence[Trial]) -> Iterator[str]:
    for figure in tables.point_figures(points):
        yield from (f"{figure.title.capitalize()}:", "", *table_lines(tables.point_table(points, figure)), "")
    yield from _list([f"{trial.title}: {text}" for trial in points for text in tables.problems(trial, judge(trial))])
    yield ""
    yield from (_facts(points[0]), "")


def _facts(trial: Trial) -> str:
    return ", ".join(f"{name}: {value}" for name, value in tables.facts(trial)[:4]) + "."


def _provenance(contents: Contents) -> Iterator[str]:
    for run, facts, versions in contents.runs:
        yield from (f"### {run}", "")
        yield from _list([f"{name}: `{value}`" if name == "command" else f"{name}: {value}" for name, value in facts])
        yield from (f"- versions: {versions}", "")


def _list(texts: Sequence[str]) -> list[str]:
    return [f"- {escaped(text)}" for text in texts]
