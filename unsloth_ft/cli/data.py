"""The group of commands on data files."""

from __future__ import annotations

import click

from unsloth_ft.cli.data_check import check
from unsloth_ft.cli.data_fix import fix
from unsloth_ft.cli.data_preview import preview
from unsloth_ft.cli.data_split import split


@click.group()
def data() -> None:
    """Check a data file, repair it, split it, or see it as the model will."""


for command in (check, fix, preview, split):
    data.add_command(command)
