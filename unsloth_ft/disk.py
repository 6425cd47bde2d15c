"""What is written to the disk: bytes and names that survive a power cut, and values that JSON has a word for."""

from __future__ import annotations

import math
import os
from typing import Any


def sync(path: str | os.PathLike[str]) -> None:
    """Makes a file's bytes, or a folder's renames, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def finite(value: Any) -> Any:
    """The value with null for NaN and infinity, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return (tuple if isinstance(value, tuple) else list)(map(finite, value))
    return value
