"""What stands in an adapter's GGUF file, what is refused, and what a failure leaves behind. (What llama.cpp makes of it: next door.)"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import gguf as official
import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import families, oracle
from tests.export import merge_cases
from tests.export.adapters import change_config, change_weights, peft_model, save
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export import gguf_lora, gguf_place
from unsloth_ft.export.gguf import write_gguf
from unsloth_ft.export.gguf_lora import Update, common_alpha, inexpressible, write_gguf_lora
from unsloth_ft.export.gguf_read import read_gguf
from unsloth_ft.export.modelfile import parse_modelfile, write_modelfile
from unsloth_ft.record import sha256

PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@pytest.fixture(scope="module")
def adapter_dir(family_dir, tmp_path_factory):
    """`adapter_dir("qwen3", r=8)` → the folder of a random adapter on the family's tiny model; read it, never write into it."""
    made = {}

    def get(family="smollm2", **settings):
        key = (family, json.dumps(settings))
        if key not in made:
            made[key] = save(peft_model(family_dir(family), **settings), tmp_path_factory.mktemp("adapter") / family)
        return made[key]

    return get


@pytest.fixture
def copied(adapter_dir, tmp_path):
    """A copy of the small Llama's adapter that a test may change."""
    return shutil.copytree(adapter_dir(), tmp_path / "adapter")


def contents(path):
    """(metadata, tensor name → values) by the official reader."""
    reader = official.GGUFReader(path)
    return {name: field.contents() for name, field in reader.fields.items()}, {t.name: t.data for t in reader.tensors}


def test_the_file_holds_the_adapter_and_says_what_it_is(adapter_dir, family_dir, tmp_path):
    written = write_gguf_lora(adapter_dir(), family_dir("smollm2"), tmp_path / "lora.gguf")
    metadata, tensors = contents(written.path)
    assert {name: value for name, value in metadata.items() if not name.startswith("GGUF.")} == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "general.file_type": 0,
        "general.quantization_version": 2,
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    }
    assert set(tensors) == {f"blk.{layer}.{part}.weight.lora_{side}" for layer in (0, 1) for part in PARTS for side in "ab"}
    assert (written.tensor_count, written.quantization, written.sha256) == (28, "f32", sha256(written.path))
    assert [file.name for file in tmp_path.iterdir()] == ["lora.gguf"]


def test_a_is_untouched_and_rows_of_b_follow_the_weight_of_a_llama(adapter_dir, family_dir, tmp_path):
    state = load_file(adapter_dir() / "adapter_model.safetensors")
    _, tensors = contents(write_gguf_lora(adapter_dir(), family_dir("smollm2"), tmp_path / "lora.gguf").path)
    module = "base_model.model.model.layers.1.self_attn.q_proj"
    assert numpy.array_equal(tensors["blk.1.attn_q.weight.lora_a"], state[f"{module}.lora_A.weight"].numpy())
    b = state[f"{module}.lora_B.weight"].numpy()
    # 8 heads of 8 rows: llama.cpp has row 0 and row 4 of a head side by side
    order = [head * 8 + half * 4 + row for head in range(8) for row in range(4) for half in (0, 1)]
    assert numpy.array_equal(tensors["blk.1.attn_q.weight.lora_b"], b[order])
    other = state["base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"].numpy()
    assert numpy.array_equal(tensors["blk.1.attn_v.weight.lora_b"], other)


def test_rows_of_a_qwen_stay_where_they_are(adapter_dir, family_dir, tmp_path):
    state = load_file(adapter_dir("qwen3") / "adapter_model.safetensors")
    metadata, tensors = contents(write_gguf_lora(adapter_dir("qwen3"), family_dir("qwen3"), tmp_path / "lora.gguf").path)
    assert metadata["general.architecture"] == "qwen3"
    for name, part in (("q_proj", "attn_q"), ("k_proj", "attn_k")):
        b = state[f"base_model.model.model.layers.0.self_attn.{name}.lora_B.weight"].numpy()
        assert numpy.array_equal(tensors[f"blk.0.{part}.weight.lora_b"], b)


