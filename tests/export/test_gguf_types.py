"""The type of each tensor, held against what llama-quantize itself said it would do (tests/golden/quantization_types.json)."""

from __future__ import annotations

import json

import gguf as official
import pytest

from tests import families
from tests.export.quantization_types import GOLDEN, MODELS, summary
from unsloth_ft.export.gguf import QUANTIZATIONS, planned_bytes, write_gguf
from unsloth_ft.export.gguf_read import read_gguf
from unsloth_ft.export.gguf_types import FILE_TYPES, USUAL, file_order, tensor_types

FACTS = json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("quantization", USUAL)
@pytest.mark.parametrize("title", MODELS)
def test_each_tensor_gets_the_type_that_llama_quantize_gives_it(title, quantization):
    model = MODELS[title]
    types = tensor_types(model.shapes(), model.architecture(), quantization)
    assert summary(types) == FACTS[title][quantization]


def test_the_facts_cover_every_rule():
    """A guard for the golden file: it tells the mixtures apart, layer by layer, and has every fallback."""
    assert set(FACTS) == set(MODELS)
    assert FACTS["llama, 32 layers of 256, groups of 4"]["q4_k_m"]["ffn_down"] == (
        "q6_k*4 q4_k*2 q6_k q4_k*2 q6_k q4_k*2 q6_k q4_k*2 q6_k q4_k*2 q6_k q4_k*2 q6_k q4_k*2 q6_k q4_k*2 q6_k*5"
    )
    assert FACTS["llama, 80 layers of 256, groups of 8"]["q4_k_s"]["attn_v"] == "q5_k*80"
    assert FACTS["llama, 80 layers of 256, no grouping"]["q4_k_s"]["attn_v"] == "q5_k*4 q4_k*76"
    assert FACTS["qwen3, 36 layers of 256, groups of 4"]["q2_k"]["attn_v"] == "q4_k*36"
    assert FACTS["llama, 30 layers of 576, tied"]["q4_k_m"]["token_embd"] == "q8_0"
    assert FACTS["llama, 4 layers of 80"]["q4_k_m"]["attn_q"] == "f16*4"
    words = json.dumps(FACTS)
    assert all(f'"{kind}' in words for kind in ("f16", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_0", "q3_k", "q2_k"))


def test_a_quantized_file_is_sorted_as_llama_quantize_sorts_it():
    layers = ["blk.0.ffn_up.weight", "blk.10.attn_k.weight", "blk.2.attn_k.weight"]
    names = ["rope_freqs.weight", "token_embd.weight", *layers, "output.weight"]
    assert file_order(names, "q8_0") == names
    assert file_order(names, "q4_k_m") == [
        "output.weight", "rope_freqs.weight", "token_embd.weight", "blk.0.ffn_up.weight", "blk.2.attn_k.weight", "blk.10.attn_k.weight"
    ]  # fmt: skip


def test_file_types_are_names_that_the_gguf_package_knows():
    assert {name: official.LlamaFileType[kind].value for name, kind in FILE_TYPES.items()} == {
        "f32": 0, "f16": 1, "bf16": 32, "q8_0": 7, "q6_k": 18, "q5_k_m": 17, "q5_k_s": 16, "q5_1": 9, "q5_0": 8, "q4_k_m": 15,
        "q4_k_s": 14, "q4_1": 3, "q4_0": 2, "q3_k_l": 13, "q3_k_m": 12, "q3_k_s": 11, "q2_k": 10, "q2_k_s": 21,
    }  # fmt: skip


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_the_planned_size_is_that_of_the_file(quantization, family_dir, tmp_path):
    for family in ("smollm2", "llama31") if quantization == "q4_k_m" else ("smollm2",):
        path = write_gguf(family_dir(family), tmp_path / "model.gguf", quantization=quantization).path
        tensors = read_gguf(path).tensors.values()
        begin = min(tensor.offset for tensor in tensors)
        assert planned_bytes(family_dir(family), quantization) == path.stat().st_size - begin


@pytest.mark.parametrize("family", families.FAMILIES)
def test_q4_k_m_of_a_narrow_model_falls_back(family, family_gguf):
    """64 wide: no 256 weights in a row anywhere."""
    tensors = read_gguf(family_gguf(family, "q4_k_m")).tensors
    kinds = {name: official.GGMLQuantizationType(tensor.ggml_type).name for name, tensor in tensors.items()}
    assert {kinds[f"blk.{layer}.{part}.weight"] for layer in (0, 1) for part in ("attn_q", "attn_k", "ffn_gate", "ffn_up")} == {"Q5_0"}
    assert kinds["blk.1.ffn_down.weight"] == kinds["blk.1.attn_v.weight"] == "Q8_0"
    assert kinds.get("output.weight", kinds["token_embd.weight"]) == "Q8_0"
