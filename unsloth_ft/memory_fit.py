"""What a training step holds of memory, as measured: bytes for each token, layer and unit of width, by backend and device.

`memory_fits.json` beside this file is written by a program (`python -m unsloth_ft.bench.memory_fitting`), from peaks of real steps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("memory_fits.json")
FOREIGN = 0.1  # on top of the bound where another backend or precision stands in for one that isn't measured


@dataclass(frozen=True)
class Fit:
    """Of one backend, device, precision and way of checkpointing. All numbers are bytes, and none is negative."""

    backend: str
    device: str
    dtype: str
    checkpointing: str
    """none, layers or unsloth."""
    fixed: float
    """Program and libraries (CPU), or torch's workspace beside the CUDA context."""
    host_bytes: int
    """Program and libraries on the host."""
    begun: float
    """Program and libraries before training's own are there (CPU), or torch's workspace."""
    loading: float
    """The base while it is loaded: against what it takes afterwards, or without a GPU against its linear layers in 16 bits."""
    hidden: float
    """A token, layer and unit of hidden size, q, k and v together."""
    wide: float
    """A token, layer and unit of intermediate size."""
    rank: float
    """A token, layer, and rank × target modules."""
    once: float
    """A token and unit of hidden size, once for all layers."""
    kept: float
    """A token, layer and unit of hidden size, with checkpointing."""
    logit: float
    """A logit that is held in training."""
    logits: int
    """Logits held at a time; 0: `logit_positions` rows of them."""
    logit_positions: int
    """Positions whose logits are held at a time; 0: all of them."""
    all_positions: bool
    """Whether positions without a label have logits too."""
    pair: float
    """A pair of positions of a row: masks and scores."""
    dequantized: float
    """A value of the largest 4-bit weight of a layer."""
    retained: float
    """Of what a training step held, what the allocator still has in an evaluation."""
    evaluated: float
    """A token and unit of hidden and intermediate size, in a forward pass that keeps nothing."""
    evaluated_logit: float
    evaluated_logits: int
    """Logits held at a time in an evaluation."""
    bound: float
    """|estimate − measured| / measured of load and training was never more on the points it was fitted to, nor on a model left out."""
    evaluated_bound: float
    """The same for evaluation and answers."""
    points: int
    machine: str
    stands_in_for: str = ""

    @property
    def basis(self) -> str:
        """Where the numbers are from, in words."""
        here = f"; {self.stands_in_for} isn't measured" if self.stands_in_for else ""
        return f"measured on {self.points} points: {self.machine}, {self.backend}, {self.dtype}{here}"

    def logit_rows(self, vocab_size: int) -> int:
        """Positions whose logits are held at a time in training."""
        if self.logits:
            return max(1, self.logits // vocab_size)
        return self.logit_positions or 10**12


@cache
def fits(file: Path = FILE) -> tuple[Fit, ...]:
    """All that is measured."""
    return tuple(Fit(**values) for values in json.loads(file.read_text(encoding="utf-8"))["fits"])


def fit_for(backend: str, device: str, dtype: str, gradient_checkpointing: str | bool | int) -> Fit:
    """The fit for this work, or the nearest one, which says that it stands in: same checkpointing, then precision, then backend.

    Where only the first layers are checkpointed: the fit without checkpointing, with what a checkpointed layer keeps of the other one.
    """
    if first_layers(gradient_checkpointing) is not None:
        without, of_all = (fit_for(backend, device, dtype, way) for way in (False, True))
        bounds = {name: max(getattr(without, name), getattr(of_all, name)) for name in ("bound", "evaluated_bound")}
        return replace(without, kept=of_all.kept, points=without.points + of_all.points, **bounds)
    way = checkpointing_name(gradient_checkpointing)
    asked = (device, way, _width(dtype), backend)

    def distance(fit: Fit) -> tuple[bool, ...]:
        return tuple(have != want for have, want in zip((fit.device, fit.checkpointing, _width(fit.dtype), fit.backend), asked))

    found = min(fits(), key=distance)
    if not any(distance(found)):
        return found
    return replace(found, bound=found.bound + FOREIGN, evaluated_bound=found.evaluated_bound + FOREIGN, stands_in_for=f"{backend}, {dtype}, checkpointing {way}")


def first_layers(gradient_checkpointing: str | bool | int) -> int | None:
    """How many layers from the first are checkpointed, where that is given as a number; True (all of them) is none, though Python says 1."""
    return None if isinstance(gradient_checkpointing, (bool, str)) else gradient_checkpointing


def checkpointing_name(gradient_checkpointing: str | bool | int) -> str:
    """False, True, "unsloth", 12 as none, layers, unsloth, first 12 layers."""
    first = first_layers(gradient_checkpointing)
    if first is not None:
        return f"first {first} layers"
    return {False: "none", True: "layers"}.get(gradient_checkpointing, "unsloth")


def _width(dtype: str) -> int:
    """float16 and bfloat16 take the same memory."""
    return 32 if dtype == "float32" else 16
