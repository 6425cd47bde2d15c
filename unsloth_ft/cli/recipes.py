"""recipes list and recipes show."""

from __future__ import annotations

import click

from unsloth_ft import catalog
from unsloth_ft.cli.options import JSON, SET, print_json


@click.group()
def recipes() -> None:
    """List the recipes, or show one."""


@recipes.command("list")
@JSON
def list_(as_json: bool) -> None:
    """Every recipe with its base model."""
    entries = catalog.all_entries()
    if as_json:
        print_json(
            [
                {"name": entry.name, "model": entry.recipe.model, "load_in_4bit": entry.recipe.load_in_4bit, "source": entry.source}
                for entry in entries
            ]
        )
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        kind = "QLoRA" if entry.recipe.load_in_4bit else "LoRA "
        click.echo(f"{entry.name:<{width}}  {kind}  {entry.recipe.model}")


@recipes.command("show")
@click.argument("name")
@SET
@JSON
def show(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Every field of recipe NAME (or of a .py file) with its value and meaning."""
    entry = catalog.find(name)
    recipe = catalog.override(entry.recipe, settings)
    if as_json:
        print_json(recipe.model_dump(mode="json"))
        return
    click.echo(f"{entry.name} ({entry.source})")
    for key, meaning in catalog.fields().items():
        value = recipe
        for part in key.split("."):
            value = getattr(value, part)
        shown = ",".join(value) if isinstance(value, tuple) else value
        click.echo(f"  {key} = {shown}\n      {meaning}")
