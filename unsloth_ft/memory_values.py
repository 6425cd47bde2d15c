"""The values of the memory table: what is held and computed, and what it takes, phase by phase and part by part. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unsloth_ft.hardware import MIB
from unsloth_ft.memory_fit import first_layers
from unsloth_ft.model_facts import ModelFacts

if TYPE_CHECKING:
    from unsloth_ft.memory_correction import Correction

ELASTIC_BYTES = 256 * MIB  # the least that Unsloth's loss works well with: 500 positions of 32,768 logits at 16 bytes
CONTEXT, FRAGMENTS = "CUDA context", "fragmentation"
TRAINING, EVALUATION, ANSWERS = "training step", "evaluation", "answers"


@dataclass(frozen=True)
class Batch:
    """Rows that are computed at once. `tokens` counts positions, padding among them; `learned` counts those with a label."""

    rows: int
    longest: int
    tokens: int
    learned: int

    @classmethod
    def padded(cls, rows: int, longest: int, *, learned: int | None = None) -> Batch:
        """So many rows, all as wide as the longest."""
        return cls(rows, longest, rows * longest, rows * longest if learned is None else learned)


@dataclass(frozen=True)
class Work:
    """What a run holds and computes: all that its memory depends on."""

    model: ModelFacts
    backend: str
    device: str
    dtype: str
    load_in_4bit: bool
    r: int
    target_modules: tuple[str, ...]
    optim: str
    gradient_checkpointing: str | bool | int
    """False, True (all layers), "unsloth", or so many layers from the first."""
    training: Batch
    evaluation: Batch
    answers: Batch
    """Prompts and answers of one batch that is generated; no rows: nothing is."""
    room_bytes: int = 0
    """What the device has; Unsloth's loss takes less where less is free. 0: plenty."""
    corrections: tuple[Correction, ...] = ()
    """What peaks that were measured on this machine say of the table."""

    @property
    def own_checkpointing(self) -> str | bool:
        """What the backend checkpoints with, where anything is."""
        return "unsloth" if self.backend == "unsloth" and self.device == "cuda" else True

    @property
    def checkpointed_layers(self) -> int:
        """Layers that keep nothing but their input for the backward pass."""
        layers, first = self.model.num_hidden_layers, first_layers(self.gradient_checkpointing)
        if first is not None:
            return min(first, layers)
        return layers if self.gradient_checkpointing else 0

    @property
    def adapter_parameters(self) -> int:
        return self.model.lora_parameters(self.r, self.target_modules)

    def with_micro_batch(self, rows: int) -> Work:
        """The same work with fewer rows at once, which have their share of the tokens, and at least those of the longest row."""
        batch = self.training
        tokens = max(batch.longest, -(-batch.tokens * rows // batch.rows))
        return replace(self, training=Batch(rows, batch.longest, tokens, min(batch.learned, tokens)))


@dataclass(frozen=True)
class Part:
    """Bytes of one kind. `elastic`: what takes them makes do with less where less is free."""

    name: str
    bytes: int
    elastic: bool = False


@dataclass(frozen=True)
class Phase:
    """The peak of one stage of a run, on the device that trains or on the host."""

    name: str
    parts: tuple[Part, ...]
    bound: float
    """|estimate − measured| was within this share."""
    on_host: bool = False

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def expected_bytes(self) -> int:
        """What has to be there if the estimate is right; elastic parts need ELASTIC_BYTES."""
        return self._needed(0.0)

    @property
    def needed_bytes(self) -> int:
        """What has to be there, the estimate being off by its bound."""
        return self._needed(self.bound)

    def _needed(self, bound: float) -> int:
        firm = sum(part.bytes for part in self.parts if not part.elastic)
        return int((1 + bound) * firm) + sum(min(part.bytes, ELASTIC_BYTES) for part in self.parts if part.elastic)

    @property
    def tensor_bytes(self) -> int:
        """What a probe measures: on a card without its context and fragments."""
        return sum(part.bytes for part in self.parts if part.name not in (CONTEXT, FRAGMENTS))


@dataclass(frozen=True)
class Estimate:
    """Peaks by phase, and what they rest on."""

    phases: tuple[Phase, ...]
    basis: str

    @property
    def peak(self) -> Phase:
        """The phase that takes most of the device that trains."""
        return max((phase for phase in self.phases if not phase.on_host), key=lambda phase: phase.bytes)

    @property
    def expected_bytes(self) -> int:
        """What has to be there if the estimate is right."""
        return max(phase.expected_bytes for phase in self.phases if not phase.on_host)

    @property
    def needed_bytes(self) -> int:
        """What has to be there: the largest peak with the bound on top."""
        return max(phase.needed_bytes for phase in self.phases if not phase.on_host)

    def phase(self, name: str) -> Phase:
        return next(phase for phase in self.phases if phase.name == name)
