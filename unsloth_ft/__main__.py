"""The program, as `unsloth-ft` and as `python -m unsloth_ft`."""

from __future__ import annotations

import os
import sys

from unsloth_ft.cli import main
from unsloth_ft.kernels.allocator import HUGE_PAGES

TRAINING = ("run", "resume", "eval")


def start() -> None:
    """The command line; what trains is begun again in the same process with large pages, which glibc takes from its first moment on."""
    if sys.platform == "linux" and len(sys.argv) > 1 and sys.argv[1] in TRAINING and not HUGE_PAGES.keys() & os.environ.keys():
        os.execve(sys.executable, sys.orig_argv, os.environ | HUGE_PAGES)
    main()


if __name__ == "__main__":
    start()
