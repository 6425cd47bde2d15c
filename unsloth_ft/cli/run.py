"""run, resume and plan."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from unsloth_ft.cli import options
from unsloth_ft.errors import UserError


@click.command()
@options.training_inputs
@click.option("--out", metavar="DIR", help="Run directory; the same command goes on where it stopped.  [default: runs/RECIPE-DATA]")
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="TARGET",
    help="adapter, merged, gguf:QUANT, gguf-lora or ollama; may be given again.",
)
@click.option("--dry-run", is_flag=True, help="Show plan and mask X-ray, check everything, train nothing.")
@options.JSON
def run(out: str | None, exports: tuple[str, ...], dry_run: bool, as_json: bool, **inputs: Any) -> None:
    """Train RECIPE on --data, compare before and after, export, and write the report.

    RECIPE is a name from `unsloth-ft recipes list`, or the path of a .py file with a RECIPE.
    """
    from unsloth_ft.export import targets

    wanted = targets.parse(exports)
    if dry_run:
        _plan(inputs, wanted, out, as_json=as_json)
        return
    _run(inputs, wanted, out, command=["unsloth-ft", *sys.argv[1:]], as_json=as_json)


@click.command()
@click.argument("name")
@options.OFFLINE
@options.JSON
def resume(name: str, offline: bool, as_json: bool) -> None:
    """Go on with run NAME (a run directory, or a name under runs/) where it stopped."""
    from unsloth_ft import record
    from unsloth_ft.export import targets

    directory = record.find(name)
    directory.read()
    local = directory.read_local()
    if "inputs" not in local or "exports" not in local:
        raise UserError(
            f"{directory.name}: its local.json is missing, which says where data and model lie. Give the command of its run.json again, "
            "with --out."
        )
    inputs = local["inputs"] | {"offline": offline or local["inputs"]["offline"]}
    wanted = targets.parse(local["exports"])
    # The record keeps the command of its first run; a run killed before its record has none yet.
    _run(inputs, wanted, os.fspath(directory.path), command=["unsloth-ft", "resume", directory.name], as_json=as_json)


@click.command()
@options.training_inputs
@click.option("--export", "exports", multiple=True, metavar="TARGET", help="Check this export too.")
@options.JSON
def plan(exports: tuple[str, ...], as_json: bool, **inputs: Any) -> None:
    """Show every value that `run` would use, with its reason, and the mask X-ray. Loads no weight."""
    from unsloth_ft.export import targets

    _plan(inputs, targets.parse(exports), None, as_json=as_json)


def _request(inputs: dict[str, Any]) -> Any:
    from unsloth_ft import prepare

    return prepare.request(
        inputs["recipe"],
        data=tuple(inputs["data_files"]),
        eval_data=tuple(inputs["eval_data"]),
        model=inputs["model"],
        backend=inputs["backend"],
        max_steps=inputs["max_steps"],
        seed=inputs["seed"],
        settings=tuple(inputs["settings"]),
        offline=inputs["offline"],
    )


def _plan(inputs: dict[str, Any], wanted: tuple, out: str | None, *, as_json: bool) -> None:
    from unsloth_ft import prepare
    from unsloth_ft.export.preflight import preflight
    from unsloth_ft.record import RunDirectory
    from unsloth_ft.report import terminal

    request = _request(inputs)
    directory = RunDirectory(Path(out)) if out else RunDirectory(Path("runs") / "planned")
    directory.refuse_unusable()
    prepared = prepare.prepare(request, activate=False)
    stages = preflight(wanted, prepared.base, prepared.chat, directory, prepared.hardware, dtype=prepared.plan.dtype.value)
    if as_json:
        shown = {"plan": prepared.plan.as_json(), "data": prepare.data_record(prepared), "exports": [asdict(stage) for stage in stages]}
        options.print_json({**shown, "warnings": list(prepared.warnings)})
    else:
        terminal.show_plan(prepared, options.stdout())
        terminal.show_stages(stages, prepared.hardware, directory, options.stdout())


def _run(inputs: dict[str, Any], wanted: tuple, out: str | None, *, command: list[str], as_json: bool) -> None:
    began = time.perf_counter()
    from unsloth_ft import prepare, record
    from unsloth_ft.report import terminal
    from unsloth_ft.run import run as run_all
    from unsloth_ft.train.loop import Interrupted

    console = options.stderr()
    request = _request(inputs)
    directory = record.RunDirectory(Path(out)) if out else record.new_run(f"{request.recipe.name}-{_stem(inputs['data_files'][0])}")
    directory.refuse_unusable()
    prepared = prepare.prepare(request, activate=True)
    local = {"inputs": _absolute(inputs, request.recipe.recipe.model), "exports": [str(target) for target in wanted]}
    try:
        result = run_all(prepared, directory, wanted, command=command, local=local, console=console, began=began)
    except Interrupted as error:
        console.print(f"{error}.", highlight=False)
        sys.exit(128 + error.signal_number)
    if as_json:
        options.print_json(result)
        return
    answer = options.stdout()
    terminal.summary(result, answer)
    answer.print(f"run directory: {directory.path}\nreport: {directory.report}")


def _absolute(inputs: dict[str, Any], model: str) -> dict[str, Any]:
    """The inputs with paths that hold from any working directory, for `resume`. `model`: the one in use, asked for or the recipe's."""

    def path(text: str) -> str:
        return os.path.abspath(text) if os.path.exists(text) else text

    changed = {"data_files": [path(file) for file in inputs["data_files"]], "eval_data": [path(file) for file in inputs["eval_data"]]}
    recipe = inputs["recipe"]
    changed["recipe"] = os.path.abspath(recipe) if recipe.endswith(".py") else recipe
    changed["model"] = os.path.abspath(os.path.expanduser(model)) if os.path.isdir(os.path.expanduser(model)) else inputs["model"]
    return inputs | changed | {"settings": list(inputs["settings"])}


def _stem(file: str) -> str:
    name = Path(file.rstrip("/")).name
    return name.split(".")[0] or "data"
