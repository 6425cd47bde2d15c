"""The longest row that trains: doubling until one doesn't fit, then bisection. Pure; what fits is for the caller to try.

A row that fits makes every shorter one fit, and one that doesn't rules out every longer one, so no length is tried twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from unsloth_ft.bench.measurement import Try


@dataclass(frozen=True)
class Search:
    """What was found. `ended`: exact (within the resolution), most (all that was asked for fits), least (nothing fits) or no_time."""

    tries: tuple[Try, ...]
    ended: Literal["exact", "most", "least", "no_time"]

    @property
    def longest(self) -> int | None:
        """Tokens of the longest row that fitted; None: none did."""
        return max((one.tokens for one in self.tries if one.fitted), default=None)

    @property
    def shortest_failed(self) -> int | None:
        """Tokens of the shortest row that didn't fit; the truth lies between the two. None: all fitted."""
        return min((one.tokens for one in self.tries if not one.fitted), default=None)


def longest(
    fits: Callable[[int], bool],
    *,
    least: int,
    most: int,
    resolution: int,
    share: float = 0.0,
    budget_seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> Search:
    """The longest row of `least` to `most` tokens that fits, to within `resolution` tokens or that `share` of it, whichever is more.

    `fits(tokens)` runs real training steps with such a row. It has to leave nothing behind: memory that a failed try still holds makes the
    next one fail too. Its other errors go through. A try that the budget has no time for, by the rate of those before, isn't begun.
    Raises ValueError unless 1 ≤ least ≤ most and resolution ≥ 1.
    """
    if not 1 <= least <= most or resolution < 1:
        raise ValueError(f"least {least}, most {most}, resolution {resolution}; expected 1 <= least <= most and a resolution of 1 or more")
    started = clock()
    tries: list[Try] = []
    while (tokens := _next(tries, least=least, most=most, resolution=resolution, share=share)) is not None:
        if clock() - started + _expected_seconds(tries, tokens) > budget_seconds:
            return Search(tuple(tries), "no_time")
        begun = clock()
        fitted = fits(tokens)
        tries.append(Try(tokens, fitted, clock() - begun))
    return Search(tuple(tries), _ending(tries, most))


def _next(tries: list[Try], *, least: int, most: int, resolution: int, share: float) -> int | None:
    """The length to try next; None: the answer is known."""
    found = Search(tuple(tries), "exact")
    fitting, failing = found.longest, found.shortest_failed
    if fitting is None:
        return least if failing is None else None
    if failing is None:
        return None if fitting == most else min(2 * fitting, most)
    if failing - fitting <= max(resolution, share * fitting):
        return None
    middle = (fitting + failing) // 2
    # On the grid of the resolution where that lies between the two: round numbers, and runs that can be compared.
    rounded = middle // resolution * resolution
    return rounded if fitting < rounded else middle


def _ending(tries: list[Try], most: int) -> Literal["exact", "most", "least"]:
    fitting = Search(tuple(tries), "exact").longest
    return "least" if fitting is None else "most" if fitting == most else "exact"


def _expected_seconds(tries: list[Try], tokens: int) -> float:
    """By the best rate so far. The first try says nothing: it may compile, and that takes minutes at any length."""
    rates = [one.seconds / one.tokens for one in tries[1:] if one.fitted]
    return min(rates) * tokens if rates else 0.0
