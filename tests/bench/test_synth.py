from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.cli.calling import call
from unsloth_ft import base_model
from unsloth_ft.bench import synth
from unsloth_ft.bench.architectures import of_recipe
from unsloth_ft.bench.synth import synthesize
from unsloth_ft.errors import MachineError, UserError

ROOT = Path(__file__).parents[2]
BACKENDS = ("peft", "unsloth")
# Root mean square error of normal weights in NF4, blocks of 64, over their own: 0.0920 with double quantization and without it.
NF4_ERROR = (0.090, 0.094)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`smollm2("nf4")` → two layers of SmolLM2-135M's architecture, written once."""
    written: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in written:
            folder = tmp_path_factory.mktemp("synth") / kind
            written[kind] = synthesize("smollm2-135m", folder, layers=2, quantized=kind == "nf4", device="cpu")
        return written[kind]

    return get


def tensors(folder: Path) -> dict:
    from safetensors.torch import load_file

    return {name: value for file in base_model.weight_files(folder) for name, value in load_file(file).items()}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_other_ones(smollm2: Callable[[str], Path], tmp_path: Path):
    again = synthesize("smollm2-135m", tmp_path / "again", layers=2, device="cpu")
    other = synthesize("smollm2-135m", tmp_path / "other", layers=2, seed=1, device="cpu")
    first = (smollm2("bf16") / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == first
    assert (other / "model.safetensors").read_bytes() != first


def test_fewer_layers_are_the_first_of_more(smollm2: Callable[[str], Path], tmp_path: Path):
    one, two = tensors(synthesize("smollm2-135m", tmp_path / "one", layers=1, device="cpu")), tensors(smollm2("bf16"))
    assert len(one) == 11 and len(two) == 20
    assert [name for name, value in one.items() if not value.equal(two[name])] == []


def test_weights_have_the_spread_that_the_architecture_begins_with(smollm2: Callable[[str], Path]):
    found = tensors(smollm2("bf16"))
    assert found["model.embed_tokens.weight"].float().std().item() == pytest.approx(1 / 24, rel=0.002)
    assert found["model.layers.1.mlp.down_proj.weight"].float().std().item() == pytest.approx(1 / 24, rel=0.005)
    assert set(found["model.norm.weight"].tolist()) == {1.0}


def test_nf4_weights_are_the_bfloat16_ones_quantized(smollm2: Callable[[str], Path]):
    from bitsandbytes.functional import QuantState, dequantize_4bit, quantize_4bit

    packed, whole = tensors(smollm2("nf4")), tensors(smollm2("bf16"))
    name = "model.layers.0.self_attn.q_proj.weight"
    parts = {key.removeprefix("model.layers.0.self_attn.q_proj."): value for key, value in packed.items() if key.startswith(name + ".")}
    assert sorted(parts) == [
        "weight.absmax", "weight.nested_absmax", "weight.nested_quant_map", "weight.quant_map", "weight.quant_state.bitsandbytes__nf4",
    ]  # fmt: skip
    assert packed[name].equal(quantize_4bit(whole[name], compress_statistics=True, quant_type="nf4")[0])
    restored = dequantize_4bit(packed[name], QuantState.from_dict(parts, device=torch.device("cpu")))
    error = ((restored.float() - whole[name].float()).norm() / whole[name].float().norm()).item()
    assert NF4_ERROR[0] < error < NF4_ERROR[1]
    assert packed["model.embed_tokens.weight"].equal(whole["model.embed_tokens.weight"])


@pytest.mark.parametrize("kind", ["bf16", "nf4"])
def test_the_size_that_is_checked_beforehand_is_the_size_that_is_written(smollm2: Callable[[str], Path], kind: str):
    planned = sum(synth.stored_bytes(parameter, quantized=kind == "nf4") for parameter in of_recipe("smollm2-135m").parameters(2))
    written = sum(value.nbytes for value in tensors(smollm2(kind)).values())
    assert written <= planned <= written + 14 * 100  # a quantized weight's description is a few characters shorter than planned
    texts = sum(file.stat().st_size for file in smollm2(kind).iterdir() if file.suffix != ".safetensors")
    assert texts < synth.OTHER_BYTES


def test_an_8b_model_in_nf4_has_the_published_4_127_bits_a_weight():
    linear = [parameter for parameter in of_recipe("llama31-8b").parameters(32) if parameter.kind == "linear"]
    bits = 8 * sum(synth.stored_bytes(parameter, quantized=True) for parameter in linear) / sum(parameter.size for parameter in linear)
    assert bits == pytest.approx(4.127, abs=0.0005)


def test_large_models_come_in_several_files_with_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(synth, "FILE_BYTES", 6_000_000)
    folder = synthesize("smollm2-135m", tmp_path / "model", layers=2, device="cpu")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = base_model.weight_files(folder)
    # The embedding is larger than a file and alone in the first; a layer has 7.1 MB.
    assert [file.name for file in files] == [f"model-0000{number}-of-00004.safetensors" for number in (1, 2, 3, 4)]
    assert [file.stat().st_size < 6_010_000 for file in files] == [False, True, True, True]
    assert index["weight_map"].keys() == {parameter.name for parameter in of_recipe("smollm2-135m").parameters(2)}
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in tensors(folder).values())


