"""What a run says in the terminal: plan, mask X-ray, results, exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from unsloth_ft.hardware import Hardware, disk_free_bytes
from unsloth_ft.record import RunDirectory
from unsloth_ft.report import wording

if TYPE_CHECKING:
    from unsloth_ft.data.mixing import Mixed
    from unsloth_ft.evaluate.compare import Comparison
    from unsloth_ft.export.preflight import Stage
    from unsloth_ft.plan import Plan
    from unsloth_ft.prepare import Prepared
    from unsloth_ft.train.loop import Training
    from unsloth_ft.xray import XRay

GIB = 2**30
VERDICT_STYLE = {"better": "bold green", "no change": "bold yellow", "worse": "bold red"}


def show_plan(prepared: Prepared, console: Console) -> None:
    """The plan with its reasons, the X-ray, and every warning so far."""
    console.print(plan_table(prepared.plan))
    console.print(f"base model {prepared.base.model}, from {prepared.base.source}", highlight=False)
    console.print(f"held out: {wording.count(len(prepared.held_out_rows), 'row')} ({prepared.held_out_from})", highlight=False)
    for part in prepared.mixed:
        console.print(mixed_line(part, len(prepared.train), prepared.recipe.train.seed), highlight=False, markup=False)
    show_xray(prepared.xray, console)
    show_warnings(prepared.warnings, console)


def mixed_line(part: Mixed, train_rows: int, seed: int) -> str:
    """How many general rows, of which file, and why."""
    rows = wording.count(part.facts.rows, "row")
    return (
        f"mixed in: {len(part.rows):,} of the {rows} of {part.facts.path} ({part.share:g} of the {train_rows:,} training rows, drawn by "
        f"seed {seed}), so that general skills are rehearsed and not forgotten"
    )


def show_warnings(warnings: Sequence[str], console: Console) -> None:
    for warning in warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)


def plan_table(plan: Plan) -> Table:
    table = Table(title="plan", title_justify="left", box=None, pad_edge=False)
    table.add_column("value")
    table.add_column("is")
    table.add_column("because")
    for name, decision in plan:
        value = f"{decision.value:g}" if isinstance(decision.value, float) else str(decision.value)
        table.add_row(name, Text(value, style="bold"), Text(decision.reason))
    return table


def show_xray(xray: XRay, console: Console) -> None:
    """Which tokens are learned; one row with the learned ones marked."""
    console.print(
        f"mask X-ray: {xray.learned_tokens:,} of {xray.tokens:,} tokens are learned ({xray.learned_share:.1%}); "
        f"{xray.rows} rows kept, {len(xray.cut)} cut, {len(xray.dropped)} dropped",
        highlight=False,
    )
    console.print(Text(f"  {xray.example_where}, learned tokens between ⟦ ⟧:"))
    console.print(Text("  ") + example_text(xray.example))


def example_text(pieces: tuple[tuple[str, bool], ...]) -> Text:
    """A row with its learned parts in green and in brackets, so that it reads without colour too."""
    text = Text()
    for piece, learned in pieces:
        shown = piece.replace("\n", "⏎\n  ")
        text.append(f"⟦{shown}⟧" if learned else shown, style="bold green" if learned else "dim")
    return text


def show_stages(stages: Sequence[Stage], machine: Hardware, directory: RunDirectory, console: Console) -> None:
    """What the exports will take of disk and memory, stage by stage, beside what there is."""
    if not stages:
        return
    table = Table(title="exports", title_justify="left", box=None, pad_edge=False)
    for header in ("stage", "disk GiB", "memory GiB"):
        table.add_column(header, justify="left" if header == "stage" else "right")
    for stage in stages:
        table.add_row(stage.name, f"{stage.disk_bytes / GIB:.2f}" if stage.disk_bytes else "", f"{stage.memory_bytes / GIB:.2f}")
    free = disk_free_bytes(directory.path.absolute())
    table.add_row("this machine", f"{free / GIB:.2f} free", f"{machine.memory_bytes / GIB:.2f}")
    console.print(table)
    for stage in stages:
        if stage.memory_bytes > machine.memory_bytes:
            console.print(f"[yellow]warning:[/] {stage.name}: more than this machine's memory, so it will be left out", highlight=False)


def show_training(training: Training, console: Console) -> None:
    early = ", stopped early" if training.stopped_early else ""
    console.print(
        f"trained {training.steps} steps ({training.epochs:.3g} epochs{early}) in {training.seconds:,.0f} s: "
        f"{training.tokens_per_second:,.0f} tokens/s, peak memory {training.peak_memory_bytes / GIB:.2f} GiB, "
        f"{training.trainable_parameters:,} of {training.all_parameters:,} parameters; "
        f"best eval loss {training.best_eval_loss:.4f} at step {training.best_step}",
        highlight=False,
    )
    if training.start_up_seconds is not None:
        told = f"  first step {training.start_up_seconds:.1f} s after the start; since then {wording.shares(training.seconds_in)}"
        console.print(told, highlight=False)


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Before against after, and the verdict."""
    console.print(comparison_table(comparison.as_json()))
    console.print(verdict_line(comparison.as_json()))


