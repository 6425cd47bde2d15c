"""Our GGUF files against those of llama.cpp's own converter, made of the very same folder: tensors bit for bit, metadata key by key."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest

from tests import families, oracle
from unsloth_ft.export.gguf import write_gguf
from unsloth_ft.export.gguf_read import ARRAY, Parser, mapped, read_gguf
from unsloth_ft.export.llamacpp import LlamaCpp

pytestmark = pytest.mark.skipif(not oracle.is_here(), reason=oracle.MISSING)

TYPES = ("f32", "f16", "bf16", "q8_0")
# What the suite takes; `make sweep` runs every family with every type.
SAMPLE = {"llama32": "q8_0", "mistral-v03": "f16", "mistral-nemo": "q8_0", "qwen25": "f32", "qwen3": "bf16", "smollm2": "f16"}

# Where one file has a key and the other has not, and the value is what llama.cpp takes without it: src/llama-vocab.cpp,
# llama_vocab::impl::load.
BOOLEAN = 7
DEFAULTS = {"tokenizer.ggml.add_eos_token": False, "tokenizer.ggml.add_sep_token": False}
BYTE_LEVEL_DEFAULTS = DEFAULTS | {"tokenizer.ggml.add_space_prefix": False}
BEGIN_WITH_BOS = ("llama-bpe", "tekken")  # rules whose add_bos is true without a field

# The differences that are meant, by family; every other is a failure.
EOT = {"tokenizer.ggml.eot_token_id"}  # llama.cpp would take the first of several end tokens in an unordered map; ours is the turn's end
SPACE = {"tokenizer.ggml.add_space_prefix"}  # the converter copies tokenizer_config.json's, and [INST] gets two spaces: see below
MEANT = {
    "llama31": EOT,
    "llama32": EOT,
    "mistral-v03": SPACE,
    "mistral-nemo": set(),
    "qwen25": EOT,
    "qwen3": EOT,
    "smollm2": EOT,
}
# Of a SentencePiece tokenizer without its tokenizer.model, as transformers 5 saves it, the converter makes a file with one score for all
# pieces, [INST] an ordinary one, and no token for an embedding's spare rows: llama.cpp can't use it.
UNUSABLE = SPACE | {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"}
SAVED_AGAIN = MEANT | {"mistral-v03": UNUSABLE}
ADDED = SAVED_AGAIN | {"mistral-v03": UNUSABLE | {"tokenizer.ggml.tokens"}}

# Made of the folder's name and the number of parameters, for people: test_no_key_that_the_runtime_reads_is_left_out.
DESCRIPTIVE = {"general.name", "general.basename", "general.version", "general.finetune", "general.size_label"}


@pytest.fixture(scope="module")
def converter():
    with oracle.Converter() as process:
        yield process


class TypedParser(Parser):
    """Keeps the type of every metadata value (of an array, its items' type)."""

    def value(self, kind: int) -> Any:
        if kind != ARRAY:
            return kind, super().value(kind)
        (item,) = struct.unpack_from("<I", self.data, self.position)
        return (kind, item), super().value(kind)


def metadata(path: Path) -> dict[str, Any]:
    return TypedParser(mapped(path), path).contents().metadata


def different_keys(ours: dict[str, Any], theirs: dict[str, Any]) -> set[str]:
    (_, kind), (_, rule) = theirs["tokenizer.ggml.model"], theirs["tokenizer.ggml.pre"]
    defaults = BYTE_LEVEL_DEFAULTS | {"tokenizer.ggml.add_bos_token": rule in BEGIN_WITH_BOS} if kind == "gpt2" else DEFAULTS
    missing = {key: (BOOLEAN, value) for key, value in defaults.items()}
    ours, theirs = missing | ours, missing | theirs
    return {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)} - DESCRIPTIVE


def tensor_bytes(path: Path) -> dict[str, tuple[tuple[int, ...], int, bytes]]:
    data = mapped(path)
    found = read_gguf(path).tensors.items()
    return {name: (one.shape, one.ggml_type, bytes(data[one.offset : one.offset + one.size_bytes])) for name, one in found}


def compare(model_dir: Path, quantization: str, tmp_path: Path, converter: oracle.Converter) -> set[str]:
    """The metadata keys that differ; the tensors are equal in name, shape, type and every bit."""
    theirs = converter.convert(model_dir, tmp_path / "theirs.gguf", quantization=quantization)
    ours = write_gguf(model_dir, tmp_path / "ours.gguf", quantization=quantization).path
    one, other = tensor_bytes(ours), tensor_bytes(theirs)
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []
    return different_keys(metadata(ours), metadata(theirs))


@pytest.mark.parametrize("family", SAMPLE)
def test_a_file_equals_that_of_llama_cpps_converter(family, family_dir, tmp_path, converter):
    assert compare(family_dir(family), SAMPLE[family], tmp_path, converter) == MEANT[family]