@pytest.mark.parametrize(
    ("settings", "alpha"),
    [
        ({"r": 4, "lora_alpha": 8}, 8.0),
        ({"r": 16, "lora_alpha": 8, "use_rslora": True}, 32.0),  # 8 / sqrt(16) is 2, and 32 / 16 too
        ({"r": 8, "lora_alpha": 3, "use_rslora": True}, float(numpy.float32(3 / 8**0.5 * 8))),
    ],
)
def test_alpha_over_rank_is_the_scale_that_peft_uses(settings, alpha, adapter_dir, family_dir, tmp_path):
    metadata, _ = contents(write_gguf_lora(adapter_dir(**settings), family_dir("smollm2"), tmp_path / "lora.gguf").path)
    assert metadata["adapter.lora.alpha"] == alpha


def test_of_several_scales_the_most_frequent_is_written_and_the_others_go_into_b():
    def update(name, rank, scale):
        return Update(name, torch.ones(rank, 3), torch.ones(2, rank), scale, None)

    updates = [update("one", 4, 2.0), update("two", 8, 1.0), update("three", 4, 0.5), update("none", 4, 0.0)]
    alpha = common_alpha(updates)
    assert alpha == 8.0
    factors = [float(update.tensors(alpha)[f"{update.name}.lora_b"][0, 0]) for update in updates]
    assert factors == [1.0, 1.0, 0.25, 0.0]
    assert [factor * alpha / update.a.shape[0] for factor, update in zip(factors, updates, strict=True)] == [2.0, 1.0, 0.5, 0.0]


def test_an_adapter_without_any_scale_does_nothing():
    nothing = Update("a", torch.ones(4, 3), torch.ones(2, 4), 0.0, None)
    assert common_alpha([nothing]) == 1.0  # llama.cpp takes 0 for "no alpha", a scale of 1
    assert nothing.tensors(1.0)["a.lora_b"].abs().max() == 0.0


def test_f16_halves_the_file_and_is_the_rounded_adapter(adapter_dir, family_dir, tmp_path):
    whole = write_gguf_lora(adapter_dir(r=16), family_dir("smollm2"), tmp_path / "f32.gguf")
    half = write_gguf_lora(adapter_dir(r=16), family_dir("smollm2"), tmp_path / "f16.gguf", type_name="f16")
    metadata, tensors = contents(half.path)
    assert metadata["general.file_type"] == 1
    for name, values in contents(whole.path)[1].items():
        assert numpy.array_equal(tensors[name], values.astype("float16"))
    assert half.size_bytes < 0.55 * whole.size_bytes


def test_the_same_adapter_gives_the_same_bytes_and_two_adapters_of_one_base_share_its_file(adapter_dir, family_dir, tmp_path, derived):
    base = family_dir("qwen3")
    folders = [adapter_dir("qwen3", r=4), adapter_dir("qwen3", r=8, use_rslora=True)]
    bases = [write_gguf(base, tmp_path / f"base-{i}.gguf", quantization="q8_0").sha256 for i in (0, 1)]
    adapters = [write_gguf_lora(folder, base, tmp_path / f"{i}.gguf").sha256 for i, folder in enumerate([*folders, *folders])]
    assert bases[0] == bases[1]
    assert adapters[0] == adapters[2] != adapters[1] == adapters[3]
    found = []
    for i in (0, 1):
        settings = {"gguf_name": "base-0.gguf", "template": derived["qwen3"], "stops": ["<|im_end|>"], "num_ctx": 2048}
        path = write_modelfile(tmp_path / f"Modelfile-{i}", **settings, adapter=f"{i}.gguf")
        found.append(parse_modelfile(path.read_text(encoding="utf-8")))
    assert [modelfile.pop("adapter") for modelfile in found] == ["./0.gguf", "./1.gguf"]
    assert found[0] == found[1] == {
        "from": "./base-0.gguf",
        "template": derived["qwen3"].text,
        "parameters": {"stop": ["<|im_end|>"], "num_ctx": ["2048"]},
    }


# -- llama.cpp's own converter ------------------------------------------------------------------------------------------------------------


