"""Whether somebody else works on this machine: what a figure would be spoilt by."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unsloth_ft.bench.machine import nvidia_smi
from unsloth_ft.errors import MachineError
from unsloth_ft.hardware import GIB, MIB, Gpu

SAMPLE_SECONDS = 0.5  # a tick of /proc/stat is 0.01 s
NOTICED_CPU_SHARE = 0.1  # of the cores; a laptop's desktop takes less
REFUSED_CPU_SHARE = 0.5  # half of the cores belong to somebody else
REFUSED_GPU_SHARE = 0.05  # of the time; an idle card says 0
REFUSED_GPU_BYTES = 1 * GIB  # a desktop's windows take 0.3 to 0.8 GiB, an idle server's driver less
GPU_STATE = ("utilization.gpu", "memory.used", "temperature.gpu", "clocks.sm", "power.draw")


@dataclass(frozen=True)
class Load:
    """What runs besides us, in one short sample. None where the system doesn't tell."""

    cpu_share: float | None
    """Busy share of the cores that we may use."""
    load_average: float
    gpu: dict[str, float | None] | None = None
    """Percent, MiB, °C, MHz and W, under nvidia-smi's names."""
    gpu_processes: int | None = None
    """Compute processes of others on the card; a container doesn't see those outside."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def sample(gpu: Gpu | None, *, seconds: float = SAMPLE_SECONDS) -> Load:
    """To be taken while nothing of ours works."""
    before = _cpu_times()
    time.sleep(seconds)
    after = _cpu_times()
    total = sum(after) - sum(before) if after else 0
    share = round((after[0] - before[0]) / total, 3) if total else None
    state, processes = _card(gpu) if gpu else (None, None)
    return Load(share, round(os.getloadavg()[0], 2), state, processes)


def obstacles(load: Load) -> list[str]:
    """Why nothing measured now would be worth keeping; each with its limit."""
    found = []
    if load.cpu_share is not None and load.cpu_share >= REFUSED_CPU_SHARE:
        found.append(f"other processes use {load.cpu_share:.0%} of the cores; less than {REFUSED_CPU_SHARE:.0%} is accepted")
    if load.gpu_processes:
        found.append(f"{load.gpu_processes} other compute processes are on the card; none is accepted")
    busy, used = (load.gpu or {}).get("utilization.gpu"), (load.gpu or {}).get("memory.used")
    if busy is not None and busy > 100 * REFUSED_GPU_SHARE:
        found.append(f"the card is busy for {busy:.0f}% of the time; at most {REFUSED_GPU_SHARE:.0%} is accepted")
    if used is not None and used * MIB > REFUSED_GPU_BYTES:
        found.append(f"{used / 1024:.1f} GiB of the card's memory are in use; at most {REFUSED_GPU_BYTES / GIB:.0f} GiB is accepted")
    return found


def notice(load: Load) -> str:
    """A line for the record where others work, but not so much that it is refused; else empty."""
    if load.cpu_share is not None and load.cpu_share > NOTICED_CPU_SHARE:
        return f"other processes used {load.cpu_share:.0%} of the cores"
    return ""


def refuse(load: Load) -> None:
    """Raises MachineError, with all that was found, on a busy machine or card."""
    found = obstacles(load)
    if found:
        raise MachineError(
            f"this machine is busy: {'; '.join(found)}. End what runs there, or pass --busy-ok, which is recorded with every figure."
        )


def _cpu_times() -> tuple[int, ...]:
    """(busy, idle) ticks of the cores that this process may use; nothing where the system has no /proc."""
    file = Path("/proc/stat")
    if not file.is_file():
        return ()
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    busy = idle = 0
    for line in file.read_text().splitlines():
        name, *ticks = line.split()
        if name in ours:
            # user nice system idle iowait irq softirq steal; guest time is in user already
            counts = [int(tick) for tick in ticks[:8]]
            idle += counts[3] + counts[4]
            busy += sum(counts) - counts[3] - counts[4]
    return busy, idle


def _card(gpu: Gpu) -> tuple[dict[str, float | None] | None, int | None]:
    """(its state, how many compute processes it has)."""
    state = nvidia_smi(f"--query-gpu={','.join(GPU_STATE)}", "--format=csv,noheader,nounits", f"--id={gpu.index}")
    processes = nvidia_smi("--query-compute-apps=pid", "--format=csv,noheader", f"--id={gpu.index}")
    cells = [cell.strip() for cell in (state or "").split(",")]
    known = dict(zip(GPU_STATE, map(_number, cells), strict=True)) if len(cells) == len(GPU_STATE) else None
    return known, None if processes is None else len([line for line in processes.splitlines() if line.strip().isdigit()])


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:  # "[N/A]"
        return None
