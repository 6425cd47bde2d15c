"""llama.cpp with the base's GGUF and the adapter's answers what PEFT's model answers; a wrong scale or order of rows shows."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from tests.export.adapters import peft_model, save
from tests.export.test_llamacpp import AGREEMENT, CHATS, STEPS, LlamaCpp, agreement, greedy
from unsloth_ft.errors import UserError
from unsloth_ft.export import gguf_lora
from unsloth_ft.export.gguf_lora import write_gguf_lora

KINDS = {
    "LoRA": {"r": 4, "lora_alpha": 8},
    "rsLoRA": {"r": 16, "lora_alpha": 8, "use_rslora": True},  # scale 2, where 8 / 16 would be a half
    "patterns": {
        "r": 4,
        "use_rslora": True,
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 7},
        "alpha_pattern": {"k_proj": 2, "layers.0.self_attn.o_proj": 20},
    },
    "embedding and output": {"r": 4, "target_modules": ["q_proj", "down_proj", "embed_tokens", "lm_head"]},
    "embedding and output, patterns": {
        "r": 4,
        "target_modules": ["q_proj", "down_proj", "embed_tokens", "lm_head"],
        "alpha_pattern": {"embed_tokens": 3, "lm_head": 12},
    },
}
PAIRS = [(family, kind) for family in ("smollm2", "mistral-v03", "qwen25", "qwen3") for kind in ("LoRA", "rsLoRA")]
PAIRS += [("llama31", "rsLoRA"), ("smollm2", "patterns"), ("qwen3", "patterns")]
PAIRS += [("mistral-v03", "embedding and output"), ("llama31", "embedding and output, patterns")]


@pytest.fixture(scope="module")
def trained(family_dir, tmp_path_factory):
    """`trained("qwen3", "LoRA")` → PEFT's model in float32, its adapter's folder, a prompt as ids, and its greedy answer."""

    @functools.cache
    def get(family, kind):
        from transformers import AutoTokenizer

        folder = family_dir(family)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        text = tokenizer.apply_chat_template(CHATS[1], tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        model = peft_model(folder, std=0.2, **KINDS[kind]).eval()
        adapter = save(model, tmp_path_factory.mktemp("adapter") / kind)
        return model, adapter, prompt, greedy(model, prompt)

    return get


@pytest.mark.parametrize(("family", "kind"), PAIRS)
def test_the_base_with_the_adapter_answers_as_peft_does(family, kind, family_dir, family_gguf, trained, tmp_path):
    model, adapter, prompt, answer = trained(family, kind)
    written = write_gguf_lora(adapter, family_dir(family), tmp_path / "lora.gguf")
    with LlamaCpp(family_gguf(family, "f32"), lora=written.path) as llama:
        assert list(llama.generate(prompt, STEPS).ids) == answer
        assert agreement(llama, model, prompt, answer) == (1.0, pytest.approx(0.0, abs=2e-3))
    with LlamaCpp(family_gguf(family, "f32")) as llama:
        assert list(llama.generate(prompt, STEPS).ids) != answer  # or the adapter would not have been tested


@pytest.mark.parametrize("family", ["smollm2", "qwen3"])
def test_an_adapter_in_f16_differs_by_rounding_only(family, family_dir, family_gguf, trained, tmp_path):
    model, adapter, prompt, answer = trained(family, "LoRA")
    written = write_gguf_lora(adapter, family_dir(family), tmp_path / "lora.gguf", type_name="f16")
    with LlamaCpp(family_gguf(family, "f32"), lora=written.path) as llama:
        same, largest = agreement(llama, model, prompt, answer)
    assert same >= 0.9
    assert largest <= 0.05  # as an f16 model: see AGREEMENT in test_llamacpp.py


@pytest.mark.parametrize("family", ["smollm2", "qwen3"])
def test_an_adapter_over_a_quantized_base_differs_as_the_base_does(family, family_dir, family_gguf, trained, tmp_path):
    model, adapter, prompt, answer = trained(family, "LoRA")
    written = write_gguf_lora(adapter, family_dir(family), tmp_path / "lora.gguf")
    with LlamaCpp(family_gguf(family, "q8_0"), lora=written.path) as llama:
        same, largest = agreement(llama, model, prompt, answer)
    assert same >= AGREEMENT["q8_0"][0]
    assert largest <= AGREEMENT["q8_0"][1]


def half_the_scale(monkeypatch):
    planned = gguf_lora.plan_updates
    monkeypatch.setattr(
        gguf_lora, "plan_updates", lambda *values: [dataclasses.replace(update, scale=update.scale / 2) for update in planned(*values)]
    )


def rows_as_hf_has_them(monkeypatch):
    planned = gguf_lora.plan_updates
    monkeypatch.setattr(gguf_lora, "plan_updates", lambda *values: [dataclasses.replace(update, heads=None) for update in planned(*values)])


def query_rows_alone_reordered(monkeypatch):
    planned = gguf_lora.plan_updates
    monkeypatch.setattr(
        gguf_lora,
        "plan_updates",
        lambda *values: [dataclasses.replace(update, heads=None) if "attn_k" in update.name else update for update in planned(*values)],
    )


def no_square_root(monkeypatch):
    """The scale lora_alpha / r, as llama.cpp's converter writes an rsLoRA adapter too."""
    monkeypatch.setattr(gguf_lora.Adapter, "scale_of", lambda adapter, module: 8 / 16)


@pytest.mark.parametrize("damage", [half_the_scale, rows_as_hf_has_them, query_rows_alone_reordered, no_square_root])
def test_a_wrong_scale_and_a_wrong_order_of_rows_are_told_apart(damage, family_dir, family_gguf, trained, tmp_path, monkeypatch):
    model, adapter, prompt, answer = trained("smollm2", "rsLoRA")
    damage(monkeypatch)
    written = write_gguf_lora(adapter, family_dir("smollm2"), tmp_path / "lora.gguf")
    with LlamaCpp(family_gguf("smollm2", "f32"), lora=written.path) as llama:
        assert agreement(llama, model, prompt, answer)[1] > 0.5  # nats; whole adapters differ by less than 0.002


def test_a_file_that_is_no_adapter_of_this_base_is_refused_by_llama_cpp(family_dir, family_gguf, trained, tmp_path):
    adapter = trained("qwen3", "LoRA")[1]
    written = write_gguf_lora(adapter, family_dir("qwen3"), tmp_path / "lora.gguf")
    for lora in (written.path, family_gguf("smollm2", "f16")):
        with (
            pytest.raises(UserError, match=rf"(?s)llama.cpp does not load it with the adapter {lora}. Its last lines:.*failed"),
            LlamaCpp(family_gguf("smollm2", "f32"), lora=lora),
        ):
            pass
    with pytest.raises(UserError, match="none.gguf: not found"), LlamaCpp(family_gguf("smollm2", "f32"), lora=tmp_path / "none.gguf"):
        pass
