"""data check and data preview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from unsloth_ft.cli import options
from unsloth_ft.cli.data_check import check
from unsloth_ft.cli.data_fix import fix
from unsloth_ft.cli.data_split import split

if TYPE_CHECKING:
    from unsloth_ft.chat import Row


@click.group()
def data() -> None:
    """Check a data file, repair it, split it, or see it as the model will."""


data.add_command(check)
data.add_command(fix)
data.add_command(split)


@data.command()
@click.argument("file")
@click.option("--recipe", required=True, metavar="NAME", help="Whose tokenizer and chat template to look through.")
@click.option("--rows", default=3, show_default=True, type=click.IntRange(1), metavar="N", help="Rows to show.")
@options.MODEL
@options.SET
@options.OFFLINE
@options.JSON
def preview(file: str, recipe: str, rows: int, as_json: bool, **inputs: Any) -> None:
    """Show rows of FILE as the model will see them, with the tokens it learns marked."""
    from rich.text import Text

    from unsloth_ft import base_model, prepare, xray
    from unsloth_ft import data as reading
    from unsloth_ft.backends import third_party
    from unsloth_ft.chat import Chat, load_tokenizer
    from unsloth_ft.report import terminal

    request = prepare.request(recipe, data=(file,), **inputs)
    values = request.recipe.recipe
    if request.offline:
        prepare.go_offline()
    dataset = reading.load([file], columns=values.data.columns, roles=values.data.roles, offline=request.offline)
    base = base_model.find(values.model, revision=values.revision, wheel=values.wheel, offline=request.offline)
    with third_party():
        tokenizer = load_tokenizer(base.folder)
    chat = Chat(
        tokenizer, template_kwargs=values.chat_template_kwargs, train_on=values.data.train_on, special_tokens=values.data.special_tokens
    )
    encoded = xray.encode_all(dataset.conversations, chat)
    if as_json:
        options.print_json([_seen(row, xray.pieces(row, tokenizer)) for row in encoded[:rows]])
        return
    facts = xray.measure(encoded, ())
    console = options.stdout()
    console.print(f"{len(encoded)} rows; tokens: p50 {facts.length_p50}, p95 {facts.length_p95}, max {facts.length_max}")
    for row in encoded[:rows]:
        console.print(f"{row.where}: {row.learned} of {len(row.input_ids)} tokens learned, between ⟦ ⟧")
        console.print(Text("  ") + terminal.example_text(tuple(xray.pieces(row, tokenizer))))


def _seen(row: Row, pieces: list[tuple[str, bool]]) -> dict[str, Any]:
    shown = [{"text": text, "learned": learned} for text, learned in pieces]
    return {"where": row.where, "tokens": len(row.input_ids), "learned_tokens": row.learned, "pieces": shown}
