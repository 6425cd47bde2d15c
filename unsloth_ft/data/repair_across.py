"""Rows that are in each other's way: nearly the same, or one question with several answers. Found as the check finds them."""

from __future__ import annotations

from dataclasses import dataclass

from . import similar
from .findings import Collector
from .reading import Reading


@dataclass(frozen=True)
class Crossing:
    """Why a row is to go; `beside` is the number of the row that it is compared with."""

    code: str
    beside: int


def crossing(path: str, *, near_duplicates: bool, contradictions: bool) -> dict[int, Crossing]:
    """The rows of a file of JSON Lines that are to go, by their numbers from 0.

    A row that is nearly the same as one that stays goes; of rows with one question and several answers none, since nothing says which
    is right.
    """
    import numpy as np

    reading = Reading([path], {}, {}, offline=True, processes=1)
    reading.learn([0])
    rows = reading.read([0], Collector(), None).index.rows
    everything = {"most": len(rows), "others": len(rows)}
    found: dict[int, Crossing] = {}
    if near_duplicates:
        for group in similar.near_duplicates(rows, **everything).first:
            beside = similar.beside_kept(rows, (group.first, group.second, *group.others))
            found |= {number: Crossing("near-duplicate", kept) for number, kept in beside.items()}
    if contradictions:
        groups = {int(rows["asked"][group.first]): group for group in similar.contradictions(rows, **everything).first}
        for number in np.flatnonzero(np.isin(rows["asked"], np.array(list(groups), dtype=np.uint64))).tolist():
            group = groups[int(rows["asked"][number])]
            found[number] = Crossing("contradiction", group.second if number == group.first else group.first)
    return found
