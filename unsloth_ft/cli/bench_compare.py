"""bench compare: two sets of results beside each other."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from unsloth_ft.cli import options

if TYPE_CHECKING:
    from unsloth_ft.bench.compare import Comparison

WITHIN = {True: "yes", False: "NO", None: ""}


@click.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@options.JSON
def compare(one: str, other: str, as_json: bool) -> None:
    """Compare A and B: runs or folders of results, or RUN:LEG. Unequal work is refused, with its differences.

    \b
    unsloth-ft bench compare 2026-11-26-cpu my-rerun
    unsloth-ft bench compare 2026-11-26-cpu:peft-tuned 2026-11-26-cpu:unsloth-plan
    """
    from unsloth_ft.bench import compare as sides

    found = sides.compare(sides.side(one), sides.side(other))
    if as_json:
        options.print_json(as_values(found))
        return
    show(found, one, other)


def as_values(found: Comparison) -> dict[str, Any]:
    rows = [
        {
            "case": row.case,
            "leg": row.leg,
            "figure": row.figure.title,
            "a": asdict(row.one),
            "b": asdict(row.other),
            "b_over_a": asdict(row.ratio) if row.ratio else None,
            "verdict": row.figure.verdict(row.ratio),
            "within_spread": row.within,
        }
        for row in found.rows
    ]
    inside, figures = found.rerun
    return {"rows": rows, "rerun": {"within": inside, "of": figures}, "notes": list(found.notes)}


def show(found: Comparison, one: str, other: str) -> None:
    from rich.table import Table

    inside, figures = found.rerun
    columns = ["case", "leg", "figure", "A", "B", "B against A", *(["B within A's spread"] if figures else [])]
    table = Table(*columns, title=f"A: {one}\nB: {other}", title_justify="left", box=None, pad_edge=False)
    for row in found.rows:
        told = [row.figure.told(row.one), row.figure.told(row.other), row.figure.verdict(row.ratio)]
        table.add_row(row.case, row.leg, row.figure.title, *told, *([WITHIN[row.within]] if figures else []))
    options.stdout().print(table)
    if figures:
        click.echo(f"{inside} of {figures} figures of B are within A's spread, or no different from A's.")
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
