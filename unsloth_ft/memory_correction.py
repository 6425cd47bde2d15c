"""What peaks that were measured on this machine make of an estimate. No torch.

Peaks of one model scale the estimates of that model: by how much the table was off where it was measured. What takes at least as much in
everything as a measured point is never estimated below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from unsloth_ft.memory_values import ANSWERS, CONTEXT, EVALUATION, FRAGMENTS, TRAINING, Batch, Estimate, Part, Phase, Work

CORRECTED = (TRAINING, EVALUATION, ANSWERS)  # loading maps files, whose pages come and go
COUNTED = ("base weights", "quantization state", "LoRA weights", "gradients", "optimizer state", CONTEXT, FRAGMENTS)
# |corrected − measured| of work like a measured one. Two runs of one point differ by up to 5 % (bench/memory_fitting.py); a probe's two
# steps see less than a run.
REPEATED_BOUND = 0.1
ALIKE = 0.1  # of a batch's tokens
ENOUGH = 3  # points, from where on leaving each out in turn says how far the others hold for it


@dataclass(frozen=True)
class Point:
    """One measured peak of a phase, and what it was measured with. `ratio`: to the uncorrected estimate of the same."""

    r: int
    checkpointed_layers: int
    training: Batch
    own: Batch
    bytes: int
    ratio: float

    def is_exceeded_by(self, other: Point) -> bool:
        """Whether the other holds at least as much of everything."""
        grown = ((one.tokens <= two.tokens and _pairs(one) <= _pairs(two)) for one, two in zip(self._batches, other._batches))
        return self.r <= other.r and self.checkpointed_layers >= other.checkpointed_layers and all(grown)

    def is_like(self, other: Point) -> bool:
        """Whether both hold about the same."""
        close = (abs(one.tokens - two.tokens) <= ALIKE * one.tokens for one, two in zip(self._batches, other._batches))
        return (self.r, self.checkpointed_layers) == (other.r, other.checkpointed_layers) and all(close)

    @property
    def _batches(self) -> tuple[Batch, Batch]:
        return self.training, self.own


@dataclass(frozen=True)
class Correction:
    """Of one phase of one kind of work: a model on a backend, in 16 or 4 bits, with one way of checkpointing."""

    phase: str
    kind: tuple[object, ...]
    points: tuple[Point, ...]
    sources: tuple[str, ...]
    """probe, run or both."""

    @property
    def factor(self) -> float:
        """The middle ratio of measured to estimated."""
        return median(point.ratio for point in self.points)

    def bound(self, of_table: float, here: Point) -> float:
        """The corrected estimate's own: small beside a measured point; else as far as leaving points out says, or the table's."""
        if any(point.is_like(here) for point in self.points):
            return max(REPEATED_BOUND, self._worst(self.points, self.factor, like=here))
        if len(self.points) < ENOUGH:
            return max(of_table, self._worst(self.points, self.factor))
        others = [[other for other in self.points if other is not point] for point in self.points]
        left_out = (self._worst([point], median(one.ratio for one in rest)) for point, rest in zip(self.points, others))
        return max(REPEATED_BOUND, *left_out)

    @staticmethod
    def _worst(points: Sequence[Point], factor: float, *, like: Point | None = None) -> float:
        return max(abs(factor / point.ratio - 1) for point in points if like is None or point.is_like(like))


def kind(work: Work) -> tuple[object, ...]:
    """What a correction holds for. With the first layers checkpointed a step is one without checkpointing, of fewer layers."""
    way = work.gradient_checkpointing
    return work.model, work.load_in_4bit, tuple(sorted(work.target_modules)), way if way == "unsloth" or way is True else None


def point(work: Work, phase: str, *, bytes_: int, ratio: float) -> Point:
    own = {TRAINING: work.training, EVALUATION: work.evaluation, ANSWERS: work.answers}[phase]
    return Point(work.r, work.checkpointed_layers, work.training, own, bytes_, ratio)


def corrected(found: Estimate, work: Work, corrections: Sequence[Correction]) -> Estimate:
    """The estimate as far as this machine's peaks say something of it."""
    by_phase = {one.phase: one for one in corrections if one.kind == kind(work)}
    if not by_phase:
        return found
    phases = tuple(_corrected(phase, work, by_phase[phase.name]) if phase.name in by_phase else phase for phase in found.phases)
    count = max(len(one.points) for one in by_phase.values())
    sources = " and ".join(sorted({source for one in by_phase.values() for source in one.sources}))
    here = f"corrected by {count} {'peak' if count == 1 else 'peaks'} that a {sources} measured on this machine"
    return replace(found, phases=phases, basis=f"{found.basis}; {here}")


def _corrected(phase: Phase, work: Work, correction: Correction) -> Phase:
    """Its fitted parts scaled, so that all of it comes to what was measured here; what is counted stays."""
    here = point(work, phase.name, bytes_=0, ratio=1.0)
    least = max((one.bytes for one in correction.points if one.is_exceeded_by(here)), default=0)
    wanted = max(correction.factor * phase.tensor_bytes, least)
    fitted = sum(part.bytes for part in phase.parts if part.name not in COUNTED)
    counted = phase.tensor_bytes - fitted
    scale = max(0.0, wanted - counted) / fitted if fitted else 1.0
    parts = tuple(part if part.name in COUNTED else replace(part, bytes=int(scale * part.bytes)) for part in phase.parts)
    short = int(wanted) - sum(part.bytes for part in parts if part.name not in (CONTEXT, FRAGMENTS))
    # Rounding, or nothing that could be scaled.
    parts = (*parts, Part("measured besides", short)) if short > 0 else parts
    return replace(phase, parts=parts, bound=correction.bound(phase.bound, here))


def _pairs(batch: Batch) -> int:
    return batch.rows * batch.longest**2
