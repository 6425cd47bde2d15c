"""Parameter counts and widths that follow from a config.json, held against what is published and what transformers builds."""

from __future__ import annotations

import pytest

from unsloth_ft.known_models import KNOWN
from unsloth_ft.model_facts import ModelFacts
from unsloth_ft.recipe import PROJECTIONS

SMOLLM2 = KNOWN["HuggingFaceTB/SmolLM2-135M-Instruct"]
LLAMA = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]


def test_the_parameters_of_llama_3_1_8b_are_the_published_ones():
    assert (LLAMA.parameters, LLAMA.linear_parameters, LLAMA.embedding_parameters) == (8_030_261_248, 6_979_321_856, 1_050_673_152)


@pytest.mark.parametrize(
    ("model", "r", "names", "count"),
    [
        # As Unsloth's and PEFT's own notebooks print it for rank 16 on all seven projections.
        ("meta-llama/Llama-3.1-8B-Instruct", 16, PROJECTIONS, 41_943_040),
        ("meta-llama/Llama-3.2-1B-Instruct", 16, PROJECTIONS, 11_272_192),
        ("meta-llama/Llama-3.2-3B-Instruct", 16, PROJECTIONS, 24_313_856),
        ("Qwen/Qwen2.5-7B-Instruct", 16, PROJECTIONS, 40_370_176),
        ("mistralai/Mistral-7B-Instruct-v0.3", 16, PROJECTIONS, 41_943_040),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 8, ("q_proj", "v_proj"), 460_800),
    ],
)
def test_an_adapter_has_as_many_weights_as_peft_prints(model: str, r: int, names: tuple[str, ...], count: int):
    assert KNOWN[model].lora_parameters(r, names) == count


@pytest.mark.parametrize("model", KNOWN)
def test_transformers_and_peft_count_the_same(model: str):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from unsloth_ft.bench.architectures import ARCHITECTURES

    facts = KNOWN[model]
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(**ARCHITECTURES[model].config(layers=2, quantized=False)))
        adapted = get_peft_model(theirs, LoraConfig(r=16, target_modules=list(PROJECTIONS)))
    two = ModelFacts.of(ARCHITECTURES[model].config(layers=2, quantized=False))
    trained, everything = adapted.get_nb_trainable_parameters()
    assert (trained, everything - trained) == (two.lora_parameters(16, PROJECTIONS), two.parameters)
    assert ModelFacts.of(ARCHITECTURES[model].config(layers=facts.num_hidden_layers, quantized=False)) == facts


CONFIG = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536,
    "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49152, "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip


@pytest.mark.parametrize(("key", "changed"), [
    ("head_dim", {}),
    ("num_key_value_heads", {"num_key_value_heads": 9}),
    ("num_attention_heads", {"num_attention_heads": 1}),
    ("intermediate_size", {"intermediate_size": 4 * 576}),
    ("max_position_embeddings", {"max_position_embeddings": 2048}),
    ("tie_word_embeddings", {"tie_word_embeddings": False}),
])  # fmt: skip
def test_what_a_config_leaves_out_follows_from_the_rest(key: str, changed: dict[str, int]):
    left_out = {name: value for name, value in CONFIG.items() if name != key}
    assert ModelFacts.of(left_out) == ModelFacts.of(CONFIG | changed)
    assert ModelFacts.of(left_out | {key: None}) == ModelFacts.of(left_out)


def test_an_architecture_that_is_not_counted_says_so():
    assert not ModelFacts.of(CONFIG | {"architectures": ["GemmaForCausalLM"]}).is_counted
    assert SMOLLM2.is_counted