@pytest.mark.slow
@pytest.mark.parametrize("quantization", TYPES)
@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_every_type_equals_that_of_llama_cpps_converter(family, quantization, family_dir, tmp_path, converter):
    assert compare(family_dir(family), quantization, tmp_path, converter) == MEANT[family]


@pytest.mark.parametrize("quantization", ["q8_0", pytest.param("f16", marks=pytest.mark.slow)])
def test_smollm2_equals_that_of_llama_cpps_converter(quantization, smollm2_dir, tmp_path, converter):
    assert compare(smollm2_dir, quantization, tmp_path, converter) == EOT


def slow_but(*fast: str) -> list[Any]:
    return [family if family in fast else pytest.param(family, marks=pytest.mark.slow) for family in families.EXPORT_FAMILIES]


def save_again(model_dir: Path, folder: Path, *, tokens: tuple[str, ...] = (), special: tuple[str, ...] = ()) -> Path:
    """The model as transformers 5 saves it, with added tokens and an embedding that has three rows more than the tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16), AutoTokenizer.from_pretrained(model_dir)
    if tokens or special:
        tokenizer.add_tokens(list(tokens))
        tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
        if len(tokenizer) > model.config.vocab_size:
            model.resize_token_embeddings(len(tokenizer) + 3)
    model.generation_config.do_sample = True  # without it, transformers 5 refuses to save Qwen's sampling fields
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", slow_but("mistral-v03"))
def test_a_folder_that_transformers_saved_gives_what_the_converter_makes_of_it(family, family_dir, tmp_path, converter):
    folder = save_again(family_dir(family), tmp_path / "again")
    assert compare(folder, "bf16", tmp_path, converter) == SAVED_AGAIN[family]


@pytest.mark.parametrize("family", slow_but("smollm2"))
def test_added_tokens_and_spare_rows_are_those_of_the_converter(family, family_dir, tmp_path, converter):
    from transformers import AutoTokenizer

    folder = save_again(family_dir(family), tmp_path / "added", tokens=("<doc>", "née", "▁odd one"), special=("<|note|>", "[N]"))
    assert compare(folder, "bf16", tmp_path, converter) == ADDED[family]
    tokenizer, text = AutoTokenizer.from_pretrained(folder), "<|note|>one<doc>two née [N]three"
    with LlamaCpp(tmp_path / "ours.gguf", threads=1) as llama:
        assert llama.tokenize(text) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_converters_space_prefix_doubles_the_space_of_every_message(family_dir, tmp_path, converter):
    from transformers import AutoTokenizer

    folder = family_dir("mistral-v03")
    theirs = converter.convert(folder, tmp_path / "theirs.gguf", quantization="q8_0")
    ours = write_gguf(folder, tmp_path / "ours.gguf", quantization="q8_0").path
    tokenizer, text = AutoTokenizer.from_pretrained(folder), "<s>[INST] Hi[/INST]"
    wanted = ["<s>", "[INST]", "▁Hi", "[/INST]"]
    found = {}
    for path in (ours, theirs):
        with LlamaCpp(path, threads=1) as llama:
            found[path] = tokenizer.convert_ids_to_tokens(llama.tokenize(text))
    assert tokenizer.tokenize(text) == wanted
    assert found == {ours: wanted, theirs: ["<s>", "[INST]", "▁", "▁Hi", "[/INST]"]}


def runtime_keys(architecture: str) -> set[str]:
    """Every metadata key that llama.cpp reads for this architecture, out of its source.

    Names stand in LLM_KV_NAMES (src/llama-arch.cpp, `%s` is the architecture). Read are those whose LLM_KV_ name occurs in the code that
    loads a model, its hyperparameters and its vocabulary, and those that its programs ask for through llama_model_meta_key_str.
    """
    root = oracle.folder()
    names = dict(re.findall(r"\{\s*(LLM_KV_\w+),\s*\"([^\"]+)\"", (root / "src/llama-arch.cpp").read_text(encoding="utf-8")))
    readers = ["llama-model", "llama-model-loader", "llama-vocab", f"models/{architecture}"]
    source = "".join((root / f"src/{name}.cpp").read_text(encoding="utf-8") for name in readers)
    used = set(re.findall(r"LLM_KV_\w+", source))
    programs = (root / "common/common.cpp").read_text(encoding="utf-8")
    used |= {f"LLM_KV_GENERAL_{name}" for name in re.findall(r"LLAMA_MODEL_META_KEY_(SAMPLING_\w+)", programs)}
    return {names[name].replace("%s", architecture) for name in used if name in names}


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_no_key_that_the_runtime_reads_is_left_out(architecture):
    keys = runtime_keys(architecture)
    assert {f"{architecture}.context_length", "tokenizer.ggml.pre", "tokenizer.ggml.eot_token_id", "general.sampling.temp"} <= keys
    assert keys & DESCRIPTIVE == {"general.name"}  # printed, and nothing else
