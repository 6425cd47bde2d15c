"""Checkpoints that are whole or don't count: staged, listed with their sha256, synced, then renamed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from unsloth_ft.disk import sync
from unsloth_ft.record import sha256

MANIFEST = "manifest.json"
STAGING = ".staging"
WEIGHTS = "adapter_model.safetensors"
# Without one of these transformers goes on without a word, on another curve.
NEEDED = (WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


def seal(staged: Path, final: Path) -> None:
    """Makes a written folder a checkpoint: its files' sha256 in a manifest, everything on disk, one rename."""
    digests = {file.name: sha256(file) for file in sorted(staged.iterdir()) if file.is_file()}
    (staged / MANIFEST).write_text(json.dumps(digests, indent=1), encoding="utf-8")
    sync_files(staged)
    if final.exists():
        shutil.rmtree(final)
    os.replace(staged, final)
    sync(final.parent)


def is_whole(checkpoint: Path) -> bool:
    """Whether every file is there, and what it was when it was written."""
    manifest = checkpoint / MANIFEST
    if not manifest.is_file():
        return False
    try:
        digests = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return False
    if not isinstance(digests, dict) or not digests.keys() >= {*NEEDED}:
        return False
    return all((checkpoint / name).is_file() and sha256(checkpoint / name) == digest for name, digest in digests.items())


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def all_checkpoints(folder: Path) -> list[Path]:
    """checkpoint-N folders, the newest last; whole or not."""
    found = [path for path in folder.glob("checkpoint-*") if path.is_dir() and path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=step_of)


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from, and the names of those that are damaged, the newest first."""
    whole = {checkpoint: is_whole(checkpoint) for checkpoint in reversed(all_checkpoints(folder))}
    return next((checkpoint for checkpoint in whole if whole[checkpoint]), None), [path.name for path in whole if not whole[path]]


def rotate(folder: Path, *, keep: int, best_step: int | None) -> None:
    """Removes the oldest beyond `keep`; the best one always stays."""
    checkpoints = all_checkpoints(folder)
    best = [path for path in checkpoints if step_of(path) == best_step]
    others = [path for path in checkpoints if path not in best]
    room = max(1, keep - len(best))
    for path in others[: max(0, len(others) - room)]:
        shutil.rmtree(path)


def sync_files(folder: Path) -> None:
    """Makes the files of a folder survive a power cut."""
    for file in folder.iterdir():
        sync(file)
    sync(folder)
