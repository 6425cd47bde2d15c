"""What stands in the exported files, what is refused, and what a failure leaves behind. (What llama.cpp makes of them: test_llamacpp.)"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import gguf as official
import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import families
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export import gguf, gguf_place, gguf_tensors
from unsloth_ft.export.gguf import GgufFile, Supported, check_supported, write_gguf
from unsloth_ft.export.gguf_read import read_gguf, read_rows
from unsloth_ft.record import sha256

SUPPORTED = {
    "llama31": Supported("llama", "gpt2", "llama-bpe"),
    "llama32": Supported("llama", "gpt2", "llama-bpe"),
    "mistral-v03": Supported("llama", "llama", "default"),
    "mistral-nemo": Supported("llama", "gpt2", "tekken"),
    "qwen25": Supported("qwen2", "gpt2", "qwen2"),
    "qwen3": Supported("qwen3", "gpt2", "qwen2"),
    "smollm2": Supported("llama", "gpt2", "smollm"),
}
# bos, eos, eot, unknown, padding, add_bos_token
SPECIAL = {
    "llama31": (128000, 128009, 128009, None, None, True),
    "llama32": (128000, 128009, 128009, None, None, True),
    "mistral-v03": (1, 2, None, 0, None, True),
    "mistral-nemo": (1, 2, None, 0, 10, True),
    "qwen25": (151643, 151645, 151645, None, 151643, False),
    "qwen3": (151643, 151645, 151645, None, 151643, False),
    "smollm2": (1, 2, 2, 0, 2, False),
}


@pytest.fixture
def model(family_dir, tmp_path):
    """`model("qwen3")` → a copy of the family's folder that a test may change."""

    def get(family="smollm2"):
        return shutil.copytree(family_dir(family), tmp_path / f"model-{family}")

    return get


