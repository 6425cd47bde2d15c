"""An adapter that can't be merged, or belongs to another model, is refused by name before a byte is written."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.export import adapters, merge_cases
from unsloth_ft.errors import UserError
from unsloth_ft.export.lora import read_adapter
from unsloth_ft.export.merged import merge

Q0 = "model.layers.0.self_attn.q_proj"
OTHER_MODEL = "the adapter was trained on another model."


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"peft_type": "LOHA"}, "peft_type = 'LOHA'; the merge knows LoRA, rsLoRA and DoRA ('LORA')."),
        ({"bias": "lora_only"}, "bias = 'lora_only'; the merge knows LoRA, rsLoRA and DoRA ('none')."),
        ({"fan_in_fan_out": True}, "fan_in_fan_out = True; the merge knows LoRA, rsLoRA and DoRA (False)."),
        ({"use_qalora": True}, "use_qalora = True; the merge knows LoRA, rsLoRA and DoRA (False)."),
        ({"target_parameters": ["x"]}, "target_parameters = ['x']; the merge knows LoRA, rsLoRA and DoRA without it."),
        ({"layer_replication": [[0, 4]]}, "layer_replication = [[0, 4]]; the merge knows LoRA, rsLoRA and DoRA without it."),
        ({"arrow_config": {"top_k": 2}}, "arrow_config = {'top_k': 2}; the merge knows LoRA, rsLoRA and DoRA without it."),
        (
            {"init_lora_weights": "pissa"},
            "init_lora_weights = 'pissa'; the merge knows LoRA, rsLoRA and DoRA (True or False or 'gaussian' or 'orthogonal' or 'eva').",
        ),
        (
            {"init_lora_weights": "loftq"},
            "init_lora_weights = 'loftq'; the merge knows LoRA, rsLoRA and DoRA (True or False or 'gaussian' or 'orthogonal' or 'eva').",
        ),
        ({"r": 0}, "r = 0, lora_alpha = 8; expected a whole number from 1 and a number."),
        ({"lora_alpha": "8"}, "r = 4, lora_alpha = '8'; expected a whole number from 1 and a number."),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern = {'q_proj': 0}; expected names and whole numbers from 1."),
        ({"alpha_pattern": ["q_proj"]}, "alpha_pattern = ['q_proj']; expected names and numbers."),
        ({"modules_to_save": "norm"}, "modules_to_save = 'norm'; expected a list of names."),
        ({"modules_to_save": ["norm"]}, "modules_to_save = 'norm', and adapter_model.safetensors holds no such module."),
        ({"trainable_token_indices": [-1]}, "trainable_token_indices = [-1]; expected lists of token ids."),
    ],
)
def test_what_a_merge_does_not_know_is_refused(values, said, tiny_adapter):
    adapters.change_config(tiny_adapter, **values)
    with pytest.raises(UserError) as caught:
        read_adapter(tiny_adapter)
    assert str(caught.value) == f"adapter: adapter_config.json says {said}"


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"use_dora": True}, f"{Q0.replace('layers.0.self_attn.q', 'layers.0.mlp.down')}.lora_magnitude_vector"),
        ({"trainable_token_indices": [5]}, "model.embed_tokens.token_adapter.trainable_tokens_delta"),
        ({"lora_bias": True}, f"{Q0.replace('layers.0.self_attn.q', 'layers.0.mlp.down')}.lora_B.bias"),
    ],
)
def test_tensors_that_the_config_asks_for_must_be_there(values, missing, tiny_adapter):
    adapters.change_config(tiny_adapter, **values)
    with pytest.raises(UserError) as caught:
        read_adapter(tiny_adapter)
    assert str(caught.value) == (
        f"adapter: {missing} is missing in adapter_model.safetensors, which adapter_config.json asks for. Save the adapter again."
    )


def test_a_rank_that_is_not_the_tensors_is_refused(tiny_adapter):
    adapters.change_config(tiny_adapter, rank_pattern={r"layers\.1\..*": 8})
    with pytest.raises(UserError, match=r"^adapter: model\.layers\.1\.\S+ has A \(4, \d+\) and B \(\d+, 4\); expected r = 8, as in"):
        read_adapter(tiny_adapter)


def test_a_magnitude_of_another_shape_is_refused(trained_tiny, tmp_path):
    folder = merge_cases.train(trained_tiny[0], merge_cases.KINDS["dora"], tmp_path / "adapter")
    adapters.change_weights(folder, lambda state: state.update({f"base_model.model.{Q0}.lora_magnitude_vector": torch.ones(3)}))
    with pytest.raises(UserError, match=rf"^adapter: {Q0}'s magnitude has the shape \(3,\); expected \(64,\)\.$"):
        read_adapter(folder)


def test_tensors_that_a_merge_would_lose_are_refused(tiny_adapter):
    adapters.change_weights(tiny_adapter, lambda state: state.update({"base_model.model.model.norm.weight": torch.zeros(64)}))
    with pytest.raises(UserError) as caught:
        read_adapter(tiny_adapter)
    assert str(caught.value) == (
        "adapter: 1 tensors in the adapter belong to no LoRA pair, model.norm.weight the first; they would be lost in a merge."
    )


def test_half_a_pair_is_refused(tiny_adapter):
    adapters.change_weights(tiny_adapter, lambda state: state.pop(next(name for name in state if "lora_B" in name)))
    with pytest.raises(UserError, match="^adapter: 1 tensors in the adapter belong to no LoRA pair"):
        read_adapter(tiny_adapter)


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(UserError, match="no adapter_config.json and adapter_model.safetensors in it; expected a PEFT adapter"):
        read_adapter(tmp_path)


# -- another model


def test_an_adapter_of_another_model_is_refused_by_its_shapes(tiny_base, tmp_path):
    other = merge_cases.small_base("qwen3", tmp_path / "qwen3")
    adapter = merge_cases.train(other, merge_cases.KINDS["lora"], tmp_path / "adapter")
    with pytest.raises(UserError) as caught:
        merge(tiny_base, adapter, tmp_path / "merged")
    assert str(caught.value) == (
        f"{Q0}: the base's weight has the shape (64, 64) and the adapter's update (128, 64): {OTHER_MODEL}"
    )
    assert not (tmp_path / "merged").exists() and not (tmp_path / ".merged.partial").exists()


def test_an_adapter_of_a_deeper_model_is_refused_by_its_names(tiny_base, tiny_adapter, tmp_path):
    def deeper(state):
        for name in [name for name in state if "layers.1." in name]:
            state[name.replace("layers.1.", "layers.7.")] = state.pop(name)

    adapters.change_weights(tiny_adapter, deeper)
    with pytest.raises(UserError) as caught:
        merge(tiny_base, tiny_adapter, tmp_path / "merged")
    assert str(caught.value) == (
        f"the base has no weight for 3 of 6 adapted modules, model.layers.7.mlp.down_proj the first: {OTHER_MODEL}"
    )


def test_a_saved_module_of_another_shape_is_refused(tiny_base, tiny_adapter, tmp_path):
    adapters.change_config(tiny_adapter, modules_to_save=["norm"])
    adapters.change_weights(tiny_adapter, lambda state: state.update({"base_model.model.model.norm.weight": torch.zeros(65)}))
    with pytest.raises(UserError) as caught:
        merge(tiny_base, tiny_adapter, tmp_path / "merged")
    assert str(caught.value) == f"model.norm.weight: the adapter brings it with the shape (65,), which is not the base's: {OTHER_MODEL}"


def test_a_bias_for_a_layer_without_one_is_refused(tiny_base, tmp_path):
    kind = merge_cases.KINDS["lora-bias"]
    adapter = merge_cases.train(tiny_base, kind, tmp_path / "adapter")
    with pytest.raises(UserError) as caught:
        merge(tiny_base, adapter, tmp_path / "merged")
    assert str(caught.value) == (
        f"{Q0}: the adapter adds to its bias (lora_bias), and the base has none there; PEFT can't merge it either."
    )


def test_token_rows_beyond_the_vocabulary_are_refused(tiny_base, tmp_path):
    adapter = merge_cases.train(tiny_base, merge_cases.KINDS["tokens"], tmp_path / "adapter")
    adapters.change_config(adapter, trainable_token_indices=[3, 400])
    with pytest.raises(UserError) as caught:
        merge(tiny_base, adapter, tmp_path / "merged")
    assert str(caught.value) == (
        f"model.embed_tokens: the base's weight has the shape (320, 64) and the adapter's update (401, 64): {OTHER_MODEL}"
    )


@pytest.mark.parametrize("family", ["llama31", "smollm2"])
def test_a_grown_vocabulary_without_the_output_layers_rows_is_refused(family, tmp_path):
    base = merge_cases.small_base(family, tmp_path / "base")
    adapter = merge_cases.train(base, merge_cases.KINDS["resized"], tmp_path / "adapter")
    adapters.change_weights(adapter, lambda state: state.pop("base_model.model.lm_head.weight"))
    with pytest.raises(UserError) as caught:
        merge(base, adapter, tmp_path / "merged")
    assert str(caught.value) == (
        "model.embed_tokens has 331 rows in the merged model, and lm_head 320: the adapter was saved without one of them. "
        "Save it again with save_embedding_layers=True."
    )


def test_a_base_in_eight_bits_is_refused_by_name(tiny_base, tiny_adapter, tmp_path):
    state = load_file(tiny_base / "model.safetensors")
    save_file(state | {f"{Q0}.weight": state[f"{Q0}.weight"].to(torch.float8_e4m3fn)}, tiny_base / "model.safetensors")
    with pytest.raises(
        UserError, match=rf"^model\.safetensors: {Q0}.weight is stored as F8_E4M3; expected bfloat16, float16 or float32\.$"
    ):
        merge(tiny_base, tiny_adapter, tmp_path / "merged")


def test_a_truncated_base_is_refused(tiny_base, tiny_adapter, tmp_path):
    os.truncate(tiny_base / "model.safetensors", 100_000)
    with pytest.raises(UserError, match=r"^model\.safetensors is not a whole safetensors file \("):
        merge(tiny_base, tiny_adapter, tmp_path / "merged")