def converted(adapter, base, path, *, type_name="f32"):
    """What llama.cpp's converter makes of a PEFT adapter."""
    if not oracle.is_here():
        pytest.skip(oracle.MISSING)
    script = oracle.folder() / "convert_lora_to_gguf.py"
    command = [sys.executable, str(script), "--outfile", str(path), "--outtype", type_name, "--base", str(base), str(adapter)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    return path


CONVERTED = [(family, "f32", {}) for family in families.EXPORT_FAMILIES]
CONVERTED += [("smollm2", "f16", {}), ("mistral-v03", "f32", {"target_modules": ["k_proj", "embed_tokens", "lm_head"]})]


@pytest.mark.parametrize(("family", "type_name", "settings"), CONVERTED)
def test_the_tensors_are_bit_for_bit_those_of_llama_cpps_converter(family, type_name, settings, adapter_dir, family_dir, tmp_path):
    adapter = adapter_dir(family, **settings)
    theirs = converted(adapter, family_dir(family), tmp_path / "theirs.gguf", type_name=type_name)
    ours = write_gguf_lora(adapter, family_dir(family), tmp_path / "ours.gguf", type_name=type_name).path
    (our_fields, our_tensors), (their_fields, their_tensors) = contents(ours), contents(theirs)
    assert set(our_tensors) == set(their_tensors)
    for name, values in their_tensors.items():
        assert values.tobytes() == our_tensors[name].tobytes(), name
        assert values.dtype == our_tensors[name].dtype, name
    read = ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha", "general.quantization_version")
    assert {key: our_fields[key] for key in read} == {key: their_fields[key] for key in read}


def test_llama_cpps_converter_loses_the_square_root_of_rslora(adapter_dir, family_dir, tmp_path):
    """The one known difference: it writes lora_alpha as it stands, so llama.cpp would apply 8 / 16 where 8 / sqrt(16) was trained."""
    folder = adapter_dir(r=16, lora_alpha=8, use_rslora=True)
    theirs = converted(folder, family_dir("smollm2"), tmp_path / "theirs.gguf")
    ours = write_gguf_lora(folder, family_dir("smollm2"), tmp_path / "ours.gguf").path
    assert (contents(theirs)[0]["adapter.lora.alpha"], contents(ours)[0]["adapter.lora.alpha"]) == (8.0, 32.0)
    assert {name: values.tobytes() for name, values in contents(theirs)[1].items()} == {
        name: values.tobytes() for name, values in contents(ours)[1].items()
    }


# -- what is refused ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"use_dora": True}, "DoRA's magnitudes"),
        ({"modules_to_save": ["lm_head"]}, "whole modules that were trained (modules_to_save)"),
        ({"trainable_token_indices": [3, 4]}, "trained rows of the embedding (trainable_token_indices)"),
        ({"lora_bias": True}, "a bias on B (lora_bias)"),
        ({"bias": "lora_only"}, "trained biases of the base (bias)"),
        ({"use_dora": True, "bias": "all"}, "DoRA's magnitudes and trained biases of the base (bias)"),
    ],
)
def test_what_llama_cpp_does_not_add_to_a_weight_is_refused_by_name(values, what, copied, family_dir, tmp_path):
    change_config(copied, **values)
    with pytest.raises(UserError) as raised:
        write_gguf_lora(copied, family_dir("smollm2"), tmp_path / "lora.gguf")
    assert str(raised.value) == (
        f"{copied / 'adapter_config.json'}: the adapter has {what}; llama.cpp adds scale · B·A to a weight and nothing else. "
        "Export merged or gguf:QUANT, which hold everything that was trained."
    )
    assert not (tmp_path / "lora.gguf").exists()


def test_a_whole_tensor_that_is_not_the_bases_is_refused_by_name(tmp_path):
    base = merge_cases.small_base("llama31", tmp_path / "base")
    adapter = merge_cases.train(base, merge_cases.KINDS["resized"], tmp_path / "adapter")
    with pytest.raises(UserError) as raised:
        write_gguf_lora(adapter, base, tmp_path / "lora.gguf")
    assert str(raised.value) == (
        "adapter: the adapter holds its own lm_head.weight and model.embed_tokens.weight, other than the base's; "
        "an adapter file of llama.cpp "
        "holds updates of the base's weights only. Export merged or gguf:QUANT, which hold everything that was trained."
    )


