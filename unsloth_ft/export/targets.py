"""Where a model can go: `adapter`, `merged`, `gguf:QUANT`, `gguf-lora`, `ollama`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unsloth_ft.errors import UserError, nearest

KINDS = ("adapter", "merged", "gguf", "gguf-lora", "ollama")  # in the order they build on each other
DEFAULT_QUANTIZATION = "q8_0"  # of an Ollama model when no GGUF was asked for, and of the base under an adapter's GGUF


@dataclass(frozen=True)
class Target:
    """One export. `quantization` is set for GGUF only: the model's own, or with `gguf-lora` that of the base beneath the adapter."""

    kind: str
    quantization: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.quantization}" if self.quantization else self.kind

    @property
    def is_gguf(self) -> bool:
        """Whether a GGUF of a whole model is written for it."""
        return self.quantization is not None


def parse(texts: tuple[str, ...] | list[str]) -> tuple[Target, ...]:
    """The targets a user named, each once. Raises UserError for an unknown one, with the nearest."""
    from unsloth_ft.export.gguf import QUANTIZATIONS, check_quantization

    targets = []
    for text in texts:
        kind, colon, quantization = text.partition(":")
        if kind not in KINDS or (colon and kind not in ("gguf", "gguf-lora")):
            raise UserError(
                f'export target "{text}" is not known; expected adapter, merged, gguf:QUANT, gguf-lora or ollama.'
                f"{nearest(kind.lower(), KINDS)}"
            )
        if kind == "gguf" and not quantization:
            raise UserError(
                f'export target "{text}" names no quantization; expected one of '
                + ", ".join(f"gguf:{name}" for name in QUANTIZATIONS)
                + "."
            )
        if kind == "gguf-lora":
            quantization = quantization or DEFAULT_QUANTIZATION
        if quantization:
            check_quantization(quantization.lower())
        targets.append(Target(kind, quantization.lower() or None))
    return tuple(dict.fromkeys(targets))


def complete(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The targets in the order they build on each other; Ollama brings a GGUF with it where none was asked for."""
    wanted = list(targets)
    if any(target.kind == "ollama" for target in wanted) and not any(target.is_gguf for target in wanted):
        wanted.append(Target("gguf", DEFAULT_QUANTIZATION))
    return tuple(sorted(dict.fromkeys(wanted), key=lambda target: KINDS.index(target.kind)))
