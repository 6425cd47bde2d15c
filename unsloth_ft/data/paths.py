"""Whether two names are one file's: asked before anything is written, and before anything is read twice."""

from __future__ import annotations

import os
from collections.abc import Sequence

from . import hub
from .wording import printable


def identity(path: str | os.PathLike[str]) -> object:
    """Equal for all names of one file, links among them; of what isn't there the name with its links followed."""
    path = os.fspath(path)
    if hub.is_hub(path) or "\0" in path:
        return path
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def given_twice(paths: Sequence[str]) -> dict[int, str]:
    """The numbers of the paths whose file was given before, by that name or another; with what is said of them."""
    found: dict[int, str] = {}
    met: dict[object, str] = {}
    for number, path in enumerate(paths):
        known = identity(path)
        if known in met:
            found[number] = f"the same file {'is given twice' if met[known] == path else f'as {printable(met[known])}'}. Pass it once."
        met.setdefault(known, path)
    return found


def same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether both name one file, or would once it is there."""
    return identity(one) == identity(other)