@pytest.mark.parametrize("kind", ["embedding-lora", "head-lora", "both-lora"])
def test_updates_of_tied_ends_are_refused(kind, tmp_path):
    base = merge_cases.small_base("qwen25", tmp_path / "base")
    adapter = merge_cases.train(base, merge_cases.KINDS[kind], tmp_path / "adapter")
    with pytest.raises(UserError, match=r"has an update of its own, and the base's output is its embedding \(tie_word_embeddings\)"):
        write_gguf_lora(adapter, base, tmp_path / "lora.gguf")


def test_an_embedding_that_was_saved_along_has_to_be_the_bases(tmp_path):
    """PEFT saves the whole embedding beside its update; of the base as it is, that is nothing new."""
    base = merge_cases.small_base("llama31", tmp_path / "base")
    adapter = merge_cases.train(base, merge_cases.KINDS["embedding-lora"], tmp_path / "adapter")
    name = "base_model.model.model.embed_tokens.base_layer.weight"
    assert name in load_file(adapter / "adapter_model.safetensors")
    assert write_gguf_lora(adapter, base, tmp_path / "lora.gguf").tensor_count == 14
    change_weights(adapter, lambda state: state[name][-1:].mul_(2.0))
    with pytest.raises(UserError, match="the adapter holds its own model.embed_tokens.weight, other than the base's"):
        write_gguf_lora(adapter, base, tmp_path / "lora.gguf")


def test_patterns_of_rank_and_alpha_go_into_b_where_one_alpha_is_not_enough(tmp_path):
    base = merge_cases.small_base("smollm2", tmp_path / "base")
    adapter = merge_cases.train(base, merge_cases.KINDS["rslora-with-patterns"], tmp_path / "adapter")
    metadata, tensors = contents(write_gguf_lora(adapter, base, tmp_path / "lora.gguf").path)
    state = load_file(adapter / "adapter_model.safetensors")
    alpha = metadata["adapter.lora.alpha"]
    # q_proj: alpha 3, r 4; v_proj: alpha 8, r 9; down_proj: alpha 8, r 4. By rsLoRA 3/2, 8/3 and 4.
    scales = {"attn_v": ("self_attn.v_proj", 8 / 3), "ffn_down": ("mlp.down_proj", 4.0)}
    for part, (module, scale) in scales.items():
        b = state[f"base_model.model.model.layers.1.{module}.lora_B.weight"].numpy()
        rank = b.shape[1]
        written = tensors[f"blk.1.{part}.weight.lora_b"] * numpy.float32(alpha / rank)
        numpy.testing.assert_allclose(written, scale * b, rtol=1e-6)
    q = state["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"].numpy()
    written = gguf_lora.unpermute(tensors["blk.1.attn_q.weight.lora_b"], 8) * numpy.float32(alpha / 4)
    numpy.testing.assert_allclose(written, 1.5 * q, rtol=1e-6)


def test_what_peft_writes_for_plain_lora_is_expressible(adapter_dir):
    assert inexpressible(json.loads((adapter_dir() / "adapter_config.json").read_text(encoding="utf-8"))) == ()


def test_an_update_of_a_tied_output_is_refused(family_dir, tmp_path):
    folder = save(peft_model(family_dir("smollm2"), target_modules=["q_proj", "lm_head"]), tmp_path / "adapter")
    with pytest.raises(UserError, match=r"adapter: lm_head has an update of its own, and the base's output is its embedding"):
        write_gguf_lora(folder, family_dir("smollm2"), tmp_path / "lora.gguf")


def test_an_adapter_of_another_base_is_refused(adapter_dir, family_dir, tmp_path):
    base = shutil.copytree(family_dir("smollm2"), tmp_path / "base")
    with pytest.raises(UserError, match=r"k_proj is an update of shape \[64, 64\], and the base's .* has \[32, 64\]"):
        write_gguf_lora(adapter_dir("qwen3"), base, tmp_path / "lora.gguf")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}), encoding="utf-8")
    state = load_file(base / "model.safetensors")
    save_file({name: tensor for name, tensor in state.items() if ".layers.1." not in name}, base / "model.safetensors")
    with pytest.raises(UserError, match=r"has no model.layers.1.mlp.down_proj.weight, model.layers.1.mlp.gate_proj.weight, .* and 4 more"):
        write_gguf_lora(adapter_dir(), base, tmp_path / "lora.gguf")


