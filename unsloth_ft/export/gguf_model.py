"""The architecture side of a GGUF file: which models are known, their hyperparameters, their tensors' names and order.

What llama.cpp reads is taken from its src/models/{llama,qwen2,qwen3}.cpp and from its own converter (conversion/{base,llama,qwen}.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsloth_ft.errors import UserError, nearest
from unsloth_ft.export.gguf_vocab import read_json

# HF class → GGUF architecture. llama.cpp has no "mistral": it runs as "llama".
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}

# config.json's optional yarn fields → the writer's method for each.
YARN_FIELDS = {
    "attention_factor": "add_rope_scaling_yarn_attn_factor",
    "beta_fast": "add_rope_scaling_yarn_beta_fast",
    "beta_slow": "add_rope_scaling_yarn_beta_slow",
}


@dataclass(frozen=True)
class RopeScaling:
    """`kind` is "default", "linear", "yarn" or "llama3"; `values` are the fields of config.json that belong to it."""

    kind: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """Everything of config.json that a GGUF file needs."""

    hf_class: str
    name: str  # "llama", "qwen2", "qwen3"
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling
    tied: bool

    @property
    def permuted(self) -> bool:
        """llama.cpp rotates neighbouring pairs of a llama head, and the halves of a qwen head as HF does."""
        return self.name == "llama"


def read_architecture(model_dir: Path) -> Architecture:
    """The architecture of the model in `model_dir`, from config.json alone.

    Raises: UserError naming the class or the setting that GGUF export does not know.
    """
    path = model_dir / "config.json"
    config = read_json(path)
    hf_class = (config.get("architectures") or ["none"])[0]
    if hf_class not in ARCHITECTURES:
        known = tuple(ARCHITECTURES)
        raise UserError(f"{path}: the architecture is {hf_class!r}; GGUF export knows {', '.join(known)}.{nearest(hf_class, known)}")
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        raise UserError(
            f"{path}: the weights are quantized ({method}); GGUF is written from 16-bit ones. Merge into the 16-bit base first."
        )
    if config.get("hidden_act", "silu") != "silu":
        raise UserError(f"{path}: hidden_act is {config['hidden_act']!r}; llama.cpp computes silu for {hf_class}.")
    heads = config["num_attention_heads"]
    parameters = rope_parameters(config, path)
    return Architecture(
        hf_class=hf_class,
        name=ARCHITECTURES[hf_class],
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or default_head_dim(config),
        context_length=context_length(config),
        rms_norm_eps=config["rms_norm_eps"],
        rope_theta=float(parameters.get("rope_theta", 10000.0)),
        rope_scaling=rope_scaling(parameters, path),
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def default_head_dim(config: dict[str, Any]) -> int:
    if config["architectures"][0] == "Qwen3ForCausalLM":
        return 128  # transformers' Qwen3Config, where config.json leaves it out
    return config["hidden_size"] // config["num_attention_heads"]


def context_length(config: dict[str, Any]) -> int:
    """max_position_embeddings, or the sliding window where there is one.

    llama.cpp attends to everything for these architectures, so past the window it would not compute what the model learned.
    """
    length, window = config["max_position_embeddings"], config.get("sliding_window")
    slides = config["architectures"][0] == "MistralForCausalLM" or config.get("use_sliding_window", False)
    return min(length, window) if slides and window else length


def rope_parameters(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """`rope_parameters` as transformers 5 writes it, or `rope_theta` and `rope_scaling` as published configs have them."""
    parameters = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    parameters.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    if any(isinstance(value, dict) for value in parameters.values()):
        raise UserError(f"{path}: the rope parameters differ by layer ({', '.join(parameters)}); GGUF export knows one set for all layers.")
    if parameters.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
        raise UserError(f"{path}: partial_rotary_factor is not 1; llama.cpp rotates whole heads for these architectures.")
    return parameters


def rope_scaling(parameters: dict[str, Any], path: Path) -> RopeScaling:
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    needed = {
        "default": (),
        "linear": ("factor",),
        "yarn": ("factor", "original_max_position_embeddings"),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    }
    if kind not in needed:
        raise UserError(f"{path}: the rope type is {kind!r}; GGUF export knows {', '.join(needed)}.")
    missing = [name for name in needed[kind] if name not in parameters]
    if missing:
        raise UserError(f"{path}: the rope type {kind!r} needs {', '.join(missing)}.")
    values = {name: value for name, value in parameters.items() if name not in ("rope_type", "type", "rope_theta", "partial_rotary_factor")}
    unknown = set(values) - set(needed[kind]) - (set(YARN_FIELDS) if kind == "yarn" else set())
    if kind == "yarn" and unknown:  # mscale, truncate: they change the result, and llama.cpp would not read them
        raise UserError(f"{path}: the rope type 'yarn' has {', '.join(sorted(unknown))}; GGUF export knows {', '.join(YARN_FIELDS)}.")
    return RopeScaling(kind, values)


def tensor_names(architecture: Architecture, hf_names: list[str], where: Path) -> dict[str, str]:
    """HF name → GGUF name, in the order of the file, for exactly the tensors that llama.cpp loads.

    Raises: UserError naming what is missing or unknown.
    """
    import gguf

    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture.name)
    mapping = gguf.get_tensor_name_map(kind, architecture.layers)
    names, unknown = {}, []
    for name in hf_names:
        if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and architecture.tied):
            continue  # computed; a copy of the embedding
        found = mapping.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            unknown.append(name)
        else:
            names[name] = found
    missing = sorted(required_tensors(architecture) - set(names.values()))
    for problem, found in (("unknown tensors", unknown), ("missing tensors", missing)):
        if found:
            some = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
            raise UserError(f"{where}: {problem} for {architecture.hf_class}: {some}. Export a complete merged model.")
    return dict(sorted(names.items(), key=lambda item: file_order(item[1])))


def required_tensors(architecture: Architecture) -> set[str]:
    parts = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"]
    parts += ["attn_q_norm", "attn_k_norm"] if architecture.name == "qwen3" else []
    names = {"token_embd.weight", "output_norm.weight"} | (set() if architecture.tied else {"output.weight"})
    for layer in range(architecture.layers):
        names |= {f"blk.{layer}.{part}.weight" for part in parts}
        if architecture.name == "qwen2":
            names |= {f"blk.{layer}.attn_{part}.bias" for part in "qkv"}
    return names


def file_order(name: str) -> tuple[int, str]:
    """Embedding, layers, output: the order in which a reader needs them."""
    if name.startswith("blk."):
        return int(name.split(".")[1]), name
    return (-1, name) if name.startswith("token_embd") else (1_000_000, name)


def rope_factors(architecture: Architecture) -> Any:
    """What llama.cpp divides each of the head_dim / 2 rotation frequencies by (`rope_freqs.weight`), in float32, or None.

    Llama 3.1's rule: short wavelengths as they are, long ones by `factor`, a linear ramp between (transformers,
    modeling_rope_utils._compute_llama3_parameters).
    """
    if architecture.rope_scaling.kind != "llama3":
        return None
    import torch

    # in float32 and in the order of llama.cpp's converter: the last bit of a factor depends on both
    values = architecture.rope_scaling.values
    factor, low, high = values["factor"], values["low_freq_factor"], values["high_freq_factor"]
    trained = values["original_max_position_embeddings"]
    exponents = torch.arange(0, architecture.head_dim, 2, dtype=torch.float32) / architecture.head_dim
    wavelengths = 2 * math.pi / (1.0 / architecture.rope_theta**exponents)
    ramp = (trained / wavelengths - low) / (high - low)
    factors = 1 / ((1 - ramp) / factor + ramp)
    factors[wavelengths < trained / high] = 1.0
    factors[wavelengths > trained / low] = factor
    return factors.numpy()
