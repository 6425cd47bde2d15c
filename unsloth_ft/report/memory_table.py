"""The memory table in the terminal: parts by phase, a bar for each phase against what there is, and what else fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unsloth_ft.hardware import GIB
from unsloth_ft.memory_values import EVALUATION, TRAINING
from unsloth_ft.plan_memory import Fitting
from unsloth_ft.report.wording import duration

if TYPE_CHECKING:
    from unsloth_ft.probe import Probe

BAR_CELLS = 40
BLOCKS, PLAIN = ("█", "░"), ("#", ".")


def show_memory(memory: dict[str, Any], console: Console) -> None:
    """Table, bars, what fits, time and disk, from what run.json says of memory."""
    console.print(parts_table(memory))
    show_bars(memory, console)
    console.print(fits_table(memory))
    for line in (time_sentence(memory["time"]), space_sentence(memory)):
        console.print(line, highlight=False, markup=False)


def show_bars(memory: dict[str, Any], console: Console) -> None:
    """A line for each phase on the device, and how good the estimate is."""
    for line in bars(memory, unicode=console.encoding.lower().startswith("utf")):
        console.print(line)
    console.print(basis_sentence(memory), highlight=False, markup=False)


def parts_table(memory: dict[str, Any]) -> Table:
    """GiB by part and phase."""
    phases = memory["phases"]
    table = Table(title="memory at the peak of each phase, GiB", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for phase in phases:
        table.add_column(phase_name(phase), justify="right")
    for name in part_names(memory):
        table.add_row(name, *(gibibytes(phase["parts"][name]) if name in phase["parts"] else "" for phase in phases))
    table.add_row(Text("in all", style="bold"), *(Text(gibibytes(phase["bytes"]), style="bold") for phase in phases))
    return table


def part_names(memory: dict[str, Any]) -> list[str]:
    """Every part, in the order in which the phases name them."""
    return list(dict.fromkeys(name for phase in memory["phases"] for name in phase["parts"]))


def phase_name(phase: dict[str, Any]) -> str:
    return f"{phase['name']} (host)" if phase["on_host"] else phase["name"]


def bars(memory: dict[str, Any], *, unicode: bool) -> list[Text]:
    """How much of what there is each phase takes; red where it is too much with the estimate's bound on top."""
    full, empty = BLOCKS if unicode else PLAIN
    phases, there = [phase for phase in memory["phases"] if not phase["on_host"]], memory["available_bytes"]
    width = max(len(phase["name"]) for phase in phases)
    lines = []
    for phase in phases:
        share = phase["bytes"] / there
        filled = min(BAR_CELLS, round(share * BAR_CELLS))
        line = Text(f"  {phase['name']:<{width}} ")
        line.append(full * filled, style="green" if phase["needed_bytes"] <= there else "red")
        line.append(empty * (BAR_CELLS - filled), style="dim")
        lines.append(line.append(f" {gibibytes(phase['bytes'])} of {gibibytes(there)} GiB ({share:.0%})"))
    return lines


def basis_sentence(memory: dict[str, Any]) -> str:
    bounds = {phase["name"]: phase["bound"] for phase in memory["phases"]}
    training, evaluation = bounds[TRAINING], bounds[EVALUATION]
    apart = f" in load and training, ± {evaluation:.0%} in evaluations" if evaluation != training else ""
    return f"estimate ± {training:.0%}{apart}, {memory['basis']}"


def fits_table(memory: dict[str, Any]) -> Table:
    """The longest row and the most rows, by checkpointing and quantization; the plan's own line is marked."""
    title = f"what fits into {gibibytes(memory['available_bytes'])} GiB of {memory['where']}"
    table = Table(title=title, title_justify="left", box=None)
    for header in fits_headers(memory):
        table.add_column(header, justify="right" if "row" in header else "left")
    for cells in fits_rows(memory):
        table.add_row(*cells)
    return table


def fits_headers(memory: dict[str, Any]) -> tuple[str, ...]:
    return "base", "checkpointing", "longest row, tokens", f"rows of {memory['micro_batch']['longest']:,} tokens at once", ""


def fits_rows(memory: dict[str, Any]) -> list[tuple[str, ...]]:
    """A line for each way of holding the base and of checkpointing."""
    chosen = memory["load_in_4bit"], memory["checkpointing"]
    return [
        (
            "4-bit" if one["load_in_4bit"] else "16-bit",
            one["checkpointing"],
            f"{one['longest_tokens']:,}" if one["longest_tokens"] else "none",
            f"{one['most_rows']:,}" if one["most_rows"] else "none",
            "the plan" if (one["load_in_4bit"], one["checkpointing"]) == chosen else "",
        )
        for one in memory["what_fits"]
    ]


def space_sentence(memory: dict[str, Any]) -> str:
    """Host memory and disk."""
    disk = ", ".join(f"{name} {gibibytes(size)}" for name, size in memory["disk_bytes"].items())
    return f"host memory: about {gibibytes(memory['host_bytes'])} GiB; disk, GiB: {disk}"


def time_sentence(time: dict[str, Any]) -> str:
    if time["step_seconds"] is None:
        return f"time: unknown; {time['basis']}"
    return f"time: about {time['step_seconds']:.2g} s a step, {duration(time['run_seconds'])} of steps in all, {time['basis']}"


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
        console.print(f"a step of the largest micro-batch alone takes {measured.step_seconds:.2f} s", highlight=False)


def gibibytes(size: float) -> str:
    return f"{size / GIB:.2f}" if size < 10 * GIB else f"{size / GIB:.1f}"
