"""What the machine has, as a value; found without torch, so that a plan costs milliseconds."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA card, as its driver describes it."""

    name: str
    memory_bytes: int
    compute_capability: tuple[int, int]
    driver: str = ""

    @property
    def sm(self) -> str:
        return f"SM {self.compute_capability[0]}.{self.compute_capability[1]}"


@dataclass(frozen=True)
class Hardware:
    """The machine a plan is made for. `cpu_has_bfloat16`: matrix instructions for it (AVX512-BF16, AMX, ARM bf16)."""

    gpus: tuple[Gpu, ...]
    cpu_name: str
    cpu_count: int
    cpu_has_bfloat16: bool
    memory_bytes: int
    system: str = "Linux"

    @property
    def gpu(self) -> Gpu | None:
        """The card a run uses: the first."""
        return self.gpus[0] if self.gpus else None

    @property
    def summary(self) -> str:
        if self.gpu:
            return f"{self.gpu.name} ({self.gpu.memory_bytes / GIB:.0f} GiB, {self.gpu.sm})"
        return f"no GPU; {self.cpu_name}, {self.cpu_count} cores, {self.memory_bytes / GIB:.0f} GiB"


def detect() -> Hardware:
    """The machine this process runs on. CUDA_VISIBLE_DEVICES is respected; UNSLOTH_FORCE_CPU=1 hides every card."""
    name, flags = _cpu()
    return Hardware(
        gpus=() if os.environ.get("UNSLOTH_FORCE_CPU") == "1" else _gpus(),
        cpu_name=name,
        cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cpu_has_bfloat16=bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        memory_bytes=_memory_bytes(),
        system=platform.system(),
    )


def disk_free_bytes(folder: Path) -> int:
    """Bytes that can be written under the folder, or under its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _gpus() -> tuple[Gpu, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=index,name,memory.total,compute_cap,driver_version", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.strip()]
    gpus = {row[0]: Gpu(row[1], int(row[2]) * 2**20, _capability(row[3]), row[4]) for row in rows}
    if visible is None:
        return tuple(gpus.values())
    return tuple(gpus[index] for index in visible.split(",") if index in gpus)


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def _cpu() -> tuple[str, set[str]]:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine(), set()
    fields = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    return named.get("model name", platform.machine()), set(named.get("flags", named.get("Features", "")).split())


def _memory_bytes() -> int:
    """Physical memory, or the container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * GIB
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        return min(total, int(text))
    return total
