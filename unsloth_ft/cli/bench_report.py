"""bench report: results as tables and plots, and the README's table."""

from __future__ import annotations

from pathlib import Path

import click

from unsloth_ft.errors import GateError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("bench/results"))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where the report goes.  [default: FOLDER]")
@click.option(
    "--readme", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="Rewrite the table in this file instead."
)
@click.option("--check", is_flag=True, help="Write nothing; exit 4 when the --readme file's table is not that of FOLDER.")
def report(folder: Path, out: Path | None, readme: Path | None, check: bool) -> None:
    """Write FOLDER's results (bench/results, or one run of it) as bench.md and bench.html."""
    from unsloth_ft.bench import readme as table
    from unsloth_ft.bench.report import report as write

    if check:
        if readme is None:
            raise click.UsageError("--check looks at a file: give it with --readme FILE.")
        if table.is_stale(readme, folder):
            raise GateError(
                f"{readme}: its bench table is not what {folder} holds. `unsloth-ft bench report {folder} --readme {readme}` rewrites it."
            )
        return
    if readme is not None:
        click.echo(f"{readme}: {'rewritten' if table.rewrite(readme, folder) else 'up to date'}")
    if out is not None or readme is None:
        for path in write(folder, out or folder):
            click.echo(path)
