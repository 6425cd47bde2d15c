"""The architecture side of a GGUF file: hyperparameters, and the tensors' names and order.

What llama.cpp reads is taken from its src/models/{llama,qwen2,qwen3}.cpp and from its own converter (conversion/{base,llama,qwen}.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsloth_ft.base_model import read_json
from unsloth_ft.errors import UserError
from unsloth_ft.export.gguf_config import (
    CLASSES,
    RopeScaling,
    check_config,
    context_length,
    head_width,
    kv_head_count,
    rope_parameters,
    rope_scaling,
)

# config.json's optional yarn fields → the writer's method for each.
YARN_FIELDS = {
    "attention_factor": "add_rope_scaling_yarn_attn_factor",
    "beta_fast": "add_rope_scaling_yarn_beta_fast",
    "beta_slow": "add_rope_scaling_yarn_beta_slow",
}


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
    hf_class = check_config(config, path)
    return Architecture(
        hf_class=hf_class,
        name=CLASSES[hf_class][1],
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kv_heads=kv_head_count(config, hf_class),
        head_dim=head_width(config, hf_class),
        context_length=context_length(config, hf_class),
        rms_norm_eps=config["rms_norm_eps"],
        rope_theta=float(rope_parameters(config)["rope_theta"]),
        rope_scaling=rope_scaling(config),
        tied=bool(config.get("tie_word_embeddings", False)),
    )


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
