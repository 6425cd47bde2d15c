"""Where this program keeps what it can make again: rows, a converted model, what was measured on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """`$UNSLOTH_FT_CACHE`, or `unsloth-ft` in `$XDG_CACHE_HOME` or `~/.cache`. It need not exist."""
    named, shared = os.environ.get("UNSLOTH_FT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named)
    # The XDG specification has a relative path ignored.
    return (Path(shared) if shared and os.path.isabs(shared) else Path.home() / ".cache") / "unsloth-ft"


def not_kept(what: str, error: OSError) -> str:
    """A warning for what can't be written there."""
    return (
        f"{what}: $UNSLOTH_FT_CACHE or ~/.cache/unsloth-ft can't be written ({error.strerror or error}). "
        "Set UNSLOTH_FT_CACHE to a folder that can be."
    )
