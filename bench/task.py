"""A command's work as the bench times it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LAST_LINES = 5  # of a command that failed, in the message


@dataclass(frozen=True)
class Task:
    """`run` is timed, `times` times after `warm_up` ones that are not; `amount` says of its result what was worked on."""

    run: Callable[[], Any]
    amount: Callable[[Any], dict[str, float]]
    setup: dict[str, Any]
    times: int = 1
    warm_up: int = 0
    own_memory: bool = True
    """Whether this process does the work, so that its peak memory is the work's."""
    seconds: Callable[[Any], float] | None = None
    """The time that counts, from the result; None: that of `run`."""
    peak_bytes: Callable[[Any], int] | None = None
    """The peak memory that counts, from the result, where other processes do the work."""
