"""Peaks of real training steps over a grid of settings: what the plan's memory table is held against, and its constants fitted to.

    python -m unsloth_ft.bench.memory_grid --out bench/results/DATE-memory-grid-cpu.json [--backend peft …] [--dtype bfloat16 …]

Each point is a process of its own, the one that `--probe` runs: loading, two training steps, an evaluation, answers. Points that are in
the file already aren't measured again, so that a grid which was broken off goes on. Weights are random; memory doesn't depend on them.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import click

from unsloth_ft import base_model, catalog, hardware
from unsloth_ft.backends import NAMES
from unsloth_ft.bench.synth import synthesize
from unsloth_ft.bench.workload import ordinary_ids, random_row
from unsloth_ft.hardware import Hardware
from unsloth_ft.measured import work_as_json
from unsloth_ft.memory_fit import checkpointing_name
from unsloth_ft.memory_values import Work
from unsloth_ft.plan import DataFacts, Decision, Plan, resolve
from unsloth_ft.recipe import Recipe
from unsloth_ft.record import versions, write_atomically
from unsloth_ft.probe import Probe, longest, measure

LEARNED = 0.4  # of a row: an answer's share
ANSWER_TOKENS = 16


@dataclass(frozen=True)
class Point:
    """One setting of the grid."""

    backend: str
    dtype: str
    checkpointing: str
    """none, layers, unsloth or first N layers."""
    load_in_4bit: bool
    recipe: str
    layers: int
    r: int
    rows: int
    length: int

    @property
    def gradient_checkpointing(self) -> str | bool | int:
        """The reverse of checkpointing_name."""
        known: dict[str, str | bool] = {"none": False, "layers": True, "unsloth": "unsloth"}
        return known[self.checkpointing] if self.checkpointing in known else int(self.checkpointing.split()[1])


# Whose shapes, and how many of its layers. Different widths against each other tell hidden from intermediate size, different layers what
# is held once from what every layer holds.
MODELS = {
    "cpu": (("smollm2-135m", 8), ("smollm2-135m", 24), ("qwen25-0.5b", 6), ("llama32-1b", 3), ("qwen3-0.6b", 6)),
    "cuda": (("llama32-1b", 16), ("qwen25-0.5b", 24), ("qwen3-4b", 12), ("llama31-8b", 8), ("llama31-8b", 32)),
}
SHAPES = {
    "cpu": ((1, 128), (4, 128), (1, 512), (8, 192), (2, 1024)),
    "cuda": ((1, 512), (8, 128), (4, 512), (8, 512), (2, 2048), (1, 8192)),
}
RANKS = (8, 64)


def grid(device: str, backends: Sequence[str], dtypes: Sequence[str], *, selective: bool = False) -> Iterator[Point]:
    """A part of the full grid in which every value of each setting meets every model, and every shape (a Latin square).

    `selective`: the first half of the layers is checkpointed, in place of none or all. What comes first covers every backend and way of checkpointing, so that a grid that is broken off can be fitted too.
    """
    for turn in range(3):
        for at, (recipe, layers) in enumerate(MODELS[device]):
            rows, length = SHAPES[device][(at + 2 * turn) % len(SHAPES[device])]
            for dtype in dtypes:
                for backend in backends:
                    for way in (checkpointing_name(layers // 2),) if selective else ways(backend, device):
                        yield Point(backend, dtype, way, turn == 1, recipe, layers, RANKS[(at + turn) % 2], rows, length)


def ways(backend: str, device: str) -> tuple[str, ...]:
    """Checkpointing that the backend has there."""
    return ("none", "layers", "unsloth") if backend == "unsloth" and device == "cuda" else ("none", "layers")


def planned(point: Point, folder: Path, machine: Hardware) -> tuple[Recipe, Plan]:
    """The point as a run's recipe and plan, all of it set by hand."""
    base = base_model.BaseModel(point.recipe, None, folder, "the bench")
    settings = [
        f"dtype={point.dtype}",
        f"load_in_4bit={str(point.load_in_4bit).lower()}",
        f"max_seq_length={point.length}",
        f"lora.r={point.r}",
        f"train.per_device_train_batch_size={point.rows}",
        "train.gradient_accumulation_steps=1",
        f"train.per_device_eval_batch_size={point.rows}",
        f"train.gradient_checkpointing={json.dumps(point.gradient_checkpointing)}",
        "train.optim=adamw_torch_fused",
        f"evaluate.max_new_tokens={ANSWER_TOKENS}",
        f"evaluate.answers={point.rows}",
    ]
    recipe = catalog.override(catalog.find(point.recipe).recipe, settings)
    facts = DataFacts(2 * point.rows, point.rows, point.length, point.length, point.length)
    return recipe, resolve(recipe, facts, base.facts(), machine, Decision(point.backend, "the grid's"))


