"""The memory table in the terminal: parts by phase, a bar for each phase against what there is, and what else fits."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unsloth_ft.hardware import GIB
from unsloth_ft.memory_fit import checkpointing_name
from unsloth_ft.outlook import Outlook, Pace
from unsloth_ft.plan_memory import Fitting
from unsloth_ft.probe import Probe
from unsloth_ft.report.wording import duration

BAR_CELLS = 40
BLOCKS, PLAIN = ("█", "░"), ("#", ".")


def show_memory(fitting: Fitting, outlook: Outlook, console: Console) -> None:
    """Table, bars, what fits, time and disk."""
    console.print(parts_table(fitting))
    for line in bars(fitting, console):
        console.print(line)
    estimate = fitting.estimate
    console.print(f"estimate ± {estimate.bound:.0%}, {estimate.basis}", highlight=False, markup=False)
    console.print(fits_table(fitting, outlook))
    for line in sentences(outlook, fitting):
        console.print(line, highlight=False, markup=False)


def parts_table(fitting: Fitting) -> Table:
    """GiB by part and phase."""
    phases = fitting.estimate.phases
    table = Table(title="memory at the peak of each phase, GiB", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for phase in phases:
        table.add_column(f"{phase.name} (host)" if phase.on_host else phase.name, justify="right")
    names = list(dict.fromkeys(part.name for phase in phases for part in phase.parts))
    held = [{part.name: part.bytes for part in phase.parts} for phase in phases]
    for name in names:
        table.add_row(name, *(gibibytes(parts[name]) if name in parts else "" for parts in held))
    table.add_row(Text("in all", style="bold"), *(Text(gibibytes(phase.bytes), style="bold") for phase in phases))
    return table


def bars(fitting: Fitting, console: Console) -> list[Text]:
    """A line for each phase on the device: how much of it is taken, with the estimate's bound as a lighter end."""
    full, empty = BLOCKS if console.encoding.lower().startswith("utf") else PLAIN
    phases = [phase for phase in fitting.estimate.phases if not phase.on_host]
    width = max(len(phase.name) for phase in phases)
    lines = []
    for phase in phases:
        share = phase.bytes / fitting.available_bytes
        filled = min(BAR_CELLS, round(share * BAR_CELLS))
        over = phase.bytes * (1 + fitting.estimate.bound) > fitting.available_bytes
        line = Text(f"  {phase.name:<{width}} ")
        line.append(full * filled, style="red" if over else "green")
        line.append(empty * (BAR_CELLS - filled), style="dim")
        line.append(f" {gibibytes(phase.bytes)} of {gibibytes(fitting.available_bytes)} GiB ({share:.0%})")
        lines.append(line)
    return lines


def fits_table(fitting: Fitting, outlook: Outlook) -> Table:
    """The longest row and the most rows, by checkpointing and quantization; the plan's own line is marked."""
    longest = fitting.work.training.longest
    table = Table(title=f"what fits into {gibibytes(fitting.available_bytes)} GiB of {fitting.where}", title_justify="left", box=None)
    for header in ("base", "checkpointing", "longest row, tokens", f"rows of {longest:,} tokens at once", ""):
        table.add_column(header, justify="right" if "row" in header else "left")
    for one in outlook.fits:
        mine = (one.load_in_4bit, one.gradient_checkpointing) == (fitting.work.load_in_4bit, fitting.work.gradient_checkpointing)
        rows = "none" if not one.most_rows else f"{one.most_rows}"
        tokens = f"{one.longest_tokens:,}" if one.longest_tokens else "none"
        base, way = "4-bit" if one.load_in_4bit else "16-bit", checkpointing_name(one.gradient_checkpointing)
        table.add_row(base, way, tokens, rows, "the plan" if mine else "")
    return table


def sentences(outlook: Outlook, fitting: Fitting) -> list[str]:
    """Time, host memory and disk."""
    disk = ", ".join(f"{name} {gibibytes(size)}" for name, size in outlook.disk_bytes.items())
    host = f"host memory: about {gibibytes(outlook.host_bytes)} GiB; " if fitting.work.device == "cuda" else ""
    return [time_sentence(outlook.pace), f"{host}disk, GiB: {disk}"]


def time_sentence(pace: Pace) -> str:
    if pace.step_seconds is None or pace.run_seconds is None:
        return f"time: unknown; {pace.basis}"
    return f"time: about {pace.step_seconds:.2g} s a step, {duration(pace.run_seconds)} of steps in all, {pace.basis}"


def show_probe(fitting: Fitting, measured: Probe, console: Console) -> None:
    """Measured beside estimated, phase by phase; on a card without its context and fragments, which tensors don't show."""
    table = Table(title="probe: the largest batches, measured", title_justify="left", box=None, pad_edge=False)
    for header in ("phase", "measured GiB", "estimated GiB", "difference", "seconds"):
        table.add_column(header, justify="left" if header == "phase" else "right")
    for name, peak in measured.peaks.items():
        expected = fitting.estimate.phase(name).tensor_bytes
        table.add_row(name, gibibytes(peak), gibibytes(expected), f"{expected / peak - 1:+.0%}", f"{measured.seconds[name]:.1f}")
    console.print(table)
    if measured.step_seconds:
        console.print(f"a forward and backward pass of the largest micro-batch takes {measured.step_seconds:.2f} s", highlight=False)


def gibibytes(size: float) -> str:
    return f"{size / GIB:.2f}" if size < 10 * GIB else f"{size / GIB:.1f}"
