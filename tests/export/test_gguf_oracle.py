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

pytestmark = pytest.mark.skipif(not oracle.is_here(), reason=oracle.MISSING)

TYPES = ("f32", "f16", "bf16", "q8_0")
# What the suite takes; `make sweep` runs every family with every type.
SAMPLE = {"llama32": "q8_0", "mistral-v03": "f16", "mistral-nemo": "q8_0", "qwen25": "f32", "qwen3": "bf16", "smollm2": "f16"}

# Where one file has a key and the other has not, and the value is what llama.cpp takes without it: flags of llama_vocab::impl::load in
# src/llama-vocab.cpp (false for byte-level BPE; add_eos and add_sep also for SentencePiece).
DEFAULTS = {
    "tokenizer.ggml.add_eos_token": False,
    "tokenizer.ggml.add_sep_token": False,
}
BYTE_LEVEL_DEFAULTS = DEFAULTS | {"tokenizer.ggml.add_space_prefix": False}

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
    byte_level = theirs["tokenizer.ggml.model"][1] == "gpt2"
    defaults = BYTE_LEVEL_DEFAULTS if byte_level else DEFAULTS
    boolean = 7
    missing = {key: (boolean, value) for key, value in defaults.items()}
    return {key for key in ours.keys() | theirs.keys() if ours.get(key, missing.get(key)) != theirs.get(key, missing.get(key))} - DESCRIPTIVE


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
