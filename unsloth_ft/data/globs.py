"""Patterns such as `data/*.jsonl`, for shells that don't expand them and for commands that quote them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator

from . import hub

_MAGIC = re.compile(r"[*?[]")


def is_pattern(path: str) -> bool:
    """Whether the path stands for the files that match it: it has a wildcard, and no file has that very name."""
    return _MAGIC.search(path) is not None and not hub.is_hub(path) and "\0" not in path and not os.path.lexists(path)


def expanded(paths: Iterable[str]) -> Iterator[str]:
    """The paths with each pattern's files in its place, sorted; `**` goes into folders. A pattern that matches no file stays."""
    for path in paths:
        yield from (_matches(path) if is_pattern(path) else ()) or (path,)


def fixed_folder(pattern: str) -> str:
    """The folder before the first part with a wildcard."""
    return os.path.dirname(pattern[: _MAGIC.search(pattern + "*").start()])


def _matches(pattern: str) -> list[str]:
    return sorted(path for path in glob.iglob(pattern, recursive=True) if not os.path.isdir(path))
