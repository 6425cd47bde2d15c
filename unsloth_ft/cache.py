"""Where this program keeps what it can make again: a converted model, what was measured on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """`$UNSLOTH_FT_CACHE`, or one in the user's home. It need not be there."""
    return Path(os.environ.get("UNSLOTH_FT_CACHE") or Path.home() / ".cache" / "unsloth-ft")
