"""Whatever PEFT writes as a LoRA adapter, the merged model is the model that was trained."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.export import merge_cases
from tests.export.merge_cases import CASES, KINDS, is_tied
from unsloth_ft.export.merged import merge
from unsloth_ft.export.shards import read_header
from unsloth_ft.export.updates import LowRank, Planned, Source, blocks

FLOAT32 = 2**-23  # the distance of float32 values from 1 to 2


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made("dora", "qwen3")` → (base folder, adapter folder)."""
    bases, adapters = {}, {}

    def get(kind, family):
        if family not in bases:
            bases[family] = merge_cases.small_base(family, tmp_path_factory.mktemp("models") / family)
        if (kind, family) not in adapters:
            adapters[kind, family] = merge_cases.train(bases[family], KINDS[kind], tmp_path_factory.mktemp("adapter"))
        return bases[family], adapters[kind, family]

    return get


@pytest.mark.parametrize(("kind", "family"), CASES)
def test_merged_weights_are_pefts_own_within_float32_and_rounded_once(kind, family, made, tmp_path):
    if KINDS[kind].broken_when_tied and is_tied(family):
        pytest.skip("PEFT's own merge is not what was trained; the next tests compare with what was")
    base, adapter = made(kind, family)
    expected = merge_cases.merged_by_peft(base, KINDS[kind], adapter).state_dict()
    exact = merge_cases.in_float32(base, adapter)
    merge(base, adapter, tmp_path / "merged")
    rounded = load_file(tmp_path / "merged" / "model.safetensors")
    assert exact.keys() == rounded.keys()
    for name, values in exact.items():
        # relative to the row's largest: a sum that cancels has the rounding of its terms
        scale = values.abs().amax(dim=-1, keepdim=True).clamp_min(1e-6)
        assert ((values - expected[name]).abs() / scale).max() <= 4 * FLOAT32, name
        assert torch.equal(rounded[name], values.to(torch.bfloat16)), name


@pytest.mark.parametrize(("kind", "family"), CASES)
def test_logits_are_the_adapters(kind, family, made, tmp_path):
    from transformers import AutoModelForCausalLM

    base, adapter = made(kind, family)
    rows = KINDS[kind].rows
    wanted = merge_cases.logits(merge_cases.adapted(base, KINDS[kind], adapter), rows=rows)
    merge(base, adapter, tmp_path / "merged")
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32, output_loading_info=True)
    assert not any(report.values()), report
    assert model.config.vocab_size == rows == wanted.shape[-1]
    sixteen_bit = merge_cases.logits(model, rows=rows)
    # the weights before their rounding to 16 bits, in the very model that the folder loads as
    missing, unexpected = model.load_state_dict(merge_cases.in_float32(base, adapter), strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    spread = wanted.std()
    assert (merge_cases.logits(model, rows=rows) - wanted).abs().max() / spread < 1e-4
    assert (sixteen_bit - wanted).abs().max() / spread < 0.35


@pytest.mark.parametrize("family", [family for family in merge_cases.families.FAMILIES if is_tied(family)])
@pytest.mark.parametrize("kind", [kind for kind, case in KINDS.items() if case.broken_when_tied])
def test_pefts_own_merge_of_tied_embeddings_is_another_model_which_is_why_ours_unties(kind, family, made):
    base, adapter = made(kind, family)
    wanted = merge_cases.logits(merge_cases.adapted(base, KINDS[kind], adapter), rows=merge_cases.VOCABULARY)
    found = merge_cases.logits(merge_cases.merged_by_peft(base, KINDS[kind], adapter), rows=merge_cases.VOCABULARY)
    assert (found - wanted).abs().max() / wanted.std() > 0.1


TIED_AFTER = {
    "lora", "rslora", "dora", "patterns", "rslora-with-patterns", "norms-saved", "a-block-saved", "embedding-saved-and-tied",
    "embedding-lora-and-tied", "tokens", "resized", "resized-and-shrunk", "resized-tokens",
}  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind, case in KINDS.items() if "smollm2" in case.families])
def test_tied_embeddings_stay_one_tensor_unless_the_adapter_tells_them_apart(kind, made, tmp_path):
    base, adapter = made(kind, "smollm2")
    merged = merge(base, adapter, tmp_path / "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text(encoding="utf-8"))
    names = load_file(tmp_path / "merged" / "model.safetensors").keys()
    assert config["tie_word_embeddings"] is (kind in TIED_AFTER) is ("lm_head.weight" not in names)
    before = json.loads((base / "config.json").read_text(encoding="utf-8"))
    assert {key for key in config if config[key] != before[key]} <= {"tie_word_embeddings", "vocab_size"}
    notes = []
    if kind not in TIED_AFTER:
        notes.append("embedding and output layer are two tensors now, because the adapter changes them differently")
    if KINDS[kind].rows != merge_cases.VOCABULARY:
        notes.append(f"the vocabulary has {KINDS[kind].rows} rows now")
    assert merged.notes == tuple(notes)


def test_the_update_is_added_in_float32_and_rounded_once(tmp_path):
    # 1 + 2^-8 + 2^-9 rounds up to 1 + 2^-7; in bfloat16 sums 2^-8 alone would be lost in a tie to even
    save_file({"weight": torch.ones(2, 3, dtype=torch.bfloat16)}, tmp_path / "one.safetensors")
    source = Source(tmp_path / "one.safetensors", read_header(tmp_path / "one.safetensors")["weight"])
    update = LowRank(torch.tensor([[2.0**-8] * 3, [2.0**-9] * 3]).to(torch.bfloat16), torch.ones(2, 2), scale=1.0)
    (block,) = blocks(Planned("weight", "BF16", source, source, update))
    assert torch.equal(block.merged, torch.full((2, 3), 1 + 2**-7, dtype=torch.bfloat16))
    assert torch.equal(block.base, torch.ones(2, 3, dtype=torch.bfloat16))
