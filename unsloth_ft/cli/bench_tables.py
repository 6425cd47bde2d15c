"""What `bench run` shows when it is done: the report's tables, in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.table import Table as Grid
from rich.text import Text

from unsloth_ft.bench import tables
from unsloth_ft.bench.contents import Group, contents
from unsloth_ft.bench.validity import judge
from unsloth_ft.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unsloth_ft.bench.measurement import Measurement
    from unsloth_ft.bench.tables import Table


def show(measured: Sequence[Measurement]) -> None:
    """Tables on stdout, and below them what is invalid, unfinished or slower."""
    found = contents(measured)
    console = options.stdout()
    for title, table in (each for group in found.groups for each in _tables(group)):
        console.print(grid(title, table))
        console.print()
    for line in (*found.problems, *found.caught):
        click.echo(line)
    for line in found.worse:
        click.echo(f"ours is behind: {line}")


def grid(title: str, table: Table) -> Grid:
    """The table for rich; the legs that are invalid stand out."""
    shown = Grid(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        shown.add_column(column)
    for number, row in enumerate(table.rows):
        shown.add_row(*map(Text, row), style="red" if number in table.invalid else None)
    return shown


def _tables(group: Group) -> Iterator[tuple[str, Table]]:
    if not group.is_sweep:
        for trial in group.trials:
            yield trial.title, tables.leg_table(trial, judge(trial))
        return
    for figure in tables.point_figures(group.trials):
        yield f"{group.trials[0].called}: {figure.title}", tables.point_table(group.trials, figure)
