"""What a training step's time goes into, by kind of operation, for each leg of a case.

    python -m bench.step_profile --case speed-faq --leg peft-tuned --leg unsloth-plan --out bench/results/step-profile.json

Each leg trains in a process of its own, in the same environment as in `unsloth-ft bench run`, with its measured steps under
torch.profiler. Shares are of the wall time between two ends of steps, and add up to 1.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from unsloth_ft import base_model, catalog, hardware
from unsloth_ft.bench import case, machine, processes
from unsloth_ft.bench.case import Case, Leg
from unsloth_ft.bench.profile_worker import KINDS
from unsloth_ft.record import now, versions, write_atomically

WORKER = "unsloth_ft.bench.profile_worker"
LIMIT_SECONDS = 1800  # as a leg of `bench run`


def profiled(asked: Case, leg: str, model: Path, folder: Path, *, threads: int) -> dict[str, Any]:
    """One leg's StepProfile as values, with the leg's setup. Raises bench.processes.WorkerError."""
    request = {
        "case": asked.model_dump(mode="json"), "leg": Leg(kind=leg).model_dump(mode="json"), "model": str(model), "scratch": str(folder),
    }  # fmt: skip
    caches = folder.with_name(f"{leg}-caches")
    caches.mkdir()
    worker = processes.Worker(WORKER, request, folder=folder, environment=processes.environment(threads=threads, caches=caches))
    try:
        ready = worker.ready(limit_seconds=LIMIT_SECONDS)
        return worker.repeat(0, limit_seconds=LIMIT_SECONDS) | {"setup": ready["setup"]}
    finally:
        worker.close()


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row a leg, a column a kind of operation."""
    kinds = (*KINDS, "rest")
    lines = [f"| leg | ms a token | {' | '.join(kinds)} |", "|" + "---|" * (len(kinds) + 2)]
    for leg, one in found.items():
        shares = " | ".join(f"{one['shares'][kind]:.1%}" for kind in kinds)
        lines.append(f"| {leg} | {1000 * one['seconds'] / one['tokens']:.2f} | {shares} |")
    return "\n".join(lines)


@click.command(help=__doc__.split("\n")[0])
@click.option("--case", "name", default="speed-faq", show_default=True, help="Whose rows.")
@click.option("--leg", "legs", multiple=True, type=click.Choice(case.KINDS), default=("peft-tuned", "unsloth-plan"), show_default=True)
@click.option("--model", metavar="ID|DIR", help="Another base model than the recipe's.")
@click.option("--steps", type=click.IntRange(1), help="Steps under the profiler.  [default: the case's]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures as JSON.")
def main(name: str, legs: tuple[str, ...], model: str | None, steps: int | None, out: Path | None) -> None:
    here = hardware.detect()
    asked = case.find(name).on("cuda" if here.gpu else "cpu")
    asked = asked.model_copy(update={"steps": steps or asked.steps})
    recipe = catalog.find(asked.recipe).recipe
    folder = base_model.find(model).folder if model else base_model.find(recipe.model, revision=recipe.revision, wheel=recipe.wheel).folder
    threads = int(os.environ.get("OMP_NUM_THREADS") or here.cpu_count)
    found = {}
    with tempfile.TemporaryDirectory(prefix="unsloth-ft-profile-") as scratch:
        for leg in legs:
            found[leg] = profiled(asked, leg, folder, Path(scratch) / leg, threads=threads)
    click.echo(table(found))
    if out:
        command = " ".join(["python -m bench.step_profile", "--case", name, *(word for leg in legs for word in ("--leg", leg))])
        about = {"command": command, "date": now(), "versions": versions(), "machine": machine.facts(here, threads=threads)}
        told = about | {"git": machine.git(), "case": name, "steps": asked.steps, "legs": found}
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
