"""A decoder in numbers, from its config.json: shapes, and the parameter counts that follow from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# What transformers' modeling code has and config.json does not mention. Llama and Mistral have neither biases nor head norms.
WITH_QKV_BIAS = ("Qwen2ForCausalLM",)
WITH_HEAD_NORMS = ("Qwen3ForCausalLM",)
# The architectures whose parameter counts are exact; others are counted as if they were Llamas.
COUNTED = ("LlamaForCausalLM", "MistralForCausalLM", *WITH_QKV_BIAS, *WITH_HEAD_NORMS)


@dataclass(frozen=True)
class ModelFacts:
    """The base model's config.json in numbers, under its own names."""

    architecture: str
    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    tie_word_embeddings: bool = False

    @classmethod
    def of(cls, config: dict[str, Any]) -> ModelFacts:
        """From a config.json; what it leaves out follows from the rest. Without a number of heads there is one, as wide as the model."""
        hidden, heads = config["hidden_size"], config.get("num_attention_heads") or 1
        architectures = config.get("architectures") or ""
        return cls(
            architecture=architectures[0] if isinstance(architectures, list) else architectures,
            num_hidden_layers=config["num_hidden_layers"],
            hidden_size=hidden,
            intermediate_size=config.get("intermediate_size") or 4 * hidden,
            vocab_size=config["vocab_size"],
            max_position_embeddings=config.get("max_position_embeddings") or 2048,
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden // heads,
            tie_word_embeddings=bool(config.get("tie_word_embeddings")),
        )

    @property
    def query_width(self) -> int:
        """Width of q: all heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Width of k, and of v."""
        return self.num_key_value_heads * self.head_dim

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """(in, out) of a layer's linear layers."""
        hidden, wide = self.hidden_size, self.intermediate_size
        return {
            "q_proj": (hidden, self.query_width),
            "k_proj": (hidden, self.key_width),
            "v_proj": (hidden, self.key_width),
            "o_proj": (self.query_width, hidden),
            "gate_proj": (hidden, wide),
            "up_proj": (hidden, wide),
            "down_proj": (wide, hidden),
        }

    @property
    def is_counted(self) -> bool:
        """Whether the parameter counts are exact."""
        return self.architecture in COUNTED

    @property
    def linear_parameters(self) -> int:
        """Weights of all layers' linear layers: what NF4 quantizes."""
        return self.num_hidden_layers * sum(inner * outer for inner, outer in self.projections.values())

    @property
    def embedding_parameters(self) -> int:
        """Embedding and output layer, which are one where they are tied."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def parameters(self) -> int:
        """All weights."""
        norms = 2 * self.hidden_size + (2 * self.head_dim if self.architecture in WITH_HEAD_NORMS else 0)
        biases = self.query_width + 2 * self.key_width if self.architecture in WITH_QKV_BIAS else 0
        return self.linear_parameters + self.embedding_parameters + self.num_hidden_layers * (norms + biases) + self.hidden_size

    def lora_parameters(self, r: int, target_modules: Iterable[str]) -> int:
        """Weights of an adapter: A and B of each target in each layer."""
        return self.num_hidden_layers * r * sum(sum(self.projections[name]) for name in target_modules)
