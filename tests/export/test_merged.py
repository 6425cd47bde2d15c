"""The merged model is the base plus the adapter, in 16 bits, and nothing else; or it is not there at all."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import families
from tests.export import adapters, merge_cases, runs
from unsloth_ft.chat import load_tokenizer
from unsloth_ft.errors import UserError
from unsloth_ft.export.lora import read_adapter
from unsloth_ft.export.merged import merge, parameter_count

TARGETED = re.compile(r"\.(q|k|v|o|gate|up|down)_proj\.weight$")
Q0 = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def tuned(family_dir, tmp_path_factory):
    """`tuned("qwen3")` → (adapter folder, the weights that PEFT's own merge gives in float32)."""
    made = {}

    def get(family="smollm2", **more):
        key = (family, str(more))
        if key not in made:
            adapted = adapters.peft_model(family_dir(family), **more)
            folder = adapters.save(adapted, tmp_path_factory.mktemp("adapter"))
            load_tokenizer(family_dir(family)).save_pretrained(folder)  # as a run does; the bytes are not the base's
            made[key] = folder, adapted.merge_and_unload().state_dict()
        return made[key]

    return get


@pytest.fixture
def base(family_dir, tmp_path):
    """A copy of SmolLM2's tiny model that a test may change."""
    return shutil.copytree(family_dir("smollm2"), tmp_path / "base")


@pytest.fixture
def adapter(tuned, tmp_path):
    """A copy of its adapter that a test may change."""
    return shutil.copytree(tuned()[0], tmp_path / "adapter")


def equals_peft(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    """Every weight is PEFT's, rounded to bfloat16; where float32 sums in another order it may round to the neighbour."""
    for file in folder.glob("*.safetensors"):
        for name, found in load_file(file).items():
            wanted = expected[name].to(torch.bfloat16)
            assert found.dtype == torch.bfloat16, name
            assert (found == wanted).float().mean() > 0.999, name
            assert torch.allclose(found.float(), wanted.float(), rtol=2**-7, atol=1e-6), name


@pytest.mark.parametrize("family", families.FAMILIES)
def test_merge_is_pefts_own_and_changes_the_targeted_weights_only(family, family_dir, tuned, tmp_path):
    folder, expected = tuned(family)
    merged = merge(family_dir(family), folder, tmp_path / "merged")
    before, after = load_file(family_dir(family) / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    assert list(after) == list(before)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {name for name in before if TARGETED.search(name)}
    assert (merged.tensors, merged.targeted, merged.changed) == (len(before), 14, 14)
    assert merged.size_bytes == sum(file.stat().st_size for file in (tmp_path / "merged").iterdir())
    equals_peft(tmp_path / "merged", expected)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_config_and_tokenizer_are_the_bases_byte_for_byte(family, family_dir, tuned, tmp_path):
    merge(family_dir(family), tuned(family)[0], tmp_path / "merged")
    names = sorted(file.name for file in family_dir(family).iterdir())
    assert sorted(file.name for file in (tmp_path / "merged").iterdir()) == names
    assert [name for name in names if (tmp_path / "merged" / name).read_bytes() != (family_dir(family) / name).read_bytes()] == [
        "model.safetensors"
    ]


def test_rslora_scales_by_the_root_of_r(family_dir, tuned, tmp_path):
    folder, expected = tuned("smollm2", use_rslora=True)
    assert read_adapter(folder).scale_of("model.layers.0.self_attn.q_proj") == 8 / 4**0.5
    merge(family_dir("smollm2"), folder, tmp_path / "merged")
    equals_peft(tmp_path / "merged", expected)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_sharded_base_gives_the_same_shards_and_an_index_that_transformers_reads(parts, base, tuned, tmp_path):
    from transformers import AutoModelForCausalLM

    merge_cases.shard(base, parts)
    folder, expected = tuned()
    merge(base, folder, tmp_path / "merged")
    index, before = (
        json.loads((path / "model.safetensors.index.json").read_text(encoding="utf-8")) for path in (tmp_path / "merged", base)
    )
    assert index == before
    equals_peft(tmp_path / "merged", expected)
    loaded, report = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.bfloat16, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert torch.equal(loaded.state_dict()[Q0], load_file(next(tmp_path.glob(f"merged/{index['weight_map'][Q0]}")))[Q0])


def test_a_float32_base_leaves_in_bfloat16_and_its_config_says_so(base, tuned, tmp_path):
    state = {name: tensor.float() + 1e-5 for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(state, base / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32"}), encoding="utf-8")
    merge(base, tuned()[0], tmp_path / "merged")
    after = load_file(tmp_path / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert torch.equal(after[NORM], state[NORM].to(torch.bfloat16))
    assert json.loads((tmp_path / "merged" / "config.json").read_text(encoding="utf-8")) == config | {"torch_dtype": "bfloat16"}


def test_a_float16_base_stays_float16(base, tuned, tmp_path):
    state = {name: tensor.to(torch.float16) for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(state, base / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    del config["torch_dtype"]
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    merge(base, tuned()[0], tmp_path / "merged")
    assert {tensor.dtype for tensor in load_file(tmp_path / "merged" / "model.safetensors").values()} == {torch.float16}
    assert json.loads((tmp_path / "merged" / "config.json").read_text(encoding="utf-8"))["torch_dtype"] == "float16"


def test_parameters_are_counted_from_the_headers(family_dir):
    assert parameter_count(family_dir("smollm2")) == sum(
        tensor.numel() for tensor in load_file(family_dir("smollm2") / "model.safetensors").values()
    )


def test_progress_counts_every_tensor(base, tuned, tmp_path):
    seen = []
    merge(base, tuned()[0], tmp_path / "merged", on_tensor=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 20) for number in range(1, 21)]


def test_an_adapter_that_learned_nothing_merges_into_the_base(base, adapter, tmp_path):
    adapters.change_weights(adapter, lambda state: [state[name].zero_() for name in state if "lora_B" in name])
    merged = merge(base, adapter, tmp_path / "merged")
    assert (merged.targeted, merged.changed) == (14, 0)
    assert (tmp_path / "merged" / "config.json").read_bytes() == (base / "config.json").read_bytes()


def test_licences_go_along(base, adapter, tmp_path):
    for name in ("LICENSE", "NOTICE", "USE_POLICY.md"):
        (base / name).write_text(f"the {name}")
    merge(base, adapter, tmp_path / "merged")
    assert [(tmp_path / "merged" / name).read_text() for name in ("LICENSE", "NOTICE", "USE_POLICY.md")] == [
        "the LICENSE", "the NOTICE", "the USE_POLICY.md",
    ]  # fmt: skip


# -- added tokens


@pytest.fixture
def small(family_dir, tmp_path):
    """SmolLM2's tiny model with 2,048 tokens and their real tokenizer."""
    return runs.small_model(family_dir("smollm2"), tmp_path / "small")


def with_tokens(base: Path, folder: Path, tokens: list[str], *, save_embeddings: bool = True) -> Path:
    """An adapter of the base, its vocabulary grown by the tokens, as PEFT and the tokenizer save them."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(base)
    tokenizer.add_tokens(tokens, special_tokens=True)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if save_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(folder, save_embedding_layers=save_embeddings)
    tokenizer.save_pretrained(folder)
    return folder


def test_added_tokens_come_with_their_rows_their_tokenizer_and_the_vocabulary_size(small, tmp_path):
    from transformers import AutoModelForCausalLM

    adapter = with_tokens(small, tmp_path / "adapter", ["<|call|>", "<|result|>"])
    merge(small, adapter, tmp_path / "merged")
    tokenizer, before = load_tokenizer(tmp_path / "merged"), load_tokenizer(small)
    assert tokenizer("<|call|>x<|result|>")["input_ids"] == [2048, *before("x")["input_ids"], 2049]
    assert (tokenizer.eos_token, tokenizer.bos_token, tokenizer.chat_template) == (before.eos_token, before.bos_token, before.chat_template)
    assert (tmp_path / "merged" / "generation_config.json").read_bytes() == (small / "generation_config.json").read_bytes()
    config, was = (json.loads((folder / "config.json").read_text(encoding="utf-8")) for folder in (tmp_path / "merged", small))
    assert config == was | {"vocab_size": 2050}
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.bfloat16, output_loading_info=True)
    assert not any(report.values())
    saved = load_file(adapter / "adapter_model.safetensors")["base_model.model.model.embed_tokens.weight"]
    assert torch.equal(model.get_input_embeddings().weight, saved.to(torch.bfloat16))


def test_added_tokens_without_their_rows_are_refused(small, tmp_path):
    adapter = with_tokens(small, tmp_path / "adapter", ["<|call|>"], save_embeddings=False)
    with pytest.raises(UserError) as caught:
        merge(small, adapter, tmp_path / "merged")
    assert str(caught.value) == (
        'adapter: its tokenizer has the token "<|call|>" with the id 2048, and the merged embedding 2,048 rows: '
        "the adapter was saved without its resized embeddings. Save it again with save_embedding_layers=True."
    )
    assert not (tmp_path / "merged").exists()


def test_added_tokens_that_fit_into_spare_rows_change_the_tokenizer_alone(small, tmp_path):
    state = load_file(small / "model.safetensors")
    spare = torch.zeros(64, state["model.embed_tokens.weight"].shape[1], dtype=torch.bfloat16)
    state["model.embed_tokens.weight"] = torch.cat([state["model.embed_tokens.weight"], spare])  # as Qwen's are padded
    save_file(state, small / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((small / "config.json").read_text(encoding="utf-8")) | {"vocab_size": 2112}
    (small / "config.json").write_text(json.dumps(config), encoding="utf-8")
    adapter = with_tokens(small, tmp_path / "adapter", ["<|call|>"], save_embeddings=False)
    merge(small, adapter, tmp_path / "merged")
    assert load_tokenizer(tmp_path / "merged").convert_tokens_to_ids("<|call|>") == 2048
    assert (tmp_path / "merged" / "tokenizer.json").read_bytes() == (adapter / "tokenizer.json").read_bytes()
    assert (tmp_path / "merged" / "config.json").read_bytes() == (small / "config.json").read_bytes()