def edit(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def edit_weights(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_every_family_is_supported(family, family_dir):
    assert check_supported(family_dir(family), "q8_0") == SUPPORTED[family]


@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_the_file_holds_the_special_ids_and_the_template(family, family_gguf, family_dir):
    metadata = read_gguf(family_gguf(family, "f32")).metadata
    names = ("bos_token_id", "eos_token_id", "eot_token_id", "unknown_token_id", "padding_token_id", "add_bos_token")
    assert tuple(metadata.get(f"tokenizer.ggml.{name}") for name in names) == SPECIAL[family]
    config = json.loads((family_dir(family) / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert metadata["tokenizer.chat_template"] == config["chat_template"]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_folder_that_transformers_saved_again_gives_the_same_file(family, family_dir, family_gguf, tmp_path):
    """A merged model is such a folder: other config fields (rope_parameters), chat_template.jinja, no tokenizer.model, shards."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(family_dir(family), dtype=torch.bfloat16)
    loaded.generation_config.do_sample = True  # Qwen's published file has sampling fields without it, which transformers 5 refuses to save
    loaded.save_pretrained(tmp_path / "again", max_shard_size="4MB")
    AutoTokenizer.from_pretrained(family_dir(family)).save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors.index.json").is_file()
    write_gguf(tmp_path / "again", tmp_path / "again.gguf", quantization="f32")
    first, again = family_gguf(family, "f32"), tmp_path / "again.gguf"
    ours, theirs = read_gguf(first), read_gguf(again)
    # transformers 5 saves no tokenizer.model: the scores are ranks then, which order the pieces alike
    assert {key for key in ours.metadata if ours.metadata[key] != theirs.metadata.get(key)} <= {"tokenizer.ggml.scores"}
    assert set(theirs.metadata) == set(ours.metadata)
    assert list(ours.tensors) == list(theirs.tensors)
    assert [name for name in ours.tensors if (read_rows(first, ours.tensors[name]) != read_rows(again, theirs.tensors[name])).any()] == []


def test_our_reader_reads_what_the_official_one_reads(family_gguf):
    path = family_gguf("smollm2", "q8_0")
    reader, contents = official.GGUFReader(path), read_gguf(path)
    fields = {name: reader.fields[name].contents() for name in reader.fields if not name.startswith("GGUF.")}
    assert contents.metadata == fields
    assert {name: (tensor.shape, tensor.ggml_type, tensor.offset, tensor.size_bytes) for name, tensor in contents.tensors.items()} == {
        tensor.name: (tuple(map(int, reversed(tensor.shape))), tensor.tensor_type, tensor.data_offset, tensor.n_bytes)
        for tensor in reader.tensors
    }
    for tensor in reader.tensors:
        wanted = official.dequantize(tensor.data, tensor.tensor_type)
        assert (read_rows(path, contents.tensors[tensor.name]) == wanted).all()


@pytest.mark.parametrize("quantization", ["f32", "f16", "bf16", "q8_0"])
def test_matrices_are_quantized_and_norms_and_biases_stay_float32(quantization, family_gguf):
    types = {name: tensor.ggml_type for name, tensor in read_gguf(family_gguf("qwen25", quantization)).tensors.items()}
    one_dimensional = {name for name in types if "norm" in name or name.endswith(".bias")}
    assert {types[name] for name in one_dimensional} == {official.GGMLQuantizationType.F32}
    assert {types[name] for name in set(types) - one_dimensional} == {official.GGMLQuantizationType[quantization.upper()]}
    assert len(one_dimensional) == 2 * (2 + 3) + 1


def test_values_are_those_of_the_source(family_dir, family_gguf):
    source = load_file(family_dir("qwen3") / "model.safetensors")
    path = family_gguf("qwen3", "bf16")
    tensors = read_gguf(path).tensors
    for hf_name, name in {"model.embed_tokens.weight": "token_embd", "model.layers.1.self_attn.k_proj.weight": "blk.1.attn_k"}.items():
        assert torch.equal(torch.from_numpy(read_rows(path, tensors[f"{name}.weight"])), source[hf_name].float())


def test_q_and_k_of_llama_are_reordered_for_neighbouring_pairs(family_dir, family_gguf):
    source = load_file(family_dir("llama31") / "model.safetensors")["model.layers.0.self_attn.k_proj.weight"].float().numpy()
    path = family_gguf("llama31", "f32")
    found = read_rows(path, read_gguf(path).tensors["blk.0.attn_k.weight"])
    order = [head * 16 + half * 8 + i for head in range(2) for i in range(8) for half in (0, 1)]  # 2 kv heads of 16
    assert (found == source[order]).all()


def test_llama31_rope_factors_are_those_of_transformers(family_dir, family_gguf):
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = AutoConfig.from_pretrained(family_dir("llama31"))
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, device="cpu")
    plain = 1.0 / 500000.0 ** (torch.arange(0, 16, 2) / 16)
    path = family_gguf("llama31", "q8_0")
    factors = read_rows(path, read_gguf(path).tensors["rope_freqs.weight"])
    assert numpy.allclose(factors, (plain / scaled).numpy(), rtol=1e-6)
    assert (factors[0], factors[-1]) == (1.0, 8.0)


def test_embedding_rows_without_a_token_get_unused_ones(family_gguf):
    metadata = read_gguf(family_gguf("qwen25", "f32")).metadata
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == 151936
    assert tokens[151664:151667] == ["<|file_sep|>", "[PAD151665]", "[PAD151666]"]
    assert set(types[151665:]) == {official.TokenType.UNUSED}


def test_token_types_tell_control_tokens_from_text(family_gguf):
    metadata = read_gguf(family_gguf("qwen3", "f32")).metadata
    found = dict(zip(metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"], strict=True))
    assert (found["<|im_end|>"], found["<think>"], found["Hello"]) == (3, 4, 1)
    metadata = read_gguf(family_gguf("mistral-v03", "f32")).metadata
    found = dict(zip(metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"], strict=True))
    assert (found["<unk>"], found["</s>"], found["[INST]"], found["<0x0A>"], found["▁the"]) == (3, 3, 3, 6, 1)


def test_the_same_model_gives_the_same_bytes_whatever_its_folder_is_called(model, family_gguf, tmp_path):
    written = write_gguf(model(), tmp_path / "other.gguf", quantization="q8_0")
    path = family_gguf("smollm2", "q8_0")
    assert written == GgufFile(tmp_path / "other.gguf", sha256(path), path.stat().st_size, "q8_0", 20)
    assert written.path.read_bytes() == path.read_bytes()


def test_large_tensors_are_written_in_pieces_of_the_same_bytes(family_dir, family_gguf, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_tensors, "CPU_CHUNK", 1000)
    written = write_gguf(family_dir("smollm2"), tmp_path / "pieces.gguf", quantization="q8_0")
    assert written.sha256 == sha256(family_gguf("smollm2", "q8_0"))


def test_further_end_tokens_get_a_field(model, tmp_path):
    folder = model()
    edit(folder / "generation_config.json", lambda value: value.update(eos_token_id=[2, 5]))  # <file_sep>
    write_gguf(folder, tmp_path / "x.gguf", quantization="q8_0")
    metadata = read_gguf(tmp_path / "x.gguf").metadata
    assert [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")] == [2, 2, 5]
    edit(folder / "generation_config.json", lambda value: value.update(eos_token_id=[2, 5, 6]))
    with pytest.raises(UserError, match=r"'<filename>' \(6\) ends a turn, and GGUF has no field left"):
        check_supported(folder, "q8_0")


def test_a_sliding_window_limits_the_context(model, tmp_path):
    folder = model("mistral-v03")
    edit(folder / "config.json", lambda config: config.update(sliding_window=4096))
    write_gguf(folder, tmp_path / "x.gguf", quantization="q8_0")
    assert read_gguf(tmp_path / "x.gguf").metadata["llama.context_length"] == 4096


def test_checking_needs_no_torch(family_dir):
    program = (
        "import sys; from pathlib import Path; from unsloth_ft.export.gguf import check_supported\n"
        "for folder in sys.argv[1:]: check_supported(Path(folder), 'q8_0')\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    folders = [str(family_dir(family)) for family in ("smollm2", "mistral-v03")]
    subprocess.run([sys.executable, "-c", program, *folders], check=True)


EXPECTED = (
    "expected one of f32, f16, bf16, q8_0, q6_k, q5_k_m, q5_k_s, q5_1, q5_0, q4_k_m, q4_k_s, q4_1, q4_0, q3_k_l, q3_k_m, q3_k_s, q2_k"
)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ("iq4_xs", f"quantization 'iq4_xs' is not supported yet; {EXPECTED}."),
        ("q2_k_s", f"quantization 'q2_k_s' needs an importance matrix, in llama.cpp too; {EXPECTED}."),
        ("q8", f"quantization 'q8' is unknown; {EXPECTED}. Did you mean q8_0"),
        ("F16", f"quantization 'F16' is unknown; {EXPECTED}. Did you mean f16, bf16"),
    ],
)
def test_an_unknown_quantization_is_refused(quantization, message, family_dir):
    with pytest.raises(UserError) as error:
        check_supported(family_dir("smollm2"), quantization)
    assert str(error.value).startswith(message)


REFUSED_CONFIGS = {
    "'Gemma2ForCausalLM'; GGUF export knows LlamaForCausalLM": {"architectures": ["Gemma2ForCausalLM"]},
    "hidden_act is 'gelu'": {"hidden_act": "gelu"},
    "'q8_0' wants rows in blocks of 32, and hidden_size is 80, intermediate_size is 112, num_attention_heads \\* head_dim is 80; use f16": {
        "hidden_size": 80,
        "intermediate_size": 112,
    },
    "'<empty_output>' has id 16, and|has id 49151, and the model's embedding has 49000 rows": {"vocab_size": 49000},
}


@pytest.mark.parametrize("message", REFUSED_CONFIGS)
def test_an_unknown_architecture_or_setting_is_refused_by_name(message, model):
    folder = model()
    edit(folder / "config.json", lambda config: config.update(REFUSED_CONFIGS[message]))
    with pytest.raises(UserError, match=message):
        check_supported(folder, "q8_0")


REFUSED_TOKENIZERS = {
    "the vocabulary kind is 'WordPiece'": lambda value: value["model"].update(type="WordPiece"),
    r"Found: pre_tokenizer split \\d then bytes": lambda value: value["pre_tokenizer"]["pretokenizers"].__setitem__(
        0, {"type": "Split", "pattern": {"Regex": r"\d"}, "behavior": "Isolated", "invert": False}
    ),
    "normalizer Lowercase": lambda value: value.update(normalizer={"type": "Lowercase"}),
    "ignore_merges true": lambda value: value["model"].update(ignore_merges=True),
    "'<repo_name>' has lstrip set": lambda value: value["added_tokens"][3].update(lstrip=True),
    "the post_processor is": lambda value: value.update(post_processor={"type": "RobertaProcessing"}),
}


@pytest.mark.parametrize("message", REFUSED_TOKENIZERS)
def test_an_unknown_tokenizer_is_refused_by_what_was_found(message, model):
    folder = model()
    edit(folder / "tokenizer.json", REFUSED_TOKENIZERS[message])
    with pytest.raises(UserError, match=message):
        check_supported(folder, "q8_0")


def test_a_sentencepiece_tokenizer_that_treats_spaces_otherwise_is_refused(model):
    folder = model("mistral-v03")
    edit(folder / "tokenizer.json", lambda value: value["pre_tokenizer"].update(prepend_scheme="always"))
    with pytest.raises(UserError, match="llama.cpp would treat this tokenizer's spaces differently"):
        check_supported(folder, "q8_0")


def test_a_sentencepiece_file_of_another_tokenizer_is_refused(model):
    folder = model("mistral-v03")

    def swap(value):
        vocab = value["model"]["vocab"]
        vocab["▁the"], vocab["▁of"] = vocab["▁of"], vocab["▁the"]

    edit(folder / "tokenizer.json", swap)
    with pytest.raises(UserError, match="piece 1040 is '▁the', and tokenizer.json says '▁of'"):
        check_supported(folder, "q8_0")


def test_a_wrong_eos_is_refused(model):
    """What transformers makes of SmolLM2's GGUF: the tokenizer's eos is <|im_start|>, and the model never stops."""
    folder = model()
    edit(folder / "tokenizer_config.json", lambda value: value.update(eos_token="<|im_start|>"))
    with pytest.raises(UserError, match=r"eos_token is '<\|im_start\|>' \(1\), and config.json and generation_config.json end at 2"):
        check_supported(folder, "q8_0")


def test_a_tied_models_copy_of_its_embedding_is_left_out_and_another_one_refused(model, family_gguf, tmp_path):
    folder = model()
    edit_weights(folder, lambda state: state.update({"lm_head.weight": state["model.embed_tokens.weight"].clone()}))
    assert write_gguf(folder, tmp_path / "x.gguf", quantization="q8_0").sha256 == sha256(family_gguf("smollm2", "q8_0"))
    edit_weights(folder, lambda state: state["lm_head.weight"].__setitem__((3, 4), 1.0))
    with pytest.raises(UserError, match=r"lm_head.weight is not the embedding, and .*config.json says that they are tied"):
        write_gguf(folder, tmp_path / "y.gguf", quantization="q8_0")


def test_a_missing_and_an_unknown_tensor_are_named(model, tmp_path):
    folder = model()
    edit_weights(folder, lambda state: state.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(UserError, match="missing tensors for LlamaForCausalLM: blk.1.ffn_up.weight"):
        write_gguf(folder, tmp_path / "x.gguf", quantization="q8_0")
    edit_weights(folder, lambda state: state.update({"model.layers.0.lora_A.weight": torch.zeros(2, 2)}))
    with pytest.raises(UserError, match="unknown tensors for LlamaForCausalLM: model.layers.0.lora_A.weight"):
        write_gguf(folder, tmp_path / "x.gguf", quantization="q8_0")


def test_a_tensor_of_another_shape_than_the_config_says_is_refused(model, tmp_path):
    folder = model()
    edit(folder / "config.json", lambda config: config.update(intermediate_size=192))
    with pytest.raises(UserError, match=r"mlp.down_proj.weight' has the shape \[64, 160\], and .* says \[64, 192\]"):
        write_gguf(folder, tmp_path / "x.gguf", quantization="q8_0")


def test_nan_and_float16_overflow_are_named_and_leave_nothing(model, tmp_path):
    folder = model()
    name = "model.layers.1.mlp.up_proj.weight"
    edit_weights(folder, lambda state: state[name].__setitem__((3, 4), 1e5))
    with pytest.raises(GateError, match=f"{name}' reaches 99840, and f16 ends at 65504. Export as bf16 or q8_0"):
        write_gguf(folder, tmp_path / "out" / "x.gguf", quantization="f16")
    assert write_gguf(folder, tmp_path / "fine.gguf", quantization="bf16").tensor_count == 20
    edit_weights(folder, lambda state: state[name].__setitem__((3, 4), float("nan")))
    with pytest.raises(GateError, match=f"{name}' holds NaN or infinity"):
        write_gguf(folder, tmp_path / "out" / "x.gguf", quantization="q8_0")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_truncated_file_is_noticed_at_every_length(family_gguf, tmp_path):
    whole = family_gguf("smollm2", "q8_0").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in (0, 3, 10, 1000, 500_000, 2_000_000, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(GateError, match="cut.gguf"):
            read_gguf(cut)


def broken_writer(damage):
    """The writer, and then `damage(path)` before the file is read back."""
    write = gguf.write_file

    def write_and_damage(path, *more):
        write(path, *more)
        damage(path)

    return write_and_damage


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    tensor = read_gguf(path).tensors["blk.1.ffn_down.weight"]
    data = bytearray(path.read_bytes())
    data[tensor.offset] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"), [(cut_off, "is cut short"), (flip, "'blk.1.ffn_down.weight' does not read back as its source")]
)
def test_a_damaged_file_never_gets_its_name(damage, message, family_dir, tmp_path, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"the export before")
    monkeypatch.setattr(gguf, "write_file", broken_writer(damage))
    with pytest.raises(GateError, match=message):
        write_gguf(family_dir("smollm2"), path, quantization="q8_0")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"model.gguf": b"the export before"}


def test_a_full_disk_is_said_before_and_while_writing(family_dir, tmp_path, monkeypatch):
    full = OSError(28, "No space left on device")

    def fail(path, *more):
        path.write_bytes(b"half")
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(gguf, "write_file", fail)
        with pytest.raises(MachineError, match=r"model.gguf: writing failed \(No space left on device\)"):
            write_gguf(family_dir("smollm2"), tmp_path / "model.gguf", quantization="q8_0")
    monkeypatch.setattr(gguf_place.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(MachineError, match=r"1.0 MB are free, and the GGUF file needs 3.4 MB"):
        write_gguf(family_dir("smollm2"), tmp_path / "model.gguf", quantization="q8_0")
    assert list(tmp_path.iterdir()) == []
