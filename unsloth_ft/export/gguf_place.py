"""A GGUF file gets its name in one step, when it is whole and proven; whatever happens before, `path` holds what it held."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unsloth_ft.disk import sync
from unsloth_ft.errors import MachineError


@contextmanager
def placed(path: Path, *, needed_bytes: int) -> Iterator[Path]:
    """A temporary name beside `path` to write to. Leaving the block well syncs the file and renames it to `path`.

    Raises: MachineError when the disk is too small, or refuses a read, a write or the rename.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_free_space(path.parent, needed_bytes)
        partial.unlink(missing_ok=True)  # what a kill left; and a link, in a folder from somebody else, would be followed
        yield partial
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise MachineError(f"{path}: writing failed ({reason}). Free some space or name another place, then export again.") from error
    finally:
        partial.unlink(missing_ok=True)


def check_free_space(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise MachineError(f"{folder}: {size(free)} are free, and the GGUF file needs {size(needed_bytes)}. Free some space.")


def size(count_bytes: int) -> str:
    """1500000 → "1.5 MB"."""
    return f"{count_bytes / 1e9:.1f} GB" if count_bytes >= 1e8 else f"{count_bytes / 1e6:.1f} MB"
