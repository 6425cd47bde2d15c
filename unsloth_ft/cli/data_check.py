"""data check: everything that can be said of data files, before anything is paid for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unsloth_ft.cli import options

if TYPE_CHECKING:
    from unsloth_ft.chat_check import TokenCheck
    from unsloth_ft.data import Examination
    from unsloth_ft.data.histogram import Histogram
    from unsloth_ft.model_facts import ModelFacts
    from unsloth_ft.recipe import Recipe

SEVERITIES = ("error", "warning", "note")
SHA256_SHOWN = 12  # digits; the whole of it is in --json
MOST_PROCESSES = 8  # each takes 30 MB beside the others; reading feeds no more


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--recipe", metavar="NAME", help="Count tokens as this recipe's model does, and check its chat template.")
@options.MODEL
@click.option("--eval-data", multiple=True, metavar="FILE", help="Held-out rows, whose questions must not be in FILES.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="PAGE.html", help="Write all of it as one page.")
@options.SET
@options.OFFLINE
@options.JSON
def check(
    files: tuple[str, ...],
    recipe: str | None,
    model: str | None,
    eval_data: tuple[str, ...],
    report: Path | None,
    settings: tuple[str, ...],
    offline: bool,
    as_json: bool,
) -> None:
    """Say what is wrong with FILES, kind by kind, with lines. Needs no model; exit 2 when `run` would refuse them."""
    from unsloth_ft import data as reading
    from unsloth_ft.hardware import usable_cores

    if report is not None:
        _check_report(report, [*reading.names(files), *(reading.names(eval_data) if eval_data else ())])
    values = _values(recipe, model, settings)
    tokens, facts = _tokens(values, offline=offline) if recipe or model else (None, None)
    found = reading.examine(
        files,
        columns=values.data.columns,
        roles=values.data.roles,
        offline=offline,
        eval_paths=eval_data,
        allow_leak=values.data.allow_leak,
        take=tokens.take if tokens else None,
        take_held_out=tokens.take_held_out if tokens else None,
        processes=min(MOST_PROCESSES, usable_cores()),
    )
    if found.one_question and not eval_data and not found.findings.of("error").count:
        found = _with_one_question(found)
    if tokens and facts:
        found = _with_tokens(found, tokens, values, facts)
    if tokens or values.data.special_tokens == "text":  # the tokenizer's own tokens are known, or all are meant as text
        found = replace(found, findings=found.findings.without("control-token"))
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


def _check_report(report: Path, files: list[str]) -> None:
    """The page never takes a data file's place, by whatever name. Raises: UserError."""
    from unsloth_ft.data.paths import same_file
    from unsloth_ft.errors import UserError

    if any(same_file(report, file) for file in files):
        raise UserError(f"--report is {report}, one of the data files. Name another file.")
    options.check_page("--report", report)


def _write_page(report: Path, found: Examination) -> None:
    from unsloth_ft.report import data_page

    data_page.write(report, found)
    click.echo(f"report: {report}", err=True)


def _values(name: str | None, model: str | None, settings: tuple[str, ...]) -> Recipe:
    """The recipe's values; without one the defaults."""
    from unsloth_ft import catalog
    from unsloth_ft.recipe import Recipe

    recipe = catalog.override(catalog.find(name).recipe if name else Recipe(model="any"), settings)
    return recipe.model_copy(update={"model": model, "wheel": None, "revision": None}) if model else recipe


def _tokens(recipe: Recipe, *, offline: bool) -> tuple[TokenCheck, ModelFacts]:
    from unsloth_ft import base_model, prepare
    from unsloth_ft.chat_check import TokenCheck

    if offline:
        prepare.go_offline()
    base = base_model.find(recipe.model, revision=recipe.revision, wheel=recipe.wheel, offline=offline)
    return TokenCheck(prepare.chat_of(recipe, base)), base.facts()


def _with_one_question(found: Examination) -> Examination:
    """`run` refuses these files alone; held-out rows, or rows to mix in, may be one."""
    from unsloth_ft.data import Finding, collected
    from unsloth_ft.data.split import one_question

    file = next(facts.path for facts in found.files if facts.rows)
    return replace(found, findings=found.findings + collected([Finding(file, None, "warning", "one-question", one_question(found.rows))]))


def _with_tokens(found: Examination, tokens: TokenCheck, recipe: Recipe, facts: ModelFacts) -> Examination:
    """By the length that a run of these rows would take."""
    from unsloth_ft.plan import max_seq_length
    from unsloth_ft.plan_values import Decision

    lengths, positions = tokens.facts(), facts.max_position_embeddings
    length = max_seq_length(recipe, lengths, facts) if lengths is not None else Decision(positions, "the model's limit")
    return tokens.added_to(found, max_seq_length=length.value, reason=length.reason, positions=positions)


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
    return {f"{severity}s": found.findings.of(severity).count for severity in SEVERITIES}


def _summary(found: Examination) -> list[str]:
    from unsloth_ft.data.wording import count

    files = [
        f"{facts.path}: {count(facts.rows, 'row')}, {facts.bytes:,} bytes, sha256 {facts.sha256[:SHA256_SHOWN]}"
        for facts in (*found.files, *found.eval_files)
    ]
    survey = found.survey
    lengths = [("question", survey.questions), ("answer", survey.answers), ("row", survey.lengths)]
    shown = [f"{name}s in characters: {_percentiles(histogram)}" for name, histogram in lengths if histogram.number]
    if survey.tokens.number:
        length, why = survey.recommended_max_seq_length()
        shown.append(f"rows in tokens: {_percentiles(survey.tokens)}; max_seq_length {length} would do ({why})")
    counts = ", ".join(count(found.findings.of(severity).count, severity) for severity in SEVERITIES)
    return [*files, *shown, f"{count(found.rows, 'row')} of shape {found.shape}: {counts}"]


def _percentiles(histogram: Histogram) -> str:
    return ", ".join(f"p{percent} {histogram.percentile(percent):,}" for percent in (50, 95, 99)) + f", max {histogram.percentile(100):,}"