def test_an_unknown_type_is_refused(copied, family_dir, tmp_path):
    with pytest.raises(UserError, match=r"an adapter of type 'q8_0' is not written; expected f32 or f16"):
        write_gguf_lora(copied, family_dir("smollm2"), tmp_path / "lora.gguf", type_name="q8_0")


@pytest.mark.parametrize(
    ("value", "type_name", "message"),
    [
        (float("nan"), "f32", "holds NaN or infinity. The training went wrong; nothing was exported."),
        (float("inf"), "f16", "holds NaN or infinity. The training went wrong; nothing was exported."),
        (70000.0, "f16", "reaches 70000, and f16 ends at 65504. Export it as f32."),
    ],
)
def test_a_broken_adapter_is_not_exported(value, type_name, message, copied, family_dir, tmp_path):
    change_weights(copied, lambda state: state["base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"].view(-1)[7:8].fill_(value))
    path = tmp_path / "lora.gguf"
    path.write_bytes(b"the export before")
    with pytest.raises(GateError) as raised:
        write_gguf_lora(copied, family_dir("smollm2"), path, type_name=type_name)
    assert str(raised.value) == f"adapter: blk.1.ffn_up.weight.lora_b {message}"
    assert path.read_bytes() == b"the export before"


# -- what a failure leaves behind ---------------------------------------------------------------------------------------------------------


def change_a_byte_of_the_last_tensor(path, *more):
    info = list(read_gguf(path).tensors.values())[-1]
    data = bytearray(path.read_bytes())
    data[info.offset + 2] ^= 1
    path.write_bytes(data)


def cut_the_end(path, *more):
    path.write_bytes(path.read_bytes()[:-64])


@pytest.mark.parametrize(
    ("damage", "message"),
    [(change_a_byte_of_the_last_tensor, "does not read back as the adapter's"), (cut_the_end, "is cut short, 64 bytes are missing")],
)
def test_a_file_that_was_written_wrongly_does_not_get_its_name(damage, message, adapter_dir, family_dir, tmp_path, monkeypatch):
    write = gguf_lora.write_file
    monkeypatch.setattr(gguf_lora, "write_file", lambda path, *more: (write(path, *more), damage(path)))
    path = tmp_path / "lora.gguf"
    path.write_bytes(b"the export before")
    with pytest.raises(GateError, match=message):
        write_gguf_lora(adapter_dir(), family_dir("smollm2"), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"lora.gguf": b"the export before"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 4.0}, r"adapter.lora.alpha reads back as 4.0, and 8.0 was written"),
        ({"updates": slice(1, None)}, "holds 26 tensors, expected 28"),
        ({"architecture": "qwen2"}, "general.architecture reads back as 'qwen2', and 'llama' was written"),
    ],
)
def test_what_is_not_as_planned_is_named(change, message, adapter_dir, family_dir, tmp_path, monkeypatch):
    write = gguf_lora.write_file

    def differently(path, architecture, updates, alpha, type_name):
        named = dataclasses.replace(architecture, name=change.get("architecture", architecture.name))
        write(path, named, updates[change.get("updates", slice(None))], change.get("alpha", alpha), type_name)

    monkeypatch.setattr(gguf_lora, "write_file", differently)
    with pytest.raises(GateError, match=message):
        write_gguf_lora(adapter_dir(), family_dir("smollm2"), tmp_path / "lora.gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_with_the_numbers(adapter_dir, family_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_place.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 10**4))
    with pytest.raises(MachineError, match=r"0.0 MB are free, and the GGUF file needs 0.1 MB"):
        write_gguf_lora(adapter_dir(r=16), family_dir("smollm2"), tmp_path / "lora.gguf")
    assert list(tmp_path.iterdir()) == []
