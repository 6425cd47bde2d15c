"""Where a model can go: `adapter`, `merged`, `gguf:QUANT`, `ollama`."""

from __future__ import annotations

from dataclasses import dataclass

from unsloth_ft.errors import UserError, nearest

KINDS = ("adapter", "merged", "gguf", "ollama")


@dataclass(frozen=True)
class Target:
    """One export. `quantization` is set for GGUF only."""

    kind: str
    quantization: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.quantization}" if self.quantization else self.kind


def parse(texts: tuple[str, ...] | list[str]) -> tuple[Target, ...]:
    """The targets a user named, each once. Raises UserError for an unknown one, with the nearest."""
    from unsloth_ft.export.gguf import QUANTIZATIONS, check_quantization

    targets = []
    for text in texts:
        kind, colon, quantization = text.partition(":")
        if kind not in KINDS or (colon and kind != "gguf"):
            raise UserError(
                f'export target "{text}" is not known; expected adapter, merged, gguf:QUANT or ollama.{nearest(kind.lower(), KINDS)}'
            )
        if kind == "gguf" and not quantization:
            raise UserError(
                f'export target "{text}" names no quantization; expected one of '
                + ", ".join(f"gguf:{name}" for name in QUANTIZATIONS)
                + "."
            )
        if kind == "gguf":
            check_quantization(quantization.lower())
        targets.append(Target(kind, quantization.lower() or None))
    return tuple(dict.fromkeys(targets))
