"""What of config.json is refused before anything is trained, and what is known to be computed alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import families
from unsloth_ft.errors import UserError
from unsloth_ft.export.gguf_config import check_config, context_length

PATH = Path("model/config.json")


def config_with(family, changes):
    config = families.config_of(families.SHAPES[family]) | changes
    return {name: value for name, value in config.items() if value is not REMOVED}


REMOVED = object()
ROPE = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}

# family, changes, message behind "model/config.json: "
REFUSED = [
    (
        "llama31",
        {"architectures": ["LlamaForCausallm"]},
        "the architecture is 'LlamaForCausallm'; GGUF export knows LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, "
        "Qwen3ForCausalLM.",
    ),
    (
        "mistral-v03",
        {"architectures": ["Mistral3ForConditionalGeneration"]},  # a multimodal wrapper
        "the architecture is 'Mistral3ForConditionalGeneration'; GGUF export knows LlamaForCausalLM, MistralForCausalLM, "
        "Qwen2ForCausalLM, Qwen3ForCausalLM.",
    ),
    (
        "qwen3",
        {"architectures": ["Qwen3MoeForCausalLM"]},
        "the architecture is 'Qwen3MoeForCausalLM'; GGUF export knows LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, "
        "Qwen3ForCausalLM.",
    ),
    (
        "llama31",
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        "the weights are quantized (bitsandbytes); GGUF is written from 16-bit ones. Merge into the 16-bit base first.",
    ),
    (
        "llama31",
        {"rms_norm_eps": REMOVED, "intermediate_size": REMOVED},
        "intermediate_size, rms_norm_eps is missing; GGUF export reads it. Use the config.json that belongs to the model.",
    ),
    ("llama31", {"model_type": "granite"}, "model_type is 'granite'; LlamaForCausalLM has 'llama'."),
    (
        "llama31",
        {"auto_map": {"AutoModelForCausalLM": "modeling_decilm.DeciLMForCausalLM"}},
        "auto_map names code of the model's own, modeling_decilm.DeciLMForCausalLM; llama.cpp computes LlamaForCausalLM.",
    ),
    ("mistral-v03", {"hidden_act": "gelu"}, "hidden_act is 'gelu'; llama.cpp computes silu for MistralForCausalLM."),
    ("llama31", {"attention_bias": True}, "attention_bias is true; GGUF export knows LlamaForCausalLM without it."),
    ("qwen3", {"attention_bias": True}, "attention_bias is true; GGUF export knows Qwen3ForCausalLM without it."),
    ("llama31", {"mlp_bias": True}, "mlp_bias is true; GGUF export knows LlamaForCausalLM without it."),
    ("llama31", {"num_key_value_heads": 3}, "num_attention_heads is 4, not a multiple of num_key_value_heads, 3."),
    ("qwen25", {"num_key_value_heads": REMOVED}, "num_attention_heads is 4, not a multiple of num_key_value_heads, 32."),
    ("smollm2", {"hidden_size": 66}, "hidden_size is 66, not a multiple of num_attention_heads, 8, and there is no head_dim."),
    (
        "qwen25",
        {"head_dim": 32},
        "head_dim is 32; llama.cpp computes Qwen2ForCausalLM with hidden_size / num_attention_heads, 16.",
    ),
    ("mistral-nemo", {"head_dim": 7}, "head_dim is 7; rotation wants an even one."),
    ("qwen25", {"is_causal": False}, "is_causal is False; GGUF export knows causal models."),
    (
        "qwen3",
        {"layer_types": ["full_attention", "linear_attention"]},
        "layer_types has 'linear_attention'; llama.cpp computes full attention for Qwen3ForCausalLM.",
    ),
    (
        "mistral-v03",
        {"layer_types": ["full_attention", "sliding_attention"]},
        "layer_types has 'sliding_attention'; transformers computes MistralForCausalLM the same in all layers, so the model is another "
        "one.",
    ),
    ("smollm2", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is not 1; llama.cpp rotates whole heads for these architectures."),
    (
        "qwen3",
        {"rope_parameters": {"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default"}}},
        "the rope parameters differ by layer (full_attention, sliding_attention); GGUF export knows one set for all layers.",
    ),
    (
        "smollm2",
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        "the rope type is 'dynamic'; GGUF export knows default, linear, yarn, llama3.",
    ),
    ("smollm2", {"rope_scaling": {"rope_type": "linear"}}, "the rope type 'linear' needs factor."),
    (
        "qwen25",
        {"rope_scaling": families.llama3_config(8.0)["rope_scaling"]},
        "the rope type is 'llama3'; llama.cpp knows it for Llama and Mistral, not for Qwen2ForCausalLM.",
    ),
    ("qwen25", {"rope_scaling": ROPE | {"beta_fast": 16}}, "the rope type 'yarn' has beta_fast 16; llama.cpp computes with 32."),
    ("qwen25", {"rope_scaling": ROPE | {"truncate": False}}, "the rope type 'yarn' has truncate False; llama.cpp computes with True."),
    (
        "qwen25",
        {"rope_scaling": ROPE | {"attention_factor": 1.0}},
        "the rope type 'yarn' has attention_factor 1.0; llama.cpp computes with 1.138629.",
    ),
    ("qwen25", {"rope_scaling": ROPE | {"mscale": 0.7}}, "the rope type 'yarn' has mscale, which llama.cpp does not read."),
    (
        "llama31",
        {"hidden_act": "relu", "mlp_bias": True},
        "hidden_act is 'relu'; llama.cpp computes silu for LlamaForCausalLM. mlp_bias is true; GGUF export knows LlamaForCausalLM "
        "without it.",
    ),
]


@pytest.mark.parametrize(("family", "changes", "message"), REFUSED, ids=[f"{family}-{'-'.join(changes)}" for family, changes, _ in REFUSED])
def test_what_llama_cpp_would_compute_otherwise_is_refused_by_name(family, changes, message):
    with pytest.raises(UserError) as error:
        check_config(config_with(family, changes), PATH)
    alone = message.startswith(("the architecture", "the weights", "intermediate_size"))
    assert str(error.value) == f"{PATH}: {'' if alone else 'llama.cpp would not compute this model. '}{message}"


ACCEPTED = [
    ("llama31", {"pretraining_tp": 2}),  # transformers 5 does not read it
    ("llama31", {"num_key_value_heads": REMOVED}),
    ("qwen25", {"head_dim": 16}),
    ("qwen25", {"rope_scaling": ROPE | {"beta_fast": 32, "beta_slow": 1, "truncate": True, "attention_factor": 1.138629436111989}}),
    ("qwen3", {"layer_types": ["full_attention"] * 2}),
    ("mistral-nemo", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
]


@pytest.mark.parametrize(("family", "changes"), ACCEPTED)
def test_what_llama_cpp_computes_alike_is_accepted(family, changes):
    config = config_with(family, changes)
    assert check_config(config, PATH) == config["architectures"][0]


WINDOW = {"sliding_window": 4096}
WINDOWS = [
    ("mistral-v03", WINDOW, 4096),
    ("qwen25", WINDOW, 32768),
    ("qwen25", WINDOW | {"use_sliding_window": True, "max_window_layers": 1}, 4096),
    ("qwen25", WINDOW | {"use_sliding_window": True, "max_window_layers": 2}, 32768),  # both layers are full
    ("qwen25", WINDOW | {"use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]}, 4096),
    ("llama31", WINDOW, 131072),
]


@pytest.mark.parametrize(("family", "changes", "length"), WINDOWS)
def test_a_sliding_window_limits_the_context_where_a_layer_has_one(family, changes, length):
    config = config_with(family, changes)
    assert context_length(config, config["architectures"][0]) == length


@pytest.mark.parametrize(("family", "changes", "length"), [window for window in WINDOWS if window[0] != "llama31"])
def test_transformers_sees_the_same_windows(family, changes, length, tmp_path):
    from transformers import AutoConfig

    (tmp_path / "config.json").write_text(json.dumps(config_with(family, changes)))
    config = AutoConfig.from_pretrained(tmp_path)
    kinds = config.layer_types if family.startswith("qwen") else ["sliding_attention"]
    assert (config.sliding_window is not None and "sliding_attention" in kinds) == (length == 4096)
