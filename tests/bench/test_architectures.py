from __future__ import annotations

import pytest

from unsloth_ft import catalog
from unsloth_ft.bench.architectures import ARCHITECTURES, of_recipe
from unsloth_ft.bench.synth_tokenizer import SPECIAL
from unsloth_ft.errors import UserError

# As the hub counts them beside each model (Qwen3-0.6B: without the output layer, which its file holds a second time).
PUBLISHED = {
    "llama31-8b": 8_030_261_248,
    "llama32-3b": 3_212_749_824,
    "llama32-1b": 1_235_814_400,
    "mistral-7b": 7_248_023_552,
    "qwen25-7b": 7_615_616_512,
    "qwen25-0.5b": 494_032_768,
    "qwen3-8b": 8_190_735_360,
    "qwen3-4b": 4_022_468_096,
    "qwen3-0.6b": 596_049_920,
    "smollm2-135m": 134_515_008,
}


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_an_architecture_has_as_many_parameters_as_the_published_model(recipe: str):
    architecture = of_recipe(recipe)
    assert sum(parameter.size for parameter in architecture.parameters(architecture.facts.num_hidden_layers)) == PUBLISHED[recipe]
    assert architecture.facts.parameters == PUBLISHED[recipe]


def test_every_recipe_has_an_architecture_and_every_architecture_a_recipe():
    assert sorted(PUBLISHED) == catalog.names()
    assert {catalog.find(name).recipe.model for name in catalog.names()} == set(ARCHITECTURES)


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_names_and_shapes_are_those_of_transformers_own_model(model: str):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    architecture = ARCHITECTURES[model]
    config = AutoConfig.for_model(**architecture.config(layers=2, quantized=False))
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(config)
    assert {one.name: one.shape for one in architecture.parameters(2)} == {
        name: tuple(parameter.shape) for name, parameter in theirs.named_parameters()
    }


@pytest.mark.parametrize(("model", "theta", "kind"), [
    ("meta-llama/Llama-3.1-8B-Instruct", 500000.0, "llama3"),
    ("Qwen/Qwen2.5-7B-Instruct", 1000000.0, "default"),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", 100000.0, "default"),
])  # fmt: skip
def test_transformers_reads_the_rotary_frequencies_from_the_config(model: str, theta: float, kind: str):
    from transformers import AutoConfig

    read = AutoConfig.for_model(**ARCHITECTURES[model].config(layers=2, quantized=False))
    assert (read.rope_parameters["rope_theta"], read.rope_parameters["rope_type"]) == (theta, kind)


def test_the_special_tokens_have_the_published_ids():
    named = {name: (special.bos, special.eos, special.pad) for name, special in SPECIAL.items()}
    assert {name: {token: SPECIAL[name].id_of(token) for token in tokens if token} for name, tokens in named.items()} == {
        "llama3": {"<|begin_of_text|>": 128000, "<|eot_id|>": 128009, "<|finetune_right_pad_id|>": 128004},
        "mistral-v3": {"<s>": 1, "</s>": 2, "[control_768]": 770},
        "qwen2": {"<|im_end|>": 151645, "<|endoftext|>": 151643},
        "qwen3": {"<|im_end|>": 151645, "<|endoftext|>": 151643},
        "smollm2": {"<|im_start|>": 1, "<|im_end|>": 2, "<|endoftext|>": 0},
    }
    assert SPECIAL["qwen3"].id_of("<think>") == 151667
    assert len(SPECIAL["mistral-v3"].tokens) == 771


def test_an_unknown_recipe_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r'recipe "llama31-8" is not known. Did you mean llama31-8b'):
        of_recipe("llama31-8")


def test_a_base_model_that_is_not_known_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text('from unsloth_ft.recipe import Recipe\nRECIPE = Recipe(model="some/model")\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"the architecture of some/model is not known here; known are meta-llama/Llama-3.1-8B-Instruct"):
        of_recipe(str(path))
