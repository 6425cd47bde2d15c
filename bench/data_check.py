"""Checking a data file, as two whole commands: ours, and `datasets` reading the same file. Memory is that of all their processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from unsloth_ft.bench import instruments
from unsloth_ft.bench.task import LAST_LINES, Task
from unsloth_ft.errors import MachineError

SAMPLE_SECONDS = 0.05  # between two looks at the memory: short beside the second that a process takes to start
READ = """
import sys, datasets
rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])
print(f'{{"rows": {len(rows)}}}')
"""


@dataclass(frozen=True)
class Watched:
    """What a command said, and the most memory that it and its processes took."""

    said: dict
    peak_bytes: int


def check(kind: str, file: Path, scratch: Path) -> Task:
    """`kind` is check-ours or check-datasets."""
    ours = [sys.executable, "-m", "unsloth_ft", "data", "check", file.name, "--json"]
    theirs = [sys.executable, "-c", READ, file.name, "cache"]
    command = ours if kind == "check-ours" else theirs
    shown = ["unsloth-ft", *command[3:]] if kind == "check-ours" else ['datasets.load_dataset("json", data_files=FILE, split="train")']

    def amount(result: Watched) -> dict[str, float]:
        shutil.rmtree(scratch / "cache", ignore_errors=True)  # or the next repeat would find its answer there
        return {"rows": float(result.said["rows"]), "bytes": float(file.stat().st_size)}

    return Task(
        lambda: _watched(command, scratch),
        amount,
        {"command": shown, "memory": "all processes of the command, shared pages once"},
        own_memory=False,
        peak_bytes=lambda result: result.peak_bytes,
    )


def _watched(command: list[str], folder: Path) -> Watched:
    """Raises MachineError, with the command's last words, where it doesn't end well."""
    instruments.require_proc()  # here, since nobody hears what a thread raises
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(SAMPLE_SECONDS):
                peak = max(peak, instruments.tree_bytes(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        out, errors = process.communicate()
        ended.set()
        watcher.join()
    if process.returncode:
        said = "\n".join((out + errors).splitlines()[-LAST_LINES:])
        raise MachineError(f"`{' '.join(command[1:5])}` ended with exit code {process.returncode}:\n{said}")
    return Watched(json.loads(out), peak)
