"""Pieces of work in Python threads, each from its beginning to its end, with a share of torch's own threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Made = TypeVar("Made")


def in_threads(make: Callable[[Piece], Made], pieces: Sequence[Piece], *, threads: int) -> list[Made]:
    """What `make` makes of each piece, in order; so many pieces at a time share torch's threads."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(before // threads,)) as pool:
            return list(pool.map(make, pieces))
    finally:
        torch.set_num_threads(before)  # the workers' number would be the beginning of every later thread