def request(point: Point, folder: Path, machine: Hardware) -> tuple[dict[str, Any], Work]:
    """What the probe's program is given, and the work that it does."""
    recipe, plan = planned(point, folder, machine)
    assert plan.fitting is not None  # a plan that was just made has one
    first, last = ordinary_ids(plan.fitting.work.model.vocab_size)
    generator = random.Random(repr(point))
    drawn = [random_row(point.length, LEARNED, generator, first=first, last=last, where="a point") for _ in range(point.rows)]
    learned = sum(row.learned for row in drawn)
    batch = replace(plan.fitting.work.training, learned=learned)
    work = replace(plan.fitting.work, training=batch, evaluation=batch, answers=replace(plan.fitting.work.answers, rows=point.rows))
    width = point.length + ANSWER_TOKENS
    work = replace(work, answers=replace(work.answers, longest=width, tokens=point.rows * width))
    rows = longest(drawn, point.rows)
    told = {"recipe": recipe.model_dump(mode="json"), "plan": plan.as_json(), "base": str(folder), "rows": rows, "held_out": rows}
    return told | {"prompts": [list(row.input_ids) for row in drawn], "max_new_tokens": ANSWER_TOKENS}, work


def as_json(point: Point, work: Work, found: Probe) -> dict[str, Any]:
    told = {"point": asdict(point), "work": work_as_json(work), "peaks": found.peaks, "seconds": {key: round(value, 3) for key, value in found.seconds.items()}}
    return told | ({"out_of_memory": found.out_of_memory} if found.out_of_memory else {})


@click.command(help=__doc__.split("\n")[0])
@click.option("--out", required=True, type=click.Path(path_type=Path), help="JSON file; points that it has are kept.")
@click.option("--backend", "backends", multiple=True, type=click.Choice(NAMES), default=NAMES, show_default=True)
@click.option("--dtype", "dtypes", multiple=True, default=("bfloat16",), show_default=True)
@click.option("--selective", is_flag=True, help="Checkpoint the first half of the layers, in place of none or all.")
@click.option("--most", type=int, help="Stop after so many new points.")
def main(out: Path, backends: tuple[str, ...], dtypes: tuple[str, ...], selective: bool, most: int | None) -> None:
    machine = hardware.detect()
    device = "cuda" if machine.gpu else "cpu"
    known = json.loads(out.read_text(encoding="utf-8"))["points"] if out.is_file() else []
    told = {"grid_format": 1, "date": str(date.today()), "device": device, "machine": machine.summary, "versions": versions(), "points": known}
    left = [point for point in grid(device, backends, dtypes, selective=selective) if asdict(point) not in [entry["point"] for entry in known]]
    with tempfile.TemporaryDirectory() as scratch:
        for number, point in enumerate(left[:most], 1):
            folder = Path(scratch) / f"{point.recipe}-{point.layers}"
            if not folder.exists():
                synthesize(point.recipe, folder, layers=point.layers)
            asked, work = request(point, folder, machine)
            found = measure(asked)
            known.append(as_json(point, work, found))
            write_atomically(out, json.dumps(told, indent=1) + "\n")
            peaks = ", ".join(f"{name} {peak / 2**30:.2f}" for name, peak in found.peaks.items())
            click.echo(f"{number}/{len(left)} {' '.join(map(str, asdict(point).values()))}: {peaks} GiB {found.out_of_memory}")


if __name__ == "__main__":
    main()
