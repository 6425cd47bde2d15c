"""What a merged folder can have wrong is found, by name; a merge that went wrong is no merge."""

from __future__ import annotations

import os
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.export import adapters, merge_cases
from unsloth_ft.errors import GateError
from unsloth_ft.export.lora import read_adapter
from unsloth_ft.export.merged import check, merge

Q0 = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


@pytest.fixture
def merged(tiny_base, tiny_adapter, tmp_path):
    merge(tiny_base, tiny_adapter, tmp_path / "out" / "merged")
    return tmp_path / "out" / "merged"


def zeroed(state):
    state[Q0].zero_()


def transposed(state):
    state[Q0] = state[Q0].T.contiguous()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (zeroed, f"{Q0} was not written as it was computed: 4,096 of 4,096 values differ."),
        (transposed, f"{Q0} was not written as it was computed: "),
        (lambda state: state.update({Q0: state[Q0].reshape(32, 128)}), f"{Q0} was written with the shape (32, 128); expected (64, 64)."),
        (lambda state: state.update({Q0: state[Q0].to(torch.float16)}), f"{Q0} was written as float16; expected bfloat16."),
        (lambda state: state[NORM].mul_(2), f"{NORM} was not written as it was computed: 64 of 64 values differ."),
        (lambda state: state[NORM][:1].fill_(float("nan")), f"{NORM} holds values that are no finite numbers after the merge."),
        (lambda state: state.pop(NORM), f"{NORM} is missing (1 missing, 0 too many)."),
        (lambda state: state.update(extra=state[NORM].clone()), "extra is none of the base's (0 missing, 1 too many)."),
    ],
)
def test_a_changed_tensor_is_found(change, said, tiny_base, tiny_adapter, merged):
    state = load_file(merged / "model.safetensors")
    change(state)
    save_file(state, merged / "model.safetensors")
    with pytest.raises(GateError) as caught:
        check(tiny_base, read_adapter(tiny_adapter), merged)
    assert str(caught.value).startswith(f"model.safetensors: {said}")


def test_one_wrong_value_in_the_last_block_of_a_large_tensor_is_found(tiny_base, tiny_adapter, merged, monkeypatch):
    monkeypatch.setattr("unsloth_ft.export.updates.BLOCK_VALUES", 1000)  # 15 rows a block
    check(tiny_base, read_adapter(tiny_adapter), merged)
    state = load_file(merged / "model.safetensors")
    state[Q0][-1, -1] += 1
    save_file(state, merged / "model.safetensors")
    with pytest.raises(GateError, match=rf"^model\.safetensors: {Q0} was not written as it was computed: 1 of 4,096 values differ\.$"):
        check(tiny_base, read_adapter(tiny_adapter), merged)


def test_the_base_in_place_of_the_merged_model_is_found(tiny_base, tiny_adapter, merged):
    shutil.copyfile(tiny_base / "model.safetensors", merged / "model.safetensors")
    with pytest.raises(GateError) as caught:
        check(tiny_base, read_adapter(tiny_adapter), merged)
    assert re.fullmatch(
        r"model\.safetensors: model\.layers\.\S+_proj\.weight is the base's weight; the adapter's update is not in it\.", str(caught.value)
    )


def test_a_truncated_file_is_found(tiny_base, tiny_adapter, merged):
    os.truncate(merged / "model.safetensors", (merged / "model.safetensors").stat().st_size - 2)
    with pytest.raises(GateError, match=r"^the merged model\.safetensors is not a whole safetensors file \("):
        check(tiny_base, read_adapter(tiny_adapter), merged)


@pytest.mark.parametrize("damage", ["missing", "wrong", "no JSON"])
def test_an_index_that_leads_nowhere_is_found(damage, tiny_base, tiny_adapter, tmp_path):
    merge_cases.shard(tiny_base, 2)
    merge(tiny_base, tiny_adapter, tmp_path / "merged")
    index = tmp_path / "merged" / "model.safetensors.index.json"
    index.unlink()
    if damage != "missing":
        index.write_text('{"weight_map": {}}' if damage == "wrong" else "{")
    with pytest.raises(GateError, match="^merged: model.safetensors.index.json is missing or does not name each tensor's file.$"):
        check(tiny_base, read_adapter(tiny_adapter), tmp_path / "merged")


# -- gates: nothing is left behind, and what was there before stays


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_end_the_merge(value, tiny_base, tiny_adapter, merged):
    before = merge_cases.everything(merged.parent)
    adapters.change_weights(
        tiny_adapter, lambda state: state["base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"].fill_(value)
    )
    with pytest.raises(GateError) as caught:
        merge(tiny_base, tiny_adapter, merged)
    assert str(caught.value) == (
        "model.safetensors: model.layers.1.mlp.down_proj.weight holds values that are no finite numbers after the merge."
    )
    assert merge_cases.everything(merged.parent) == before


def test_a_float16_base_whose_merge_overflows_ends_the_merge(tiny_base, tiny_adapter, tmp_path):
    state = {name: tensor.to(torch.float16) for name, tensor in load_file(tiny_base / "model.safetensors").items()}
    save_file(state, tiny_base / "model.safetensors", metadata={"format": "pt"})
    adapters.change_weights(tiny_adapter, lambda state: state[f"base_model.model.{Q0.removesuffix('weight')}lora_B.weight"].mul_(1e6))
    with pytest.raises(GateError, match=f"{Q0} holds values that are no finite numbers after the merge."):
        merge(tiny_base, tiny_adapter, tmp_path / "merged")


def test_an_update_that_rounds_away_is_no_merge(tiny_base, tiny_adapter, merged):
    before = merge_cases.everything(merged.parent)
    adapters.change_weights(tiny_adapter, lambda state: [state[name].mul_(1e-12) for name in state if "lora_B" in name])
    with pytest.raises(GateError) as caught:
        merge(tiny_base, tiny_adapter, merged)
    assert str(caught.value) == (
        "merged: the merged weights equal the base's after rounding to 16 bits: the adapter's update is too small to survive the merge. "
        "Train longer, or with a higher learning_rate; or serve the adapter unmerged."
    )
    assert merge_cases.everything(merged.parent) == before
