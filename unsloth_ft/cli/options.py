"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console

LINE_IN_A_FILE = 400  # characters; the plan's longest reason has about 150

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
OFFLINE = click.option("--offline", is_flag=True, help="Open no socket; use what is on this machine.")
SET = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a recipe field, like lora.r=32.")
MODEL = click.option("--model", metavar="ID|DIR", help="Another base model than the recipe's.")
BACKEND = click.option(
    "--backend",
    default="auto",
    type=click.Choice(("auto", "unsloth", "fused", "peft")),
    help="Who trains; auto chooses and says why.  [default: auto]",
)
EVAL_DATA = click.option("--eval-data", multiple=True, metavar="FILE", help="Held-out rows; else a share of the data is held out.")
MIX = click.option(
    "--mix",
    multiple=True,
    metavar="FILE:SHARE",
    help="General rows against forgetting, as a share of all training rows, like general.jsonl:0.15; may be given again.",
)
PROBE = click.option("--probe", is_flag=True, help="Measure the largest batches first, in a process of its own.")
DATA = click.option("--data", "data_files", multiple=True, required=True, metavar="FILE", help="Training rows; may be given again.")
DATA_IF_THERE = click.option(
    "--data", "data_files", multiple=True, metavar="FILE", help="Training rows; without them a plan is for rows of max_seq_length tokens."
)


def training_inputs(command: Callable[..., Any], data: Callable[..., Any] = DATA) -> Callable[..., Any]:
    """What decides a run: recipe, data, and what is changed about them."""
    for option in reversed(
        (
            click.argument("recipe"),
            data,
            EVAL_DATA,
            MIX,
            MODEL,
            BACKEND,
            click.option("--max-steps", type=click.IntRange(1), metavar="N", help="Stop after N optimizer steps."),
            click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Adapter weights, order of rows, split."),
            SET,
            OFFLINE,
        )
    ):
        command = option(command)
    return command


def check_page(option: str, path: Path) -> None:
    """A page takes only another page's place. Raises: UserError for any other name."""
    from unsloth_ft.errors import UserError

    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{option} is {path}; expected a name that ends in .html. Write {option} {path.with_suffix('.html')}.")


def stderr() -> Console:
    """Where progress, warnings and reasons go; stdout carries the answer."""
    return Console(stderr=True, soft_wrap=True, width=_width(sys.stderr))


def stdout() -> Console:
    return Console(soft_wrap=True, highlight=False, width=_width(sys.stdout))


def _width(stream: TextIO) -> int | None:
    """The terminal's own; in a file or a pipe a line is never broken, so that it can be searched."""
    return None if stream.isatty() else LINE_IN_A_FILE


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    from unsloth_ft.record import as_json

    click.echo(as_json(value), nl=False)
