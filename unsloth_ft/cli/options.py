"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
OFFLINE = click.option("--offline", is_flag=True, help="Open no socket; use what is on this machine.")
SET = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a recipe field, like lora.r=32.")
MODEL = click.option("--model", metavar="ID|DIR", help="Another base model than the recipe's.")
BACKEND = click.option("--backend", default="auto", metavar="NAME", help="auto, unsloth or peft.  [default: auto]")
EVAL_DATA = click.option("--eval-data", multiple=True, metavar="FILE", help="Held-out rows; else a share of the data is held out.")


def training_inputs(command: Callable[..., Any]) -> Callable[..., Any]:
    """What decides a run: recipe, data, and what is changed about them."""
    for option in reversed(
        (
            click.argument("recipe"),
            click.option("--data", "data_files", multiple=True, required=True, metavar="FILE", help="Training rows; may be given again."),
            EVAL_DATA,
            MODEL,
            BACKEND,
            click.option("--max-steps", type=int, metavar="N", help="Stop after N optimizer steps."),
            click.option("--seed", type=int, metavar="N", help="Adapter weights, order of rows, split."),
            SET,
            OFFLINE,
        )
    ):
        command = option(command)
    return command


def stderr() -> Console:
    """Where progress, warnings and reasons go; stdout carries the answer."""
    return Console(stderr=True, soft_wrap=True)


def stdout() -> Console:
    return Console(soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