def comparison_table(evaluation: dict[str, Any]) -> Table:
    table = Table(title=f"{evaluation['rows']} held-out rows, before and after", title_justify="left", box=None, pad_edge=False)
    for header in ("", "before", "after"):
        table.add_column(header, justify="left" if not header else "right")
    formats = {"loss": "{:.4f}", "perplexity": "{:.3f}", "token_f1": "{:.1%}", "exact_match": "{:.1%}", "stopped": "{:.1%}"}
    names = {
        "loss": "loss a token",
        "perplexity": "perplexity",
        "token_f1": "token F1",
        "exact_match": "exact match",
        "stopped": "answers that stop",
    }
    for key, form in formats.items():
        before, after = evaluation["before"][key], evaluation["after"][key]
        if before is not None:
            table.add_row(names[key], form.format(before), form.format(after))
    return table


def verdict_line(evaluation: dict[str, Any]) -> Text:
    difference = evaluation["loss_difference"]
    text = Text(evaluation["verdict"], style=VERDICT_STYLE[evaluation["verdict"]])
    detail = f": loss {difference['value']:+.4f} a token, 95 % interval {difference['low']:+.4f} to {difference['high']:+.4f}"
    return text.append(detail, style="default")


def show_export(target: str, result: dict[str, Any], console: Console) -> None:
    """An export's files and the checks it passed."""
    for file in result["files"]:
        size = f"{file['bytes'] / 2**20:,.1f} MiB, sha256 {file['sha256'][:12]}"
        console.print(f"[bold]{target}[/]: {escape(file['name'])} ({size})", highlight=False)
    for check in result["checks"]:
        mark = "[green]✓[/]" if check["ok"] else "[red]✗[/]"
        console.print(f"  {mark} {escape(check['name'])}: {escape(check['found'])}", highlight=False)
    for note in result.get("notes", []):
        console.print(f"  note: {escape(note)}", highlight=False)


def show_export_made(target: str, result: dict[str, Any], console: Console) -> None:
    """A line while the run goes on; the whole table is part of the answer at its end."""
    held = sum(check["ok"] for check in result["checks"])
    console.print(f"  {target}: {held} of {len(result['checks'])} checks hold, {result['seconds']:.1f} s", highlight=False)


def show_verification(verification: dict[str, Any], console: Console) -> None:
    """The gate's table: a line a check, export by export."""
    table = Table(title="exports, verified", title_justify="left", box=None, pad_edge=False)
    for header in ("export", "", "check", "found", "expected"):
        table.add_column(header)
    for target, lines in verification["exports"].items():
        for number, line in enumerate(lines):
            mark = Text("✓", style="green") if line["ok"] else Text("✗", style="red")
            name = Text("" if number else target, style="bold")
            table.add_row(name, mark, *(Text(line[key]) for key in ("name", "found", "expected")))
    console.print(table)
    for note in verification["notes"]:
        console.print(f"note: {escape(note)}", highlight=False)
    lines = [line for lines in verification["exports"].values() for line in lines]
    console.print(f"{sum(line['ok'] for line in lines)} of {len(lines)} checks hold", highlight=False)


def summary(record: dict[str, Any], console: Console) -> None:
    """The answer of `run`: what came out and where it lies."""
    evaluation = record.get("evaluation")
    if evaluation:
        console.print(comparison_table(evaluation))
        console.print(verdict_line(evaluation))
    for target, result in record.get("exports", {}).items():
        show_export(target, result, console)
