"""The small JSON files of what was measured on this machine, in the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from unsloth_ft import cache
from unsloth_ft.record import replace_text


def read(file: Path) -> Any:
    """What is in it; None where it is missing, damaged, or not to be read."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return None


def rewrite(file: Path, change: Callable[[Any], Any]) -> tuple[str, ...]:
    """The file with what `change` makes of its content, whatever other processes do meanwhile.

    Where it can't be written nothing is raised, since no measurement is worth the run that made it: the warning is returned.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file.parent):
            replace_text(file, json.dumps(change(read(file)), indent=1) + "\n")
    except OSError as error:
        return (cache.not_kept("what was measured here is not kept for later plans", error),)
    return ()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While it lasts, no other process that asks has the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folder; the file stays whole there too
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
