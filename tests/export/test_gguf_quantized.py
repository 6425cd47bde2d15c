"""Quantized GGUF files as wholes: what llama.cpp makes of them, and what a broken weight or a kill leaves behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import gguf as official
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import families
from tests.family_tokenizers import write_json, write_tokenizer
from unsloth_ft.errors import GateError
from unsloth_ft.export import gguf_tensors
from unsloth_ft.export.gguf import QUANTIZATIONS, write_gguf
from unsloth_ft.export.gguf_read import read_gguf
from unsloth_ft.export.gguf_types import CONVERTED
from unsloth_ft.export.llamacpp import LlamaCpp
from unsloth_ft.export.proof import divergence
from unsloth_ft.record import sha256

QUANTIZED = tuple(name for name in QUANTIZATIONS if name not in CONVERTED)
PROMPT = "<|im_start|>user\nWhat is LoRA?<|im_end|>\n<|im_start|>assistant\n"
# Nats between the next-token distributions of the bf16 file and the quantized one, by the first two letters: 3 to 4 times what was found.
NATS = {"q6": 0.001, "q5": 0.001, "q4": 0.005, "q3": 0.008, "q2": 0.008}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """SmolLM2's tiny model, 256 wide and 512 in its MLP, three layers: rows of whole super-blocks. Its logits are a 16th of the others'."""
    folder = tmp_path_factory.mktemp("wide") / "model"
    folder.mkdir()
    shape = replace(families.SHAPES["smollm2"], hidden_size=256, intermediate_size=512, layers=3)
    write_json(folder / "config.json", families.config_of(shape))
    write_json(folder / "generation_config.json", shape.generation)
    write_tokenizer("smollm2", folder)
    families.write_weights(shape, folder, seed=0)
    state = load_file(folder / "model.safetensors")
    state["model.embed_tokens.weight"] /= 16
    save_file(state, folder / "model.safetensors")
    return folder


def next_tokens(path):
    with LlamaCpp(path, context_length=256, threads=1) as llama:
        return llama.next_logprobs(llama.tokenize(PROMPT), count=64)


@pytest.fixture(scope="module")
def unquantized(wide, tmp_path_factory):
    """The next-token distribution that llama.cpp computes from the weights as they are."""
    return next_tokens(write_gguf(wide, tmp_path_factory.mktemp("bf16") / "model.gguf", quantization="bf16").path)


@pytest.mark.parametrize("quantization", QUANTIZED)
def test_llamacpp_loads_the_file_and_says_nearly_the_same(quantization, wide, unquantized, tmp_path):
    path = write_gguf(wide, tmp_path / "model.gguf", quantization=quantization).path
    assert divergence(unquantized, next_tokens(path)) < NATS[quantization[:2]]


def test_q4_k_m_holds_what_its_name_promises(wide, tmp_path):
    contents = read_gguf(write_gguf(wide, tmp_path / "model.gguf", quantization="q4_k_m").path)
    kinds = {name: official.GGMLQuantizationType(tensor.ggml_type).name for name, tensor in contents.tensors.items()}
    assert contents.metadata["general.file_type"] == official.LlamaFileType.MOSTLY_Q4_K_M
    assert list(kinds.items())[:11] == [
        ("output_norm.weight", "F32"),
        ("token_embd.weight", "Q6_K"),  # tied: it is the output too
        ("blk.0.attn_k.weight", "Q4_K"),
        ("blk.0.attn_norm.weight", "F32"),
        ("blk.0.attn_output.weight", "Q4_K"),
        ("blk.0.attn_q.weight", "Q4_K"),
        ("blk.0.attn_v.weight", "Q4_K"),
        ("blk.0.ffn_down.weight", "Q4_K"),
        ("blk.0.ffn_gate.weight", "Q4_K"),
        ("blk.0.ffn_norm.weight", "F32"),
        ("blk.0.ffn_up.weight", "Q4_K"),
    ]
    assert kinds["blk.2.ffn_down.weight"] == kinds["blk.2.attn_v.weight"] == "Q6_K"


def test_chunks_of_a_few_rows_give_the_same_file(wide, tmp_path, monkeypatch):
    whole = write_gguf(wide, tmp_path / "whole.gguf", quantization="q4_k_m")
    monkeypatch.setattr(gguf_tensors, "CPU_CHUNK", 10_000)
    assert write_gguf(wide, tmp_path / "chunks.gguf", quantization="q4_k_m").sha256 == whole.sha256


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "mlp.down_proj.weight' holds NaN or infinity"),
        (float("-inf"), "mlp.down_proj.weight' holds NaN or infinity"),
        (1e10, r"mlp.down_proj.weight' can't be written as q6_k: a scale of .* does not fit float16, which ends at 65504. Export as bf16."),
    ],
)
def test_a_weight_that_can_not_be_quantized_is_named_and_leaves_nothing(value, message, wide, tmp_path):
    folder = shutil.copytree(wide, tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    state["model.layers.2.mlp.down_proj.weight"][3, 4] = value
    save_file(state, folder / "model.safetensors")
    with pytest.raises(GateError, match=message):
        write_gguf(folder, tmp_path / "out" / "model.gguf", quantization="q4_k_m")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_kill_while_quantizing_leaves_the_file_before(wide, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"the export before")
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from unsloth_ft.export import kquants; from unsloth_ft.export.gguf import write_gguf\n"
        "whole = kquants.q4_k\n"
        "kquants.QUANTIZERS['q4_k'] = (256, lambda blocks: os.kill(os.getpid(), signal.SIGKILL))\n"
        "write_gguf(Path(sys.argv[1]), Path(sys.argv[2]), quantization='q4_k_m')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(wide), str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"the export before"
    written = write_gguf(wide, path, quantization="q4_k_m")  # what the kill left is no hindrance, and goes
    assert (written.sha256, [file.name for file in tmp_path.iterdir()]) == (sha256(path), ["model.gguf"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_weights_of_another_type_give_the_same_bytes(dtype, wide, tmp_path):
    folder = shutil.copytree(wide, tmp_path / "model")
    state = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    same = write_gguf(folder, tmp_path / "same.gguf", quantization="q5_k_m")
    if dtype == torch.float32:  # holds every bfloat16 value; float16 rounds the smallest ones
        assert same.sha256 == write_gguf(wide, tmp_path / "model.gguf", quantization="q5_k_m").sha256
