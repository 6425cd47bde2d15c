"""What the machine has, as a value; found without torch, so that a plan costs milliseconds."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB, GIB = 2**20, 2**30
VISIBLE = "CUDA_VISIBLE_DEVICES"
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA card, as its driver describes it. `memory_bytes` is 0 where the driver doesn't say (memory shared with the host)."""

    name: str
    memory_bytes: int
    compute_capability: tuple[int, int]
    driver: str = ""
    index: int = 0

    @property
    def sm(self) -> str:
        return f"SM {self.compute_capability[0]}.{self.compute_capability[1]}"


@dataclass(frozen=True)
class Hardware:
    """The machine a plan is made for.

    `cpu_has_bfloat16`: matrix instructions for it (AVX512-BF16, AMX, ARM bf16). `gpu_note`: why no card is used although
    there may be one.
    """

    gpus: tuple[Gpu, ...]
    cpu_name: str
    cpu_count: int
    cpu_has_bfloat16: bool
    memory_bytes: int
    system: str = "Linux"
    gpu_note: str = ""

    @property
    def gpu(self) -> Gpu | None:
        """The card a run uses: the first."""
        return self.gpus[0] if self.gpus else None

    @property
    def summary(self) -> str:
        if self.gpu:
            memory = f"{self.gpu.memory_bytes / GIB:.0f} GiB, " if self.gpu.memory_bytes else ""
            others = f"; the first of {len(self.gpus)} cards, {VISIBLE} names another" if len(self.gpus) > 1 else ""
            return f"{self.gpu.name} ({memory}{self.gpu.sm}){others}"
        note = f" ({self.gpu_note})" if self.gpu_note else ""
        return f"no GPU{note}; {self.cpu_name}, {self.cpu_count} cores, {self.memory_bytes / GIB:.0f} GiB"


def detect() -> Hardware:
    """The machine this process runs on. CUDA_VISIBLE_DEVICES is respected; UNSLOTH_FORCE_CPU=1 hides every card."""
    name, flags = _cpu()
    found, note = _all_gpus()
    if found and os.environ.get("UNSLOTH_FORCE_CPU") == "1":
        found, note = {}, "UNSLOTH_FORCE_CPU=1 hides it"
    gpus = visible(found, os.environ.get(VISIBLE))
    if found and not gpus:
        note = f'{VISIBLE}="{os.environ[VISIBLE]}" hides it'
    return Hardware(
        gpus=gpus,
        cpu_name=name,
        cpu_count=usable_cores(),
        cpu_has_bfloat16=bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        memory_bytes=_memory_bytes(),
        system=platform.system(),
        gpu_note=note,
    )


def usable_cores() -> int:
    """That this process may use; of all where the system doesn't say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin(hardware: Hardware, environment: MutableMapping[str, str] = os.environ) -> None:
    """Shows this process one card only, the one the plan names; to be called before torch is imported.

    With two in sight transformers' Trainer would split each batch over both, and the effective batch size would be another
    one than planned. What the user set stays, but for the second and later cards of a list.
    """
    if hardware.gpu is None:
        return
    # nvidia-smi counts by bus; CUDA by speed, unless it is told.
    environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if len(hardware.gpus) > 1:
        asked = environment.get(VISIBLE)
        environment[VISIBLE] = asked.split(",")[0].strip() if asked else str(hardware.gpu.index)


def disk_free_bytes(folder: Path) -> int:
    """Bytes that can be written under the folder, or under its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def visible(gpus: dict[str, Gpu], asked: str | None) -> tuple[Gpu, ...]:
    """The cards that CUDA shows, in its order: all, or those of CUDA_VISIBLE_DEVICES up to the first that doesn't exist.

    `gpus`: UUID -> card. An entry may be a number, or a UUID or its beginning.
    """
    if asked is None:
        return tuple(gpus.values())
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in asked.split(",")):
        # A MIG instance's UUID doesn't say whose part it is; with one card there is no doubt.
        whole = entry.startswith("MIG-") and len(gpus) == 1
        match = next((gpu for uuid, gpu in gpus.items() if entry and (whole or entry == str(gpu.index) or uuid.startswith(entry))), None)
        if match is None or match in chosen:
            break
        chosen.append(match)
    return tuple(chosen)


def parse(answer: str) -> dict[str, Gpu]:
    """nvidia-smi's CSV of QUERY as UUID -> card; a line that is none is left out."""
    gpus = {}
    for line in answer.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(QUERY) and cells[0].isdigit():
            index, uuid, name, memory, capability, driver = cells
            # "[N/A]" on boards whose memory is the host's.
            memory_bytes = int(memory) * 2**20 if memory.isdigit() else 0
            gpus[uuid] = Gpu(name, memory_bytes, _capability(capability), driver, int(index))
    return gpus


QUERY = ("index", "uuid", "name", "memory.total", "compute_cap", "driver_version")


def _all_gpus() -> tuple[dict[str, Gpu], str]:
    """(every card of the machine, why there is none)."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}, ""
    try:
        answer = subprocess.run(
            [tool, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (subprocess.SubprocessError, OSError) as error:
        return {}, f"nvidia-smi failed: {type(error).__name__}"
    if answer.returncode:
        return {}, f"nvidia-smi failed: {_first_line(answer.stdout + answer.stderr)}"
    return parse(answer.stdout), ""


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "without a word")


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor or 0)) if major.isdigit() else (0, 0)


def _cpu() -> tuple[str, set[str]]:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine(), set()
    fields = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    return named.get("model name", platform.machine()), set(named.get("flags", named.get("Features", "")).split())


def _memory_bytes(limits: Sequence[str] = CGROUP_LIMITS) -> int:
    """Physical memory, or the container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * GIB
    files = [Path(limit) for limit in limits]
    texts = [file.read_text().strip() for file in files if file.is_file()]
    return min([total, *(int(text) for text in texts if text.isdigit())])
