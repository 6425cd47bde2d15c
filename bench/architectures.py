"""The real architecture of each recipe's base model: config.json in values, and the name and shape of every weight.

The sizes are `unsloth_ft.known_models`'; what stands here beside them is of the same config.json
(https://huggingface.co/<model>/blob/main/config.json).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from unsloth_ft import catalog
from unsloth_ft.errors import UserError
from unsloth_ft.known_models import KNOWN
from unsloth_ft.model_facts import WITH_HEAD_NORMS, WITH_QKV_BIAS, ModelFacts

# What bitsandbytes' BitsAndBytesConfig writes for QLoRA's setting (arXiv 2305.14314): NF4, double quantization, computing in bfloat16.
NF4_CONFIG = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "load_in_8bit": False,
    "bnb_4bit_compute_dtype": "bfloat16",
    "bnb_4bit_quant_storage": "uint8",
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "llm_int8_enable_fp32_cpu_offload": False,
    "llm_int8_has_fp16_weight": False,
    "llm_int8_skip_modules": ["lm_head"],  # transformers leaves the output layer in 16 bit by itself; said aloud
    "llm_int8_threshold": 6.0,
}


@dataclass(frozen=True)
class Parameter:
    """A weight by its name in the checkpoint. `kind` says how it begins, and whether it may be quantized (only a linear one)."""

    name: str
    shape: tuple[int, ...]
    kind: Literal["embedding", "linear", "bias", "norm", "output"]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Architecture:
    """config.json's fields that decide weights and computation, under their upstream names."""

    facts: ModelFacts
    model_type: str
    tokens: str
    """Which special tokens, a key of synth_tokenizer.SPECIAL."""
    rope_parameters: dict[str, Any]
    names_head_dim: bool = False
    """Whether config.json has a head_dim; else it is hidden_size / num_attention_heads."""
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    """Standard deviation of a new weight: keeps activations on the scale that the architecture was made for."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further fields of the published config.json."""

    def config(self, *, layers: int, quantized: bool) -> dict[str, Any]:
        """config.json with so many layers, as transformers 5 writes it (rope_parameters, dtype)."""
        values = {
            "architectures": [self.facts.architecture],
            "model_type": self.model_type,
            "hidden_size": self.facts.hidden_size,
            "intermediate_size": self.facts.intermediate_size,
            "num_hidden_layers": layers,
            "num_attention_heads": self.facts.num_attention_heads,
            "num_key_value_heads": self.facts.num_key_value_heads,
            "vocab_size": self.facts.vocab_size,
            "max_position_embeddings": self.facts.max_position_embeddings,
            "rope_parameters": self.rope_parameters,
            "tie_word_embeddings": self.facts.tie_word_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "initializer_range": self.initializer_range,
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "use_cache": True,
            "dtype": "bfloat16",
            # Whose layout this is; without it transformers takes a large vocabulary for one of Mistral's broken ones, and warns.
            "transformers_version": "5.17.0",
            **self.more,
        }
        values |= {"head_dim": self.facts.head_dim} if self.names_head_dim else {}
        return values | ({"quantization_config": NF4_CONFIG} if quantized else {})

    def parameters(self, layers: int) -> Iterator[Parameter]:
        """Every weight of a checkpoint with so many layers, in the order in which a forward pass needs them."""
        facts = self.facts
        yield Parameter("model.embed_tokens.weight", (facts.vocab_size, facts.hidden_size), "embedding")
        for layer in range(layers):
            yield from self._layer(f"model.layers.{layer}")
        yield Parameter("model.norm.weight", (facts.hidden_size,), "norm")
        if not facts.tie_word_embeddings:
            yield Parameter("lm_head.weight", (facts.vocab_size, facts.hidden_size), "output")

    def _layer(self, prefix: str) -> Iterator[Parameter]:
        facts = self.facts
        hidden = facts.hidden_size
        yield Parameter(f"{prefix}.input_layernorm.weight", (hidden,), "norm")
        for name, width in (("q", facts.query_width), ("k", facts.key_width), ("v", facts.key_width)):
            yield Parameter(f"{prefix}.self_attn.{name}_proj.weight", (width, hidden), "linear")
            if facts.architecture in WITH_QKV_BIAS:
                yield Parameter(f"{prefix}.self_attn.{name}_proj.bias", (width,), "bias")
            if facts.architecture in WITH_HEAD_NORMS and name != "v":
                yield Parameter(f"{prefix}.self_attn.{name}_norm.weight", (facts.head_dim,), "norm")
        yield Parameter(f"{prefix}.self_attn.o_proj.weight", (hidden, facts.query_width), "linear")
        yield Parameter(f"{prefix}.post_attention_layernorm.weight", (hidden,), "norm")
        yield Parameter(f"{prefix}.mlp.gate_proj.weight", (facts.intermediate_size, hidden), "linear")
        yield Parameter(f"{prefix}.mlp.up_proj.weight", (facts.intermediate_size, hidden), "linear")
        yield Parameter(f"{prefix}.mlp.down_proj.weight", (hidden, facts.intermediate_size), "linear")


