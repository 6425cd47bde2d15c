"""bench synth: a checkpoint with a recipe's real architecture and random weights."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from unsloth_ft import backends
from unsloth_ft.bench.synth import SEED, synthesize
from unsloth_ft.cli.options import JSON, print_json


@click.command("synth")
@click.argument("recipe")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A new or an empty folder.")
@click.option("--layers", type=int, metavar="N", help="Write only the first N layers.")
@click.option("--nf4", is_flag=True, help="Linear layers in 4-bit NF4 (double quantization) instead of bfloat16.")
@click.option("--seed", default=SEED, show_default=True, type=click.IntRange(0, 2**32 - 1), metavar="N", help="Of the random weights.")
@JSON
def synth(recipe: str, out: Path, layers: int | None, nf4: bool, seed: int, as_json: bool) -> None:
    """Write a checkpoint with RECIPE's real architecture and random weights.

    For measuring speed and memory on a machine without a hub; it knows nothing and learns nothing worth keeping.
    """
    started = time.perf_counter()
    with backends.third_party():
        folder = synthesize(recipe, out, layers=layers, quantized=nf4, seed=seed)
    seconds = time.perf_counter() - started
    size = sum(file.stat().st_size for file in folder.iterdir())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told = {
        "recipe": recipe,
        "folder": str(folder),
        "architecture": config["architectures"][0],
        "layers": config["num_hidden_layers"],
        "weights": "nf4" if nf4 else "bfloat16",
        "seed": seed,
        "bytes": size,
        "seconds": round(seconds, 2),
    }
    if as_json:
        print_json(told)
        return
    what = f"{told['architecture']}, {told['layers']} layers, {told['weights']}, random weights (seed {seed})"
    click.echo(f"{folder}: {what}; {size / 1e9:.2f} GB in {seconds:.1f} s")
