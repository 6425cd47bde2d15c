"""run, resume and plan."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from functools import partial
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
@options.PROBE
@options.JSON
def run(out: str | None, exports: tuple[str, ...], dry_run: bool, probe: bool, as_json: bool, **inputs: Any) -> None:
    """Train RECIPE on --data, compare before and after, export, and write the report.

    RECIPE is a name from `unsloth-ft recipes list`, or the path of a .py file with a RECIPE.
    """
    from unsloth_ft.export import targets

    wanted = targets.parse(exports)
    if dry_run:
        _plan(inputs, wanted, out, probe=probe, as_json=as_json)
        return
    _run(inputs, wanted, out, command=["unsloth-ft", *sys.argv[1:]], probe=probe, as_json=as_json)


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
    _run(inputs, wanted, os.fspath(directory.path), command=["unsloth-ft", "resume", directory.name], probe=False, as_json=as_json)


@click.command()
@partial(options.training_inputs, data=options.DATA_IF_THERE)
@click.option("--export", "exports", multiple=True, metavar="TARGET", help="Check this export too.")
@click.option("--gpu", metavar="CARD", help="Plan for this card: a name like rtx4090 or t4, or a size like 24GB.")
@options.PROBE
@options.JSON
def plan(exports: tuple[str, ...], probe: bool, as_json: bool, **inputs: Any) -> None:
    """Show every value that `run` would use, with its reason, what it takes of memory, and the mask X-ray. Loads no weight."""
    from unsloth_ft.export import targets

    if probe and (inputs["gpu"] or not inputs["data_files"]):
        missing = "no --gpu; it measures this machine" if inputs["gpu"] else "--data; it trains on the longest rows"
        raise UserError(f"--probe wants {missing}.")
    wanted = targets.parse(exports)
    if not inputs["data_files"]:
        if wanted or inputs["eval_data"] or inputs["mix"]:
            raise UserError("--export, --eval-data and --mix want --data: what they are checked against is the data's own model and rows.")
        _sketch(inputs, as_json=as_json)
        return
    _plan(inputs, wanted, None, probe=probe, as_json=as_json)


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
        gpu=inputs.get("gpu"),
        mix=tuple(inputs.get("mix", ())),  # a run begun before --mix was there has none
    )


def _sketch(inputs: dict[str, Any], *, as_json: bool) -> None:
    """The plan without data."""
    from unsloth_ft.outlook import memory_record
    from unsloth_ft.report import terminal
    from unsloth_ft.report.memory_table import show_memory
    from unsloth_ft.sketch import sketch

    found = sketch(_request(inputs))
    recipe, length = found.request.recipe.recipe, found.data.length_p50
    memory = memory_record(recipe, found.plan, found.hardware, tokens_a_row=length)
    if as_json:
        told = {"plan": found.plan.as_json(), "memory": memory}
        options.print_json(told | {"assumed": found.assumed, "sizes_from": found.sizes_from, "warnings": list(found.plan.warnings)})
        return
    console = options.stdout()
    console.print(terminal.plan_table(found.plan))
    for line in (found.assumed, found.sizes_from):
        console.print(line, highlight=False, markup=False)
    show_memory(memory, console)
    terminal.show_warnings(found.plan.warnings, console)


def _plan(inputs: dict[str, Any], wanted: tuple, out: str | None, *, probe: bool, as_json: bool) -> None:
    from unsloth_ft import prepare
    from unsloth_ft.export.preflight import preflight
    from unsloth_ft.outlook import memory_record
    from unsloth_ft.report.memory_table import show_memory, show_probe
    from unsloth_ft.record import RunDirectory
    from unsloth_ft.report import terminal

    request = _request(inputs)
    directory = RunDirectory(Path(out)) if out else RunDirectory(Path("runs") / "planned")
    directory.refuse_unusable()
    prepared = prepare.prepare(request, activate=False)
    stages = preflight(wanted, prepared.base, prepared.chat, directory, prepared.hardware, dtype=prepared.plan.dtype.value)
    measured, warnings = _probed(prepared) if probe else (None, ())
    memory = memory_record(prepared.recipe, prepared.plan, prepared.hardware, tokens_a_row=prepared.xray.tokens_a_row)
    if as_json:
        shown = {"plan": prepared.plan.as_json(), "memory": memory}
        shown |= {"data": prepare.data_record(prepared), "exports": [asdict(stage) for stage in stages]}
        shown |= {"probe": asdict(measured)} if measured else {}
        options.print_json({**shown, "warnings": [*prepared.warnings, *warnings]})
        return
    console = options.stdout()
    terminal.show_plan(prepared, console)
    show_memory(memory, console)
    if measured:
        show_probe(prepared.plan.fitting, measured, console)
    terminal.show_warnings(warnings, console)
    terminal.show_stages(stages, prepared.hardware, directory, console)


def _probed(prepared: Any) -> tuple[Any, tuple[str, ...]]:
    """What the probe measured, and warnings; its rate and peaks are remembered. Raises MachineError when memory ran out, with what to try."""
    from unsloth_ft.measured import Measured, remember
    from unsloth_ft.outlook import rate_key, remember_rate
    from unsloth_ft.probe import measured_work, probe, rate, refuse_out_of_memory

    measured = probe(prepared)
    refuse_out_of_memory(prepared.plan, measured)
    warnings = remember_rate(rate_key(prepared.plan.fitting.work, prepared.hardware), rate(prepared, measured))
    warnings += remember(Measured(measured_work(prepared), measured.peaks, "probe"), prepared.hardware)
    return measured, tuple(dict.fromkeys(warnings))


def _run(inputs: dict[str, Any], wanted: tuple, out: str | None, *, command: list[str], probe: bool, as_json: bool) -> None:
    began = time.perf_counter()
    from unsloth_ft import prepare, record
    from unsloth_ft.report import terminal
    from unsloth_ft.run import run as run_all
    from unsloth_ft.train.loop import Interrupted

    console = options.stderr()
    request = _request(inputs)
    directory = record.RunDirectory(Path(out)) if out else record.new_run(f"{request.recipe.name}-{_stem(request.data[0])}")
    directory.refuse_unusable()
    # A run that goes on is planned with what was known when it began; what it measured itself must not make it another run.
    before = directory.read_local()
    prepared = prepare.prepare(request, activate=True, peaks=before.get("peaks", []) if before else None)
    if probe:
        from unsloth_ft.report.memory_table import show_probe

        measured, warnings = _probed(prepared)
        show_probe(prepared.plan.fitting, measured, console)
        terminal.show_warnings(warnings, console)
    # patterns by their files: a resumed run reads the same ones, whatever matches by then
    inputs |= {"data_files": request.data, "eval_data": request.eval_data}
    local = {"inputs": _absolute(inputs, request.recipe.recipe.model), "exports": [str(target) for target in wanted]}
    local["peaks"] = list(prepared.peaks)
    local["inputs"]["mix"] = [_absolute_mix(text) for text in request.recipe.recipe.data.mix]
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


def _absolute_mix(text: str) -> str:
    """`general.jsonl:0.15` with a path that holds from any working directory."""
    path, _, share = text.rpartition(":")
    return f"{os.path.abspath(path)}:{share}" if os.path.exists(path) else text


def _stem(file: str) -> str:
    from unsloth_ft.data import hub

    if hub.is_hub(file):
        return hub.parsed(file).name.split("/")[-1]
    name = Path(file.rstrip("/")).name
    return name.split(".")[0] or "data"