def test_an_ordinary_base_model_comes_out(smollm2: Callable[[str], Path]):
    facts = base_model.find(str(smollm2("bf16"))).facts()
    assert dataclasses.astuple(facts) == ("LlamaForCausalLM", 2, 576, 1536, 49152, 8192, 9, 3, 64, True)
    assert oct(smollm2("bf16").stat().st_mode) == "0o40755"
    assert {oct(file.stat().st_mode) for file in smollm2("bf16").iterdir()} == {"0o100644"}


def test_a_run_refuses_the_nf4_folder_as_it_refuses_every_quantized_one(smollm2: Callable[[str], Path]):
    with pytest.raises(UserError, match="its weights are quantized already"):
        base_model.find(str(smollm2("nf4")))


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="a folder that is not empty; expected a new or an empty one"):
        synthesize("smollm2-135m", tmp_path / "model", layers=1)
    with pytest.raises(UserError, match=r"notes.txt: a file; expected a new or an empty folder"):
        synthesize("smollm2-135m", tmp_path / "model" / "notes.txt", layers=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "notes.txt"]


def test_an_empty_folder_is_used(tmp_path: Path):
    (tmp_path / "model").mkdir()
    assert (synthesize("smollm2-135m", tmp_path / "model", layers=1) / "config.json").is_file()


@pytest.mark.parametrize("layers", [0, 31, -1])
def test_layers_that_the_model_has_not_are_refused(tmp_path: Path, layers: int):
    with pytest.raises(UserError, match=rf"layers is {layers}; smollm2-135m has 30, so 1 to 30 were expected"):
        synthesize("smollm2-135m", tmp_path / "model", layers=layers)


