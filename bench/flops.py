"""Operations that a training step needs at least, and the share of the machine's own matrix product that it reached.

A multiplication and an addition are two operations. For each real token, forward and backward:

    linear layers, frozen      4 × weights          forward, and the gradient of the input
    linear layers, trained     6 × weights          and the gradient of the weights
    adapters                   6 × r × (in + out)   both factors, all trained
    head, at learned tokens    4 × hidden × vocab   6 × when it is trained
    attention, a row of n      6 × n² × width       causal: half of QK' and PV, forward once and backward twice; per layer

Padding, recomputation by checkpointing and dequantization don't count: they are the leg's own expense. `width` is heads × head size.
The formula counts as PaLM's model-FLOPs utilisation does (arXiv 2204.02311, appendix B), with frozen weights taken into account.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from unsloth_ft.chat import Row

FROZEN, TRAINED = 4, 6


@dataclass(frozen=True)
class Shape:
    """A decoder in numbers, from its config.json."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shape:
        heads = config["num_attention_heads"]
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            vocab=config["vocab_size"],
        )

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """(in, out) of a layer's linear layers."""
        width, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, width),
            "k_proj": (self.hidden, narrow),
            "v_proj": (self.hidden, narrow),
            "o_proj": (width, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }


def model_flops(shape: Shape, rows: Iterable[Row], *, r: int, target_modules: Iterable[str], full: bool) -> float:
    """Operations for these rows, once each. `full`: all weights are trained, and there is no adapter."""
    layer = shape.projections
    weights = shape.layers * sum(inner * outer for inner, outer in layer.values())
    adapter = 0 if full else shape.layers * sum(r * sum(layer[name]) for name in target_modules)
    factor = TRAINED if full else FROZEN
    a_token = factor * weights + TRAINED * adapter
    a_learned = factor * shape.hidden * shape.vocab
    a_pair = 6 * shape.heads * shape.head_dim * shape.layers
    return float(sum(a_token * len(row.input_ids) + a_learned * row.learned + a_pair * len(row.input_ids) ** 2 for row in rows))
