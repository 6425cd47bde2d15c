"""The real architecture of each recipe's base model: config.json in values, and the name and shape of every weight.

The values are those of the model's config.json on the hub (https://huggingface.co/<model>/blob/main/config.json). The parameter counts that
the hub shows beside each model follow from them; tests/bench/test_architectures.py holds that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from unsloth_ft import catalog
from unsloth_ft.errors import UserError

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

    hf_class: str
    model_type: str
    tokens: str
    """Which special tokens, a key of synth_tokenizer.SPECIAL."""
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    max_position_embeddings: int
    rope_parameters: dict[str, Any]
    head_dim: int | None = None
    """None where config.json has none: hidden_size / num_attention_heads."""
    tie_word_embeddings: bool = False
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    """Standard deviation of a new weight: keeps activations on the scale that the architecture was made for."""
    qkv_bias: bool = False
    """Qwen2: biases on q, k and v, which its config.json does not mention."""
    head_norms: bool = False
    """Qwen3: a norm over each head of q and k."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further fields of the published config.json."""

    @property
    def heads(self) -> tuple[int, int]:
        """Width of q, and of k and v: all heads together."""
        head_dim = self.head_dim or self.hidden_size // self.num_attention_heads
        return self.num_attention_heads * head_dim, self.num_key_value_heads * head_dim

    def config(self, *, layers: int, quantized: bool) -> dict[str, Any]:
        """config.json with so many layers, as transformers 5 writes it (rope_parameters, dtype)."""
        values = {
            "architectures": [self.hf_class],
            "model_type": self.model_type,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position_embeddings,
            "rope_parameters": self.rope_parameters,
            "tie_word_embeddings": self.tie_word_embeddings,
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
        values |= {"head_dim": self.head_dim} if self.head_dim else {}
        return values | ({"quantization_config": NF4_CONFIG} if quantized else {})

    def parameters(self, layers: int) -> Iterator[Parameter]:
        """Every weight of a checkpoint with so many layers, in the order in which a forward pass needs them."""
        yield Parameter("model.embed_tokens.weight", (self.vocab_size, self.hidden_size), "embedding")
        for layer in range(layers):
            yield from self._layer(f"model.layers.{layer}")
        yield Parameter("model.norm.weight", (self.hidden_size,), "norm")
        if not self.tie_word_embeddings:
            yield Parameter("lm_head.weight", (self.vocab_size, self.hidden_size), "output")

    def _layer(self, prefix: str) -> Iterator[Parameter]:
        hidden, wide = self.hidden_size, self.intermediate_size
        query, key = self.heads
        yield Parameter(f"{prefix}.input_layernorm.weight", (hidden,), "norm")
        for name, width in (("q", query), ("k", key), ("v", key)):
            yield Parameter(f"{prefix}.self_attn.{name}_proj.weight", (width, hidden), "linear")
            if self.qkv_bias:
                yield Parameter(f"{prefix}.self_attn.{name}_proj.bias", (width,), "bias")
            if self.head_norms and name != "v":
                yield Parameter(f"{prefix}.self_attn.{name}_norm.weight", (query // self.num_attention_heads,), "norm")
        yield Parameter(f"{prefix}.self_attn.o_proj.weight", (hidden, query), "linear")
        yield Parameter(f"{prefix}.post_attention_layernorm.weight", (hidden,), "norm")
        yield Parameter(f"{prefix}.mlp.gate_proj.weight", (wide, hidden), "linear")
        yield Parameter(f"{prefix}.mlp.up_proj.weight", (wide, hidden), "linear")
        yield Parameter(f"{prefix}.mlp.down_proj.weight", (hidden, wide), "linear")


def _llama3(*, factor: float, **sizes: Any) -> Architecture:
    """Llama 3.1 and 3.2: 128,256 tokens, 128 Ki positions, rotary frequencies scaled from 8 Ki by `factor`."""
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    return Architecture(
        "LlamaForCausalLM",
        "llama",
        "llama3",
        vocab_size=128256,
        max_position_embeddings=131072,
        rope_parameters=rope,
        more={"attention_bias": False, "mlp_bias": False},
        **sizes,
    )


def _qwen2(*, max_window_layers: int, **sizes: Any) -> Architecture:
    """Qwen2.5 Instruct: biases on q, k and v; its sliding window is switched off."""
    return Architecture(
        "Qwen2ForCausalLM",
        "qwen2",
        "qwen2",
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        rms_norm_eps=1e-6,
        qkv_bias=True,
        more={"use_sliding_window": False, "max_window_layers": max_window_layers},
        **sizes,
    )


def _qwen3(*, max_window_layers: int, **sizes: Any) -> Architecture:
    """Qwen3: heads of 128 with a norm each, no biases."""
    return Architecture(
        "Qwen3ForCausalLM",
        "qwen3",
        "qwen3",
        vocab_size=151936,
        max_position_embeddings=40960,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        num_key_value_heads=8,
        head_dim=128,
        rms_norm_eps=1e-6,
        head_norms=True,
        more={"attention_bias": False, "use_sliding_window": False, "max_window_layers": max_window_layers},
        **sizes,
    )


ARCHITECTURES = {
    "meta-llama/Llama-3.1-8B-Instruct": _llama3(
        factor=8.0,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    ),
    "meta-llama/Llama-3.2-3B-Instruct": _llama3(
        factor=32.0,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=28,
        num_attention_heads=24,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    ),
    "meta-llama/Llama-3.2-1B-Instruct": _llama3(
        factor=32.0,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        tie_word_embeddings=True,
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": Architecture(
        "MistralForCausalLM",
        "mistral",
        "mistral-v3",
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=32768,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        more={"sliding_window": None},
    ),
    "Qwen/Qwen2.5-7B-Instruct": _qwen2(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
        max_window_layers=28,
    ),
    "Qwen/Qwen2.5-0.5B-Instruct": _qwen2(
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        vocab_size=151936,
        max_window_layers=21,
        tie_word_embeddings=True,
    ),
    "Qwen/Qwen3-8B": _qwen3(
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        max_window_layers=36,
    ),
    "Qwen/Qwen3-4B": _qwen3(
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        max_window_layers=36,
        tie_word_embeddings=True,
    ),
    "Qwen/Qwen3-0.6B": _qwen3(
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        max_window_layers=28,
        tie_word_embeddings=True,
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Architecture(
        "LlamaForCausalLM",
        "llama",
        "smollm2",
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
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