def test_a_disk_that_is_too_small_is_refused_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(synth, "disk_free_bytes", lambda folder: 3_000_000_000)
    with pytest.raises(MachineError, match=r"16\.1 GB are needed, and 3\.0 GB are free") as raised:
        synthesize("llama31-8b", tmp_path / "model")
    assert raised.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_writing_that_fails_half_way_leaves_nothing(tmp_path: Path):
    code = """
import resource, sys
from pathlib import Path
from unsloth_ft.bench.synth import synthesize
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))
synthesize("smollm2-135m", Path(sys.argv[1]), layers=1, device="cpu")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "MachineError" in done.stderr and "File too large" in done.stderr and "0.1 GB are needed" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", ["llama32-1b", "mistral-7b", "qwen25-0.5b", "qwen3-0.6b", "smollm2-135m"])
def test_the_tokenizer_is_whole_and_means_the_same_to_transformers_and_llama_cpp(
    recipe: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    from unsloth_ft.bench.synth_tokenizer import SPECIAL, write_tokenizer
    from unsloth_ft.export.gguf_vocab import read_vocabulary

    architecture = of_recipe(recipe)
    special = SPECIAL[architecture.tokens]
    write_tokenizer(special, tmp_path, vocab_size=architecture.facts.vocab_size, longest=architecture.facts.max_position_embeddings)
    (tmp_path / "config.json").write_text(json.dumps(architecture.config(layers=1, quantized=False)))
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)  # its warnings, to caplog
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "Hello, wörld 12345!\n\n你好 the end"
    assert tokenizer(text)["input_ids"] == Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert caplog.text == ""
    assert [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token] == [special.bos, special.eos, special.pad]
    assert tokenizer.convert_tokens_to_ids(special.eos) == special.id_of(special.eos)
    assert set(tokenizer.get_vocab().values()) == set(range(len(tokenizer)))  # no hole
    words = {"qwen2": 151665, "qwen3": 151669}.get(architecture.tokens, architecture.facts.vocab_size)
    assert len(tokenizer) == words
    vocabulary = read_vocabulary(tmp_path, vocab_size=architecture.facts.vocab_size)
    assert vocabulary.pre == ("qwen2" if architecture.tokens.startswith("qwen") else "llama-bpe")


@pytest.mark.parametrize(("recipe", "rendered"), [
    ("llama32-1b", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                   "<|start_header_id|>assistant<|end_header_id|>\n\nHo<|eot_id|>"),
    ("mistral-7b", "<s>[INST] Hi[/INST] Ho</s>"),
    ("smollm2-135m", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"),
])  # fmt: skip
def test_a_conversation_is_written_in_the_family_s_form(recipe: str, rendered: str, tmp_path: Path):
    from transformers import AutoTokenizer

    from unsloth_ft.bench.synth_tokenizer import SPECIAL, write_tokenizer

    write_tokenizer(SPECIAL[of_recipe(recipe).tokens], tmp_path, vocab_size=of_recipe(recipe).facts.vocab_size, longest=8192)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == rendered


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() and not os.environ.get("UNSLOTH_FT_REQUIRE_GPU"), reason="needs a CUDA GPU")
def test_a_gpu_writes_weights_of_the_same_spread_and_the_same_ones_again(tmp_path: Path):
    from bitsandbytes.functional import QuantState, dequantize_4bit

    first, again = (synthesize("smollm2-135m", tmp_path / name, layers=1, quantized=True, device="cuda") for name in ("first", "again"))
    assert (first / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    name = "model.layers.0.mlp.up_proj.weight"
    found = tensors(first)
    parts = {key.removeprefix("model.layers.0.mlp.up_proj."): value for key, value in found.items() if key.startswith(name + ".")}
    restored = dequantize_4bit(found[name].cuda(), QuantState.from_dict(parts, device=torch.device("cuda")))
    assert restored.float().std().item() == pytest.approx(1 / 24, rel=0.02)
    assert found["model.embed_tokens.weight"].float().std().item() == pytest.approx(1 / 24, rel=0.002)


def load(backend: str, *named: str, cache: Path) -> list[dict]:
    """What load_synthetic.py measured, in a process of its own and without a network."""
    script = str(Path(__file__).with_name("load_synthetic.py"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "UNSLOTH_FT_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, script, backend, *named], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def check_loaded(found: dict[str, list[dict]], *, vocab_size: int, layers: int) -> None:
    """Both backends compute the same from both folders, bfloat16 first; a model that knows nothing is near ln(vocabulary)."""
    for whole, packed in found.values():
        assert [whole["weight_dtype"], packed["weight_dtype"]] == ["torch.bfloat16", "torch.uint8"]
        assert [whole["linear"], packed["linear"]] == ["Linear", "Linear4bit"]
        for one in (whole, packed):
            assert math.log(vocab_size) < one["loss"] < math.log(vocab_size) + 1.5
            assert one["adapters"] == 2 * 7 * layers
            assert 0.1 < one["gradient_norm"] < 100
        assert whole["loss"] != packed["loss"]
    for vanilla, product in zip(*found.values()):
        assert product["loss"] == pytest.approx(vanilla["loss"], rel=1e-5)
        assert product["gradient_norm"] == pytest.approx(vanilla["gradient_norm"], rel=1e-3)


def test_both_backends_load_both_kinds_and_train(smollm2: Callable[[str], Path], tmp_path: Path):
    folders = [f"smollm2-135m={smollm2(kind)}" for kind in ("bf16", "nf4")]
    check_loaded({backend: load(backend, *folders, cache=tmp_path) for backend in BACKENDS}, vocab_size=49152, layers=2)


@pytest.mark.slow
def test_both_backends_load_two_layers_of_llama31_8b(tmp_path: Path):
    folders = []
    for kind in ("bf16", "nf4"):
        folder = synthesize("llama31-8b", tmp_path / kind, layers=2, quantized=kind == "nf4", device="cpu")  # 3.0 and 2.3 GB
        folders.append(f"llama31-8b={folder}")
    check_loaded({backend: load(backend, *folders, cache=tmp_path) for backend in BACKENDS}, vocab_size=128256, layers=2)


def test_the_command_says_what_it_wrote(tmp_path: Path):
    arguments = ["smollm2-135m", "--out", str(tmp_path / "model"), "--layers", "1", "--nf4", "--seed", "5", "--json"]
    done = call("bench", "synth", *arguments)
    assert done.code == 0
    told = json.loads(done.out)
    size = sum(file.stat().st_size for file in (tmp_path / "model").iterdir())
    assert told.pop("seconds") > 0
    assert told == {
        "recipe": "smollm2-135m",
        "folder": str(tmp_path / "model"),
        "architecture": "LlamaForCausalLM",
        "layers": 1,
        "weights": "nf4",
        "seed": 5,
        "bytes": size,
    }
