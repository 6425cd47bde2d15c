"""What is read while a leg runs: memory of host and device, and the energy that the card says it used."""

from __future__ import annotations

import ctypes
from pathlib import Path

from unsloth_ft.errors import MachineError
from unsloth_ft.train.memory import process_bytes

PROC = Path("/proc")  # Linux


def host_bytes() -> int:
    """This process's resident memory now."""
    return process_bytes("VmRSS") or 0


def peak_host_bytes() -> int:
    """Its peak since `forget_peak_host`."""
    return process_bytes("VmHWM") or 0


def require_proc() -> None:
    """Raises MachineError where there is none."""
    if not PROC.is_dir():
        raise MachineError("the memory of a process and all that it started is read in /proc, which this system has not. Measure it on Linux.")


def tree_bytes(pid: int) -> int:
    """What a process and all that it started take of the machine's memory now; pages that several have count once (PSS).

    Raises MachineError where the system doesn't tell.
    """
    require_proc()
    total = 0
    try:
        for line in (PROC / str(pid) / "smaps_rollup").read_text(encoding="utf-8").splitlines():
            total += int(line.split()[1]) * 1024 if line.startswith("Pss:") else 0
        children = [child for task in (PROC / str(pid) / "task").iterdir() for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return total
    return total + sum(tree_bytes(int(child)) for child in children)


class Energy:
    """The card's own counter, in joules since the driver was loaded; None where there is none.

    NVML's nvmlDeviceGetTotalEnergyConsumption (Volta and later); the library comes with the driver. The whole card is counted,
    whoever uses it. `index`: of the leg's card, as nvidia-smi and NVML number it; None: it uses none, whatever the machine has.
    """

    def __init__(self, index: int | None) -> None:
        self.library = None
        if index is None:
            return
        try:
            library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return
        self.handle = ctypes.c_void_p()
        if library.nvmlInit_v2() == 0 and library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(self.handle)) == 0:
            self.library = library

    def joules(self) -> float | None:
        if self.library is None:
            return None
        millijoules = ctypes.c_ulonglong()
        failed = self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle, ctypes.byref(millijoules))
        return None if failed else millijoules.value / 1000
