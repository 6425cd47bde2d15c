"""bench report: results as tables and plots."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("bench/results"))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where the report goes.  [default: FOLDER]")
def report(folder: Path, out: Path | None) -> None:
    """Write FOLDER's results (bench/results, or one run of it) as bench.md and bench.html."""
    from unsloth_ft.bench.report import report as write

    for path in write(folder, out or folder):
        click.echo(path)
