"""What is done with a trained run: eval, chat, export, verify, and the list of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unsloth_ft.cli import options
from unsloth_ft.errors import GateError, UserError

if TYPE_CHECKING:
    from unsloth_ft.record import RunDirectory


@click.command("eval")
@click.argument("name", metavar="RUN")
@click.option("--data", "files", multiple=True, required=True, metavar="FILE", help="Questions with answers; may be given again.")
@options.MODEL
@options.OFFLINE
@options.JSON
def evaluate(name: str, files: tuple[str, ...], model: str | None, offline: bool, as_json: bool) -> None:
    """Score RUN's adapter on other questions: loss, perplexity, token F1 and exact match, before and after."""
    from unsloth_ft import backends, data, hardware, prepare, token_store, xray
    from unsloth_ft.evaluate.compare import compare
    from unsloth_ft.export.adapter_config import read_config
    from unsloth_ft.reopen import reopen, trained
    from unsloth_ft.report import terminal

    if offline:
        prepare.go_offline()
    machine = hardware.detect()
    hardware.pin(machine)
    # Before the tokenizer: Unsloth wants to be imported first.
    directory, known = trained(name)
    read_config(directory.adapter)  # PEFT would match an expression in it for as long as it takes
    backend = backends.activate(backends.choose(known["plan"]["backend"]["value"], machine).value)
    run = reopen(name, model=model, offline=offline)
    dataset = data.load(files, columns=run.recipe.data.columns, roles=run.recipe.data.roles, offline=offline)
    stored = token_store.tokenized([dataset.conversations], chat=run.chat)
    terminal.show_warnings(stored.warnings, options.stderr())
    rows, seen = xray.look(stored.parts[0], run.plan.max_seq_length.value, run.chat.tokenizer)
    with backends.third_party():
        tuned = backend.load_adapter(backend.load(run.base, run.plan), run.directory.adapter, run.plan)
    comparison = compare(
        tuned,
        backend,
        recipe=run.recipe,
        plan=run.plan,
        conversations=xray.behind(rows, dataset.conversations),
        rows=rows,
        chat=run.chat,
    )
    if as_json:
        options.print_json(comparison.as_json())
        return
    if seen.cut or seen.dropped:
        click.echo(f"{len(seen.cut)} rows were cut and {len(seen.dropped)} dropped: longer than max_seq_length", err=True)
    terminal.show_comparison(comparison, options.stdout())


@click.command()
@click.argument("name", metavar="RUN")
@click.argument("question", required=False)
@click.option("--max-new-tokens", default=256, show_default=True, type=click.IntRange(1), metavar="N", help="Longest answer.")
@options.JSON
def chat(name: str, question: str | None, max_new_tokens: int, as_json: bool) -> None:
    """Ask RUN's exported GGUF, in llama.cpp: one QUESTION, or one a line until the end of input.

    Answers are greedy, as in the report. RUN may also be a .gguf file.
    """
    import sys

    from unsloth_ft.export.llamacpp import LlamaCpp

    path, lora, template_kwargs = _gguf(name)
    with LlamaCpp(path, lora=lora, context_length=2048 + max_new_tokens) as llama:
        questions = [question] if question else (line.strip() for line in sys.stdin)
        answered = []
        for each in filter(None, questions):
            message = {"role": "user", "content": each}
            answer = llama.chat([message], max_new_tokens=max_new_tokens, template_kwargs=template_kwargs)
            answered.append({"question": each, "answer": answer})
            if not as_json:
                click.echo(answer)
    if as_json:
        options.print_json(answered)


@click.command()
@click.argument("name", metavar="RUN")
@click.option(
    "--to",
    "to",
    multiple=True,
    required=True,
    metavar="TARGET",
    help="adapter, merged, gguf:QUANT, gguf-lora or ollama; may be given again.",
)
@click.option(
    "--quantizer",
    default="own",
    type=click.Choice(("own", "llama.cpp")),
    help="Who quantizes a GGUF: this program, or a llama.cpp on this machine.  [default: own]",
)
@click.option("--system", metavar="TEXT", help="SYSTEM of the Modelfile; without it there is none.")
@options.MODEL
@options.OFFLINE
@options.JSON
def export(
    name: str, to: tuple[str, ...], quantizer: str, system: str | None, model: str | None, offline: bool, as_json: bool
) -> None:
    """Make further files of RUN: each is opened and compared with the adapter before it counts as done."""
    from unsloth_ft import hardware, prepare
    from unsloth_ft.export import pipeline, targets
    from unsloth_ft.export.preflight import preflight
    from unsloth_ft.reopen import reopen
    from unsloth_ft.report import terminal
    from unsloth_ft.run import reported

    wanted = targets.parse(to)
    if offline:
        prepare.go_offline()
    run = reopen(name, model=model, offline=offline)
    console = options.stderr()
    making = pipeline.Options(system=system, quantizer=quantizer, offline=offline)
    with run.directory.held():
        machine = hardware.detect()
        stages = preflight(wanted, run.base, run.chat, run.directory, machine, dtype=run.plan.dtype.value, quantizer=quantizer)
        terminal.show_stages(stages, machine, run.directory, console)
        pipeline.export(run.directory, wanted, base=run.base, chat=run.chat, console=console, options=making)
        result = reported(run.directory)
    if as_json:
        options.print_json(result["exports"])
        return
    for target in targets.complete(wanted):
        terminal.show_export(str(target), result["exports"][str(target)], options.stdout())


