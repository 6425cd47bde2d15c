"""What could fail after hours, tried before training: what is refused, and what disk and memory each stage takes."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from tests.export import adapters, runs
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.errors import MachineError, UserError
from unsloth_ft.export import preflight as ahead
from unsloth_ft.export.preflight import preflight, stages
from unsloth_ft.export.targets import Target, complete, parse
from unsloth_ft.hardware import Hardware
from unsloth_ft.record import RunDirectory


@pytest.fixture(scope="module")
def trained(family_dir, tmp_path_factory):
    """(base, adapter, eval/prompts.jsonl's lines)."""
    base = runs.small_model(family_dir("smollm2"), tmp_path_factory.mktemp("preflight") / "small")
    adapter = adapters.save(adapters.peft_model(base), tmp_path_factory.mktemp("preflight") / "adapter")
    return base, adapter, runs.answers(base, adapter)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """A run directory with some exports."""
    directory = runs.trained_run(tmp_path_factory.mktemp("preflight") / "my-run", *trained)
    return directory, runs.make(directory, trained[0], "ollama", "gguf:f16", "merged")


def chat_of(folder):
    return Chat(load_tokenizer(folder))


def ahead_of(targets, base, chat, directory, *, memory_bytes=2**40):
    machine = Hardware((), "a CPU", 2, False, memory_bytes)
    return preflight(targets, base, chat, directory, machine, dtype="float32")


def test_looking_ahead_writes_nothing(trained, tmp_path):
    ahead_of(parse(["merged", "gguf:q8_0", "ollama"]), runs.base_model(trained[0]), chat_of(trained[0]), RunDirectory(tmp_path / "new"))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_architecture_is_refused_before_training(trained, tmp_path):
    folder = runs.changed_config(trained[0], tmp_path, architectures=["MambaForCausalLM"], model_type="mamba")
    with pytest.raises(UserError, match="MambaForCausalLM"):
        ahead_of([Target("ollama")], runs.base_model(folder), chat_of(trained[0]), RunDirectory(tmp_path / "new"))


def test_an_unknown_quantization_is_refused_before_training(trained, tmp_path):
    base = trained[0]
    with pytest.raises(UserError, match="^quantization 'iq4_xs' is not supported yet; expected one of f32, f16, bf16, q8_0"):
        ahead_of([Target("gguf", "iq4_xs")], runs.base_model(base), chat_of(base), RunDirectory(tmp_path / "new"))


def test_a_chat_template_that_ollama_cannot_express_is_refused_before_training(trained, tmp_path):
    base = trained[0]
    chat = chat_of(base)
    chat.tokenizer.chat_template = "{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}"
    with pytest.raises(UserError):
        ahead_of([Target("ollama")], runs.base_model(base), chat, RunDirectory(tmp_path / "new"))
    ahead_of([Target("gguf", "q8_0")], runs.base_model(base), chat, RunDirectory(tmp_path / "new"))


def test_bytes_on_disk_are_the_merged_models_and_each_ggufs(trained):
    base = runs.base_model(trained[0])
    tensors = load_file(trained[0] / "model.safetensors").values()
    weights = sum(tensor.numel() for tensor in tensors)
    norms = sum(tensor.numel() for tensor in tensors if tensor.ndim == 1)  # in float32 whatever the quantization

    def needed(*targets):
        return sum(stage.disk_bytes for stage in stages(complete(parse(targets)), base, dtype="float32"))

    assert needed() == needed("adapter") == 0
    assert needed("merged") == 2 * weights
    assert needed("gguf:f16") == needed("merged", "gguf:f16") == 4 * weights + 2 * norms
    q8_0 = (weights - norms) // 32 * 34 + 4 * norms
    assert needed("ollama") == 2 * weights + q8_0
    assert needed("gguf:f32", "gguf:q8_0") == 2 * weights + 4 * weights + q8_0


def test_a_disk_that_is_too_small_is_said_with_both_numbers(trained, tmp_path, monkeypatch):
    base = trained[0]
    asked = []
    monkeypatch.setattr(ahead, "parameter_count", lambda folder: 8 * 10**9)
    monkeypatch.setattr(ahead, "planned_bytes", lambda folder, quantization: 8 * 10**9 // 32 * 34)
    monkeypatch.setattr(ahead, "disk_free_bytes", lambda folder: asked.append(folder) or 20 * 2**30)
    with pytest.raises(MachineError) as caught:
        ahead_of(parse(["gguf:q8_0"]), runs.base_model(base), chat_of(base), RunDirectory(tmp_path / "new"))
    assert str(caught.value) == (
        "the exports need about 22.8 GiB of disk (merge 14.9, gguf:q8_0 written 7.9), 20.0 GiB are free. "
        "Free some space, name another disk with --out, or leave an export out; "
        "`unsloth-ft export RUN --to …` can make it later."
    )
    assert asked == [tmp_path / "new"]
    ahead_of(parse(["merged"]), runs.base_model(base), chat_of(base), RunDirectory(tmp_path / "new"))


def test_exports_that_lie_there_need_no_disk(exported, trained, monkeypatch):
    monkeypatch.setattr(ahead, "disk_free_bytes", lambda folder: 10)
    ahead_of(parse(["merged", "gguf:f16", "ollama"]), runs.base_model(trained[0]), chat_of(trained[0]), exported[0])
    with pytest.raises(MachineError):
        ahead_of(parse(["gguf:q8_0"]), runs.base_model(trained[0]), chat_of(trained[0]), exported[0])


def test_a_merged_model_that_lies_there_is_not_counted_again(exported, trained, monkeypatch):
    base = runs.base_model(trained[0])
    found = ahead_of(parse(["gguf:q8_0"]), base, chat_of(trained[0]), exported[0])
    assert [stage.name for stage in found] == ["merged model answers", "gguf:q8_0 written", "gguf:q8_0 answers in llama.cpp"]
    monkeypatch.setattr(ahead, "disk_free_bytes", lambda folder: sum(stage.disk_bytes for stage in found))
    ahead_of(parse(["gguf:q8_0"]), base, chat_of(trained[0]), exported[0])


def test_every_stage_has_its_disk_and_memory(trained):
    base = runs.base_model(trained[0])
    size = sum(tensor.numel() * 2 for tensor in load_file(trained[0] / "model.safetensors").values())
    found = {stage.name: stage for stage in stages(complete(parse(["ollama", "gguf-lora:f16"])), base, dtype="float32")}
    assert list(found) == [
        "merge",
        "merged model answers",
        "gguf-lora:f16 written",
        "gguf-lora:f16 answers in llama.cpp",
    ]
    assert found["merge"].disk_bytes == size
    assert all(stage.memory_bytes > 0 for stage in found.values())
    assert [stage.name for stage in found.values() if not stage.needed] == ["merged model answers", "gguf-lora:f16 answers in llama.cpp"]


def test_llamacpps_quantizer_needs_room_for_the_16_bit_file_too(trained):
    base = runs.base_model(trained[0])

    def disk(quantizer):
        return sum(stage.disk_bytes for stage in stages(parse(["gguf:q8_0"]), base, dtype="float32", quantizer=quantizer))

    assert disk("llama.cpp") - disk("own") == ahead.planned_bytes(trained[0], "bf16")


def test_a_machine_without_the_memory_to_merge_is_refused_with_both_numbers(trained, tmp_path):
    base = runs.base_model(trained[0])
    with pytest.raises(MachineError) as caught:
        ahead_of(parse(["merged"]), base, chat_of(trained[0]), RunDirectory(tmp_path / "new"), memory_bytes=2**20)
    assert str(caught.value).startswith("merge needs 0.")
    assert "of memory, this machine has 0.0 GiB" in str(caught.value)


def test_a_quantized_base_is_refused_for_everything_that_is_merged(trained, tmp_path):
    folder = runs.changed_config(trained[0], tmp_path, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    for target in ("merged", "gguf:q8_0", "gguf-lora", "ollama"):
        with pytest.raises(UserError) as caught:
            ahead_of(parse([target]), runs.base_model(folder), chat_of(trained[0]), RunDirectory(tmp_path / "new"))
        assert str(caught.value).startswith("base: its weights are quantized (bitsandbytes), and ")
        assert str(caught.value).endswith("is made from the 16-bit base. Name that with --model; load_in_4bit quantizes it for training.")
    assert ahead_of(parse(["adapter"]), runs.base_model(folder), chat_of(trained[0]), RunDirectory(tmp_path / "new")) == ()
