"""data check: everything that can be said of data files, before anything is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unsloth_ft.cli import options

if TYPE_CHECKING:
    from unsloth_ft.data import Examination

SHA256_SHOWN = 12  # digits; the whole of it is in --json


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--eval-data", multiple=True, metavar="FILE", help="Held-out rows, whose questions must not be in FILES.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="PAGE.html", help="Write all of it as one page.")
@options.SET
@options.OFFLINE
@options.JSON
def check(
    files: tuple[str, ...], eval_data: tuple[str, ...], report: Path | None, settings: tuple[str, ...], offline: bool, as_json: bool
) -> None:
    """Say what is wrong with FILES, kind by kind, with lines. Needs no model; exit 2 when `run` would refuse them."""
    from unsloth_ft import catalog
    from unsloth_ft import data as reading
    from unsloth_ft.recipe import Recipe

    if report is not None:
        _check_report(report, (*files, *eval_data))
    recipe = catalog.override(Recipe(model="any"), settings)
    found = reading.examine(
        files,
        columns=recipe.data.columns,
        roles=recipe.data.roles,
        offline=offline,
        eval_paths=eval_data,
        allow_leak=recipe.data.allow_leak,
    )
    if report is not None:
        _write_page(report, found)
    if as_json:
        options.print_json(_document(found))
        if found.findings.of("error").count:
            raise SystemExit(2)
        return
    for severity in ("warning", "note"):
        for line in found.findings.of(severity).lines:
            click.echo(line if line.startswith(" ") else f"{severity}: {line}", err=severity == "warning")
    found.findings.raise_errors()
    for line in _summary(found):
        click.echo(line)


def _check_report(report: Path, files: tuple[str, ...]) -> None:
    """The page never takes a data file's place. Raises: UserError."""
    from unsloth_ft.errors import UserError

    if report.resolve() in {Path(file).resolve() for file in files}:
        raise UserError(f"--report is {report}, one of the data files. Name another file.")


def _write_page(report: Path, found: Examination) -> None:
    from unsloth_ft.report import data_page

    data_page.write(report, found)
    click.echo(f"report: {report}", err=True)


def _document(found: Examination) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "rows": found.rows,
        "shape": found.shape,
        "files": [asdict(facts) for facts in found.files],
        "eval_files": [asdict(facts) for facts in found.eval_files],
        "counts": _counts(found),
        "findings": found.findings.as_json(),
        "survey": found.survey.as_json(),
    }


def _counts(found: Examination) -> dict[str, int]:
    return {f"{severity}s": found.findings.of(severity).count for severity in ("error", "warning", "note")}


def _summary(found: Examination) -> list[str]:
    files = [f"{facts.path}: {facts.rows:,} rows, {facts.bytes:,} bytes, sha256 {facts.sha256[:SHA256_SHOWN]}" for facts in found.files]
    counts = ", ".join(f"{number:,} {name}" for name, number in _counts(found).items())
    return [*files, f"{found.rows:,} rows of shape {found.shape}: {counts}"]
