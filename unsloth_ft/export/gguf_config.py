"""What of config.json llama.cpp can compute, and what it would silently compute otherwise.

Every field that transformers' code for these classes reads was gone through (modeling_{llama,mistral,qwen2,qwen3}.py, masking_utils.py,
modeling_rope_utils.py of transformers 5.17) and held against llama.cpp's src/models/{llama,qwen2,qwen3}.cpp and src/llama-context.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsloth_ft.errors import UserError

# HF class → its model_type, and the GGUF architecture. llama.cpp has no "mistral": it runs as "llama".
CLASSES = {
    "LlamaForCausalLM": ("llama", "llama"),
    "MistralForCausalLM": ("mistral", "llama"),
    "Qwen2ForCausalLM": ("qwen2", "qwen2"),
    "Qwen3ForCausalLM": ("qwen3", "qwen3"),
}
NEEDED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "rms_norm_eps",
)
# What transformers takes where config.json has no num_key_value_heads at all; LlamaConfig takes num_attention_heads.
DEFAULT_KV_HEADS = {"MistralForCausalLM": 8, "Qwen2ForCausalLM": 32, "Qwen3ForCausalLM": 32}
DEFAULT_HEAD_DIM = {"Qwen3ForCausalLM": 128}  # the others take hidden_size / num_attention_heads

ROPE_FIELDS = {
    "default": (),
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
# Optional fields of yarn that may stand in config.json with the value that llama.cpp computes with (src/llama-context.cpp).
YARN_DEFAULTS = {"beta_fast": 32, "beta_slow": 1, "truncate": True}


@dataclass(frozen=True)
class RopeScaling:
    """`kind` is a key of ROPE_FIELDS; `values` are the fields of config.json that belong to it."""

    kind: str
    values: dict[str, Any]


def check_config(config: dict[str, Any], path: Path) -> str:
    """The HF class of a model whose every setting llama.cpp computes as transformers does.

    Raises: UserError naming the class, or all settings that are not known.
    """
    hf_class = (config.get("architectures") or ["none"])[0]
    if hf_class not in CLASSES:
        raise UserError(f"{path}: the architecture is {hf_class!r}; GGUF export knows {', '.join(CLASSES)}.")
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        raise UserError(
            f"{path}: the weights are quantized ({method}); GGUF is written from 16-bit ones. Merge into the 16-bit base first."
        )
    missing = [name for name in NEEDED if config.get(name) is None]
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} is missing; GGUF export reads it. Use the config.json that belongs to the model.")
    problems = [*class_problems(config, hf_class), *head_problems(config, hf_class), *attention_problems(config, hf_class)]
    problems += rope_problems(config, hf_class)
    if problems:
        raise UserError(f"{path}: llama.cpp would not compute this model. " + " ".join(f"{problem}." for problem in problems))
    return hf_class


def class_problems(config: dict[str, Any], hf_class: str) -> Iterator[str]:
    model_type, _ = CLASSES[hf_class]
    if config.get("model_type", model_type) != model_type:
        yield f"model_type is {config['model_type']!r}; {hf_class} has {model_type!r}"
    if config.get("auto_map"):
        yield f"auto_map names code of the model's own, {', '.join(map(str, config['auto_map'].values()))}; llama.cpp computes {hf_class}"
    if config.get("hidden_act", "silu") != "silu":
        yield f"hidden_act is {config['hidden_act']!r}; llama.cpp computes silu for {hf_class}"
    # llama.cpp has tensors for these biases; no published model of these families has them, so nothing here could be proven
    for name, classes in {"attention_bias": ("LlamaForCausalLM", "Qwen3ForCausalLM"), "mlp_bias": ("LlamaForCausalLM",)}.items():
        if config.get(name) and hf_class in classes:
            yield f"{name} is true; GGUF export knows {hf_class} without it"


def head_problems(config: dict[str, Any], hf_class: str) -> Iterator[str]:
    hidden, heads, kv_heads = config["hidden_size"], config["num_attention_heads"], kv_head_count(config, hf_class)
    if heads % kv_heads:
        yield f"num_attention_heads is {heads}, not a multiple of num_key_value_heads, {kv_heads}"
    width = head_width(config, hf_class)
    if config.get("head_dim") is None and hf_class not in DEFAULT_HEAD_DIM and hidden % heads:
        yield f"hidden_size is {hidden}, not a multiple of num_attention_heads, {heads}, and there is no head_dim"
    elif hf_class == "Qwen2ForCausalLM" and width * heads != hidden:
        yield f"head_dim is {width}; llama.cpp computes {hf_class} with hidden_size / num_attention_heads, {hidden / heads:g}"
    if width % 2:
        yield f"head_dim is {width}; rotation wants an even one"


def attention_problems(config: dict[str, Any], hf_class: str) -> Iterator[str]:
    if config.get("is_causal", True) is not True:
        yield f"is_causal is {config['is_causal']}; GGUF export knows causal models"
    kinds = sorted(set(config.get("layer_types") or ()) - {"full_attention", "sliding_attention"})
    if kinds:
        yield f"layer_types has {', '.join(map(repr, kinds))}; llama.cpp computes full attention for {hf_class}"
    elif hf_class in ("LlamaForCausalLM", "MistralForCausalLM") and "sliding_attention" in (config.get("layer_types") or ()):
        yield f"layer_types has 'sliding_attention'; transformers computes {hf_class} the same in all layers, so the model is another one"


def rope_problems(config: dict[str, Any], hf_class: str) -> Iterator[str]:
    parameters = rope_parameters(config)
    nested = [name for name, value in parameters.items() if isinstance(value, dict)]
    if nested:
        yield f"the rope parameters differ by layer ({', '.join(nested)}); GGUF export knows one set for all layers"
        return
    if parameters.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
        yield "partial_rotary_factor is not 1; llama.cpp rotates whole heads for these architectures"
    kind = rope_kind(parameters)
    if kind not in ROPE_FIELDS:
        yield f"the rope type is {kind!r}; GGUF export knows {', '.join(ROPE_FIELDS)}"
        return
    missing = [name for name in ROPE_FIELDS[kind] if parameters.get(name) is None]
    if missing:
        yield f"the rope type {kind!r} needs {', '.join(missing)}"
    elif kind == "llama3" and CLASSES[hf_class][1] != "llama":
        yield f"the rope type is 'llama3'; llama.cpp knows it for Llama and Mistral, not for {hf_class}"
    elif kind == "yarn":
        yield from yarn_problems(parameters)


def yarn_problems(parameters: dict[str, Any]) -> Iterator[str]:
    known = YARN_DEFAULTS | {"attention_factor": round(0.1 * math.log(parameters["factor"]) + 1.0, 6)}
    for name, value in rope_values(parameters).items():
        if name in ROPE_FIELDS["yarn"] or value is None:
            continue
        if name not in known:
            yield f"the rope type 'yarn' has {name}, which llama.cpp does not read"
        elif not math.isclose(value, known[name], rel_tol=1e-5):
            yield f"the rope type 'yarn' has {name} {value}; llama.cpp computes with {known[name]}"


def rope_parameters(config: dict[str, Any]) -> dict[str, Any]:
    """`rope_parameters` as transformers 5 writes it, or `rope_theta` and `rope_scaling` as published configs have them."""
    parameters = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    parameters.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    return parameters


def rope_kind(parameters: dict[str, Any]) -> str:
    return parameters.get("rope_type") or parameters.get("type") or "default"


def rope_values(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in ("rope_type", "type", "rope_theta", "partial_rotary_factor")}


def rope_scaling(config: dict[str, Any]) -> RopeScaling:
    parameters = rope_parameters(config)
    return RopeScaling(rope_kind(parameters), rope_values(parameters))


def kv_head_count(config: dict[str, Any], hf_class: str) -> int:
    return config.get("num_key_value_heads", DEFAULT_KV_HEADS.get(hf_class)) or config["num_attention_heads"]


def head_width(config: dict[str, Any], hf_class: str) -> int:
    default = DEFAULT_HEAD_DIM.get(hf_class) or config["hidden_size"] // config["num_attention_heads"]
    return config.get("head_dim", default) or config["hidden_size"] // config["num_attention_heads"]


def context_length(config: dict[str, Any], hf_class: str) -> int:
    """max_position_embeddings, or the sliding window where a layer has one.

    llama.cpp attends to everything for these architectures, so past the window it would not compute what the model learned; up to it,
    both are the same.
    """
    length, window = config["max_position_embeddings"], config.get("sliding_window")
    return min(length, window) if window and slides(config, hf_class) else length


def slides(config: dict[str, Any], hf_class: str) -> bool:
    """Whether a layer looks back over `sliding_window` tokens only, as transformers decides it."""
    if hf_class == "MistralForCausalLM":
        return True
    if not hf_class.startswith("Qwen") or not config.get("use_sliding_window", False):
        return False
    if config.get("layer_types"):
        return "sliding_attention" in config["layer_types"]
    return config.get("max_window_layers", 28) < config["num_hidden_layers"]  # Qwen2Config and Qwen3Config: 28