@click.command()
@click.argument("name", metavar="RUN")
@click.option("--quick", is_flag=True, help="Only the files' sizes and sha256: seconds, no model is run.")
@options.MODEL
@options.OFFLINE
@options.JSON
def verify(name: str, quick: bool, model: str | None, offline: bool, as_json: bool) -> None:
    """Pass every export of RUN through its gate again: files, weights, token ids, answers, stops. Exit 4 when one does not hold."""
    from unsloth_ft import prepare
    from unsloth_ft.export import verify as gate
    from unsloth_ft.record import find
    from unsloth_ft.reopen import reopen
    from unsloth_ft.report import terminal

    if offline:
        prepare.go_offline()
    gate.recorded(find(name))
    if quick:
        found = gate.verify_files(find(name))
    else:
        run = reopen(name, model=model, offline=offline)
        with run.directory.held():
            found = gate.verify(run.directory, base=run.base, chat=run.chat, console=options.stderr())
    if as_json:
        options.print_json(found)
    else:
        terminal.show_verification(found, options.stdout())
    if not found["ok"]:
        bad = ", ".join(target for target, lines in found["exports"].items() if not all(line["ok"] for line in lines))
        raise GateError(f"{name}: {bad} is not what was proven; export it again: `unsloth-ft export {name} --to …`.")


@click.group()
def runs() -> None:
    """List the runs, or show one."""


@runs.command("list")
@options.JSON
def list_(as_json: bool) -> None:
    """Every run under runs/, the oldest first."""
    from unsloth_ft import record

    found = [_line(directory) for directory in record.all_runs()]
    if as_json:
        options.print_json(found)
        return
    if not found:
        click.echo("no runs under runs/; `unsloth-ft run RECIPE --data FILE` makes one")
    for run in found:
        click.echo(f"{run['created'][:16]:<16}  {run['status']:<11}  {run['verdict']:<10}  {run['name']}")


@runs.command("show")
@click.argument("name", metavar="RUN")
@options.JSON
def show(name: str, as_json: bool) -> None:
    """What came out of RUN."""
    from unsloth_ft import record
    from unsloth_ft.report import terminal

    directory = record.find(name)
    known = directory.read()
    if as_json:
        options.print_json(known)
        return
    files = ", ".join(file["name"] for file in known.get("data", {}).get("files", ()))
    click.echo(f"{directory.name}: {directory.status()}; {known.get('recipe', {}).get('name')} on {files}")
    if known.get("error"):
        click.echo(f"error: {known['error']}")
    terminal.summary(known, options.stdout())


def _line(directory: RunDirectory) -> dict[str, str]:
    """A run in one line; one that can't be read is named like the others."""
    status = directory.status()
    known = {} if status == "damaged" else directory.read()
    verdict = known.get("evaluation", {}).get("verdict", "")
    return {"name": directory.name, "status": status, "created": known.get("created", ""), "verdict": verdict}


def _gguf(name: str) -> tuple[Path, Path | None, dict[str, Any]]:
    """(GGUF, adapter's GGUF to put on it, the template's variables in training): a .gguf file, or the last that the run exported."""
    from unsloth_ft import record
    from unsloth_ft.export.recorded import files_of, recorded_exports

    if name.endswith(".gguf"):
        return Path(name), None, {}
    directory = record.find(name)
    template_kwargs = directory.read().get("recipe", {}).get("values", {}).get("chat_template_kwargs", {})
    for target, result in reversed(recorded_exports(directory).items()):
        files = files_of(result, directory)
        if target.kind == "gguf":
            return files[0], None, template_kwargs
        if target.kind == "gguf-lora":
            return files[1], files[0], template_kwargs
    raise UserError(f"{directory.name} has no GGUF yet. `unsloth-ft export {directory.name} --to gguf:q8_0` makes one.")
