"""data split."""

from __future__ import annotations

import shlex
from dataclasses import asdict

import click

from unsloth_ft.cli import options
from unsloth_ft.errors import UserError


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--out", required=True, metavar="DIR", help="Folder for train.jsonl and held_out.jsonl; made if it isn't there.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="X",
    help="Share of the rows to hold out, like 0.2.  [default: data.held_out, 0.1]",
)
@click.option("--rows", type=click.IntRange(1), metavar="N", help="Rows to hold out, in place of a share.")
@click.option("--seed", default=3407, show_default=True, type=click.IntRange(0, 2**32 - 1), metavar="N", help="What decides which.")
@options.SET
@options.OFFLINE
@options.JSON
def split(
    files: tuple[str, ...], out: str, share: float | None, rows: int | None, seed: int, settings: tuple[str, ...], offline: bool, as_json: bool
) -> None:
    """Split FILES into rows to train on and rows to measure on. Rows with the same question stay on one side."""
    from unsloth_ft import catalog
    from unsloth_ft import data as reading
    from unsloth_ft.data import split_files
    from unsloth_ft.data.wording import count
    from unsloth_ft.recipe import Recipe

    if share is not None and rows is not None:
        raise UserError("--share and --rows both say how much to hold out; expected one of them.")
    recipe = catalog.override(Recipe(model="any"), settings)
    split_files.targets(out, files)
    dataset = reading.load(list(files), columns=recipe.data.columns, roles=recipe.data.roles, offline=offline)
    done = split_files.write(dataset, out, share=recipe.data.held_out if share is None else share, rows=rows, seed=seed)
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        options.print_json({**asdict(done), "seed": seed})
        return
    for side in (done.train, done.held_out):
        click.echo(f"{side.path}: {count(side.rows, 'row')}, sha256 {side.sha256}, as conversations {side.conversations_sha256}")
    if done.rewritten:
        click.echo("note: not all files are JSON Lines of one shape: each row was written as a line of JSON with its messages", err=True)
    named = [setting for setting in settings if not done.rewritten or not setting.startswith(("data.columns", "data.roles"))]
    same = "".join(f" --set {shlex.quote(setting)}" for setting in named)
    click.echo(f"train on it: unsloth-ft run RECIPE --data {done.train.path} --eval-data {done.held_out.path}{same}")
