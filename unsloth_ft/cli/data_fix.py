"""data fix: a repaired copy, and every change that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from unsloth_ft.cli import options

if TYPE_CHECKING:
    from unsloth_ft.data.repair import Repaired


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--out", required=True, metavar="NEW", help="The repaired copy, JSON Lines; never a file that is there already.")
@click.option("--changes", metavar="FILE", help="Write every change and every dropped row there, a line of JSON each.")
@click.option("--drop", is_flag=True, help="Leave out rows that can't be repaired without guessing; else they are listed and nothing is written.")
@click.option("--drop-contradictions", is_flag=True, help="Leave out every row whose question has another answer in another row.")
@click.option("--near-duplicates", is_flag=True, help="Remove rows that are nearly the same as one before, too; equal ones always are.")
@click.option("--eval-data", multiple=True, metavar="FILE", help="Held-out rows, whose questions must not be in NEW.")
@click.option("--encoding", metavar="NAME", help="What FILES are written in, where that is known, like cp1251.")
@options.SET
@options.OFFLINE
@options.JSON
def fix(
    files: tuple[str, ...],
    out: str,
    changes: str | None,
    drop: bool,
    drop_contradictions: bool,
    near_duplicates: bool,
    eval_data: tuple[str, ...],
    encoding: str | None,
    settings: tuple[str, ...],
    offline: bool,
    as_json: bool,
) -> None:
    """Write a repaired copy of FILES to NEW and list every change. FILES stay as they are; NEW passes `data check`."""
    from unsloth_ft import catalog
    from unsloth_ft.data.repair import Wanted, repair
    from unsloth_ft.recipe import Recipe

    recipe = catalog.override(Recipe(model="any"), settings)
    wanted = Wanted(
        columns=recipe.data.columns,
        roles=recipe.data.roles,
        offline=offline,
        encoding=encoding,
        drop=drop,
        drop_contradictions=drop_contradictions,
        near_duplicates=near_duplicates,
        eval_paths=eval_data,
        allow_leak=recipe.data.allow_leak,
    )
    done = repair(files, out, wanted, changes_path=changes)
    if as_json:
        options.print_json(_document(done))
        return
    _show(done, changes)


def _document(done: Repaired) -> dict[str, Any]:
    return {
        "path": done.path,
        "rows": done.rows,
        "sha256": done.sha256,
        "changes": done.changes.as_json(),
        "dropped": done.dropped.as_json(),
        "remarks": done.remarks.as_json(),
    }


def _show(done: Repaired, changes: str | None) -> None:
    from unsloth_ft.data.wording import count

    for title, findings in (("", done.changes), ("dropped: ", done.dropped)):
        for kind in findings.kinds:
            click.echo(f"{title}{kind.code} ({kind.count:,})")
            for line in kind.lines:
                click.echo(f"  {line.strip()}")
    for line in done.remarks.lines:
        click.echo(line if line.startswith(" ") else f"left as it is: {line}", err=True)
    said = count(done.changes.count, "change") if done.changes.count else "nothing to repair"
    dropped = f", {count(done.dropped.count, 'row')} dropped" if done.dropped.count else ""
    click.echo(f"{done.path}: {count(done.rows, 'row')}, {said}{dropped}; it passes data check; sha256 {done.sha256}")
    if changes:
        click.echo(f"every change: {changes}")
