"""In which order the legs take their turns: interleaved, so that a machine that slows down slows all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unsloth_ft.bench.case import Case, Leg
from unsloth_ft.hardware import GIB, MIB


@dataclass(frozen=True)
class Round:
    """One case at one of its points. All its legs are measured before the next round begins."""

    name: str
    case: Case
    point: dict[str, int]
    """{"length": 512}, {"memory_cap_gib": 24}, both, or nothing."""

    def turns(self) -> Iterator[tuple[int, Leg]]:
        """(repeat, leg), every leg once in each repeat."""
        for repeat in range(self.case.repeats):
            for leg in in_turn(self.case.legs, repeat):
                yield repeat, leg

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.point.items())])


def rounds(name: str, case: Case, *, device: str, memory_caps: Sequence[int] = ()) -> list[Round]:
    """The case at every memory cap (bytes) and at every point of its sweep for that device (cpu or cuda)."""
    values = case.sweep.values_on(device) if case.sweep else ()
    found = []
    for cap in memory_caps or (None,):
        capped = case if cap is None else case.model_copy(update={"memory_cap_bytes": cap})
        under = {} if cap is None else _shown(cap)
        if case.sweep is None:
            found.append(Round(name, capped, under))
        found += [Round(name, capped.at(value), under | {case.sweep.field: value}) for value in values if case.sweep]
    return found


def _shown(cap: int) -> dict[str, int]:
    return {"memory_cap_gib": cap // GIB} if cap % GIB == 0 else {"memory_cap_mib": cap // MIB}


def in_turn(legs: Sequence[Leg], repeat: int) -> tuple[Leg, ...]:
    """The legs' order in that repeat: every second one backwards, each pair of repeats beginning with another leg.

    A B C D, D C B A, B C D A, A D C B, …: drift over the run falls on all legs alike, and none is always the one after a pause.
    """
    first = (repeat // 2) % len(legs)
    order = (*legs[first:], *legs[:first])
    return order[::-1] if repeat % 2 else order