def _llama3(model: str, *, factor: float, names_head_dim: bool) -> Architecture:
    """Llama 3.1 and 3.2: rotary frequencies scaled from 8 Ki positions by `factor`."""
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    more = {"attention_bias": False, "mlp_bias": False}
    return Architecture(KNOWN[model], "llama", "llama3", rope_parameters=rope, names_head_dim=names_head_dim, more=more)


def _qwen2(model: str, *, max_window_layers: int) -> Architecture:
    """Qwen2.5 Instruct: its sliding window is switched off."""
    return Architecture(
        KNOWN[model],
        "qwen2",
        "qwen2",
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        rms_norm_eps=1e-6,
        more={"use_sliding_window": False, "max_window_layers": max_window_layers},
    )


def _qwen3(model: str) -> Architecture:
    """Qwen3: its sliding window is switched off, for all layers."""
    facts = KNOWN[model]
    return Architecture(
        facts,
        "qwen3",
        "qwen3",
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        names_head_dim=True,
        rms_norm_eps=1e-6,
        more={"attention_bias": False, "use_sliding_window": False, "max_window_layers": facts.num_hidden_layers},
    )


MISTRAL = "mistralai/Mistral-7B-Instruct-v0.3"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
ARCHITECTURES = {
    "meta-llama/Llama-3.1-8B-Instruct": _llama3("meta-llama/Llama-3.1-8B-Instruct", factor=8.0, names_head_dim=False),
    "meta-llama/Llama-3.2-3B-Instruct": _llama3("meta-llama/Llama-3.2-3B-Instruct", factor=32.0, names_head_dim=True),
    "meta-llama/Llama-3.2-1B-Instruct": _llama3("meta-llama/Llama-3.2-1B-Instruct", factor=32.0, names_head_dim=True),
    MISTRAL: Architecture(
        KNOWN[MISTRAL],
        "mistral",
        "mistral-v3",
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        more={"sliding_window": None},
    ),
    "Qwen/Qwen2.5-7B-Instruct": _qwen2("Qwen/Qwen2.5-7B-Instruct", max_window_layers=28),
    "Qwen/Qwen2.5-0.5B-Instruct": _qwen2("Qwen/Qwen2.5-0.5B-Instruct", max_window_layers=21),
    **{model: _qwen3(model) for model in ("Qwen/Qwen3-8B", "Qwen/Qwen3-4B", "Qwen/Qwen3-0.6B")},
    SMOLLM2: Architecture(
        KNOWN[SMOLLM2],
        "llama",
        "smollm2",
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        initializer_range=0.041666666666666664,  # 1/24, the root of 1/576
        more={"attention_bias": False, "mlp_bias": False},
    ),
}


def of_recipe(name: str) -> Architecture:
    """The architecture of the recipe's base model; a variant of a recipe has its base's.

    Raises UserError for an unknown recipe, with the nearest names, and for a base model that isn't known here.
    """
    model = catalog.find(name).recipe.model
    if model not in ARCHITECTURES:
        raise UserError(f"recipe {name}: the architecture of {model} is not known here; known are {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[model]
