"""How long a step takes on a card: starting its kernels, or computing at a share of the published rate. No torch.

One set of constants, held against every step that was measured on an H100 and an H200 with an 8B model (tests/bench/test_pace.py).
"""

from __future__ import annotations

from unsloth_ft import cards
from unsloth_ft.hardware import Gpu

REACHED = 0.35  # of a card's published rate, in passes long enough that starting kernels doesn't matter
# Seconds that a layer's kernels take to be started, forward and backward; short passes take this long on any card. By backend, and whether
# rows are laid end to end: Unsloth (2026.10.9) compiles its blocks for padded batches alone.
STARTED_SECONDS = {("unsloth", False): 0.0065, ("unsloth", True): 0.014, ("peft", False): 0.011, ("peft", True): 0.011}
ERROR = 0.3  # |estimate − measured| / measured was never more


def started_seconds(backend: str, *, padding_free: bool) -> float:
    """Of a layer's kernels, forward and backward."""
    return STARTED_SECONDS[backend, padding_free]


def operations_a_second(gpu: Gpu) -> float | None:
    """That a long pass reaches on this card; None: its published rate isn't known."""
    rate = cards.teraflops(gpu)
    return None if rate is None else REACHED * rate * 1e12


def step_seconds(operations: float, *, passes: int, layers: int, rate: float, started: float, again: float = 1.0) -> float:
    """Of an optimizer step of so many operations in so many passes. `again`: what checkpointing multiplies it by."""
    return again * max(passes * layers * started, operations / rate)
