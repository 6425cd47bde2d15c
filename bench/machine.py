"""What a measurement says of the machine, the code and the command, without a path or a name of a user."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import unsloth_ft
from unsloth_ft.hardware import Hardware

CARD = ("power.limit", "clocks.max.sm", "clocks.max.mem", "mig.mode.current", "persistence_mode", "ecc.mode.current")
ROOT = Path(unsloth_ft.__file__).parents[1]
TOOL_SECONDS = 20


def facts(hardware: Hardware, *, threads: int) -> dict[str, Any]:
    """The machine as a reader must know it to repeat a figure."""
    gpu = hardware.gpu
    return {
        "device": "cuda" if gpu else "cpu",
        "summary": hardware.summary,
        "gpu": asdict(gpu) | card(gpu.index) if gpu else None,
        "cpu": hardware.cpu_name,
        "cpu_count": hardware.cpu_count,
        "cpu_has_bfloat16": hardware.cpu_has_bfloat16,
        "threads": threads,
        "memory_bytes": hardware.memory_bytes,
        "system": hardware.system,
        "kernel": platform.release(),
        "architecture": platform.machine(),
    }


def card(index: int) -> dict[str, str | None]:
    """How the card is set: limits and clocks with their units; None where the driver doesn't tell."""
    answer = nvidia_smi(f"--query-gpu={','.join(CARD)}", "--format=csv,noheader", f"--id={index}")
    cells = [cell.strip() for cell in (answer or "").split(",")]
    if len(cells) != len(CARD):
        return dict.fromkeys(CARD)
    return {name: None if "N/A" in cell or "Not Supported" in cell else cell for name, cell in zip(CARD, cells, strict=True)}


def nvidia_smi(*arguments: str) -> str | None:
    """What it prints; None where it isn't there or fails."""
    return _printed("nvidia-smi", *arguments)


def git(folder: Path = ROOT) -> dict[str, Any]:
    """The checkout's commit, and whether anything but results was changed since. Nothing is known of an installed package."""
    if not (folder / ".git").exists():
        return {"commit": None, "changed": None}
    commit = _printed("git", "-C", str(folder), "rev-parse", "HEAD")
    changed = _printed("git", "-C", str(folder), "status", "--porcelain", "--", ".", ":!bench/results")
    return {"commit": commit, "changed": None if commit is None or changed is None else changed != ""}


def command(arguments: Sequence[str]) -> list[str]:
    """The command line as a record may hold it: of a path that begins outside of the working directory, the last name."""
    return ["unsloth-ft", "bench", "run", *map(_without_place, arguments)]


def private_folders(*more: Path) -> list[str]:
    """This machine's folders that a message or a command may name, the longest first; a record keeps what comes after them."""
    folders = {*map(str, more), os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir(), str(ROOT), sys.prefix, sys.base_prefix}
    return sorted({*folders, *map(os.path.realpath, folders)} - {"/"}, key=len, reverse=True)


def _without_place(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    path = Path(value).expanduser()
    outside = path.is_absolute() or ".." in path.parts
    return f"{flag}{equals}{path.name if outside else value}"


def _printed(name: str, *arguments: str) -> str | None:
    """What a tool prints; None where it isn't there, fails or takes too long."""
    tool = shutil.which(name)
    if tool is None:
        return None
    try:
        done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
