"""The whole way, for every family: the real command on a user's recipe, without a network, to files that llama.cpp and Ollama take.

The models are random and two layers deep, the tokenizers and chat templates are the published ones. All runs of the peft backend share a
process, in which the program's own `main` is called once a run, so that the libraries are imported once; the unsloth backend has its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import families
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.export import proof, references
from unsloth_ft.export.gguf_read import read_gguf
from unsloth_ft.export.llamacpp import LlamaCpp
from unsloth_ft.export.lora import read_adapter
from unsloth_ft.export.merged import check
from unsloth_ft.export.modelfile import parse_modelfile
from unsloth_ft.record import sha256

ROOT = Path(__file__).parents[1]
EXPORTS = ("merged", "gguf:f16", "gguf:q8_0", "ollama")
STOPS = {
    "llama31": ["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"],
    "mistral-v03": ["</s>"],
    "qwen25": ["<|im_end|>", "<|endoftext|>"],
    "qwen3": ["<|im_end|>", "<|endoftext|>"],
    "smollm2": ["<|im_end|>"],
}
RECIPE = """
from unsloth_ft.recipe import Data, Evaluate, Lora, Recipe, Train

RECIPE = Recipe(
    model="to be named with --model",
    dtype="float32",
    load_in_4bit={load_in_4bit},
    lora=Lora(r=8, lora_alpha=16),
    # a rate at which four steps change answers
    train=Train(learning_rate=1e-2, per_device_train_batch_size=2, gradient_accumulation_steps=1, eval_steps=4),
    data=Data(held_out=0.3),
    evaluate=Evaluate(answers=4, max_new_tokens=8, bootstrap_samples=200),
)
"""
# Python's own doors to the network, shut and each knock written down; Unix sockets stay open, llama.cpp is asked through one.
SITECUSTOMIZE = """
import os, socket

def refuse(what):
    with open(os.environ["KNOCKS"], "a") as file:
        file.write(f"{what}\\n")
    raise OSError(f"no network in this test: {what}")

class Socket(socket.socket):
    def connect(self, address):
        return super().connect(address) if self.family == socket.AF_UNIX else refuse(address)

    def connect_ex(self, address):
        return super().connect_ex(address) if self.family == socket.AF_UNIX else refuse(address)

    def sendto(self, *args):
        return super().sendto(*args) if self.family == socket.AF_UNIX else refuse(args[-1])

socket.socket = Socket
socket.getaddrinfo = lambda *args, **kwargs: refuse(args)
socket.gethostbyname = lambda *args, **kwargs: refuse(args)
"""
DRIVER = """
import contextlib, json, sys
from unsloth_ft.cli import main

codes = {}
for name, words in json.load(open(sys.argv[1])):
    sys.argv = ["unsloth-ft", *words]
    with open(f"{name}.out", "w") as out, open(f"{name}.err", "w") as err, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            codes[name] = 0
        except SystemExit as stop:
            codes[name] = stop.code
json.dump(codes, open("codes.json", "w"))
"""


class Runs:
    """What the commands left behind: `folder/NAME` is the run directory, NAME.out and NAME.err what it said."""

    def __init__(self, folder: Path, codes: dict[str, int]) -> None:
        self.folder = folder
        self.codes = codes

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name / "run.json").read_text(encoding="utf-8"))

    def exports(self, name: str) -> Path:
        return self.folder / name / "export"

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.err").read_text(encoding="utf-8")


def command(folder: Path, name: str, model: Path, *more: str, recipe: str = "mine.py", backend: str = "peft") -> list[str]:
    exports = [word for target in EXPORTS for word in ("--export", target)]
    return [
        "run",
        str(folder / recipe),
        "--model",
        str(model),
        "--data",
        str(folder / "faq.jsonl"),
        "--out",
        str(folder / name),
        "--backend",
        backend,
        "--max-steps",
        "4",
        *exports,
        "--offline",
        *more,
    ]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """(folder, environment): a user's recipe and data, no network, no cache of the hub, no GPU."""
    folder = tmp_path_factory.mktemp("end to end")  # with spaces
    (folder / "shut").mkdir()
    (folder / "shut" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (folder / "mine.py").write_text(RECIPE.format(load_in_4bit=False))
    (folder / "mine4bit.py").write_text(RECIPE.format(load_in_4bit=True))
    (folder / "driver.py").write_text(DRIVER)
    lines = (ROOT / "examples" / "faq.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "faq.jsonl").write_text("".join(lines[:14]), encoding="utf-8")
    (folder / "knocks").touch()
    values = {
        "PYTHONPATH": os.pathsep.join([str(folder / "shut"), str(ROOT)]),
        "KNOCKS": str(folder / "knocks"),
        "HF_HOME": str(folder / "hub"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "UNSLOTH_FORCE_CPU": "1",
        "UNSLOTH_COMPILE_LOCATION": str(folder / "compiled"),
    }
    return folder, {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))} | values


@pytest.fixture(scope="module")
def runs(environment, family_dir):
    folder, values = environment
    jobs = [(family, command(folder, family, family_dir(family))) for family in families.FAMILIES]
    jobs.append(("again", jobs[-1][1]))  # the same words, the same --out
    jobs.append(("4bit", command(folder, "4bit", family_dir("smollm2"), recipe="mine4bit.py")))
    (folder / "jobs.json").write_text(json.dumps(jobs))
    words = command(folder, "unsloth", family_dir("qwen25"), backend="unsloth")
    with (folder / "unsloth.err").open("w") as errors, (folder / "unsloth.out").open("w") as output:
        unsloth = subprocess.Popen([sys.executable, "-m", "unsloth_ft", *words], cwd=folder, env=values, stdout=output, stderr=errors)
        peft = subprocess.run(
            [sys.executable, "driver.py", "jobs.json"], cwd=folder, env=values, capture_output=True, text=True, check=False
        )
        code = unsloth.wait()
    assert peft.returncode == 0, peft.stderr
    return Runs(folder, json.loads((folder / "codes.json").read_text(encoding="utf-8")) | {"unsloth": code})


NAMES = (*families.FAMILIES, "4bit", "unsloth")


@pytest.mark.parametrize("name", NAMES)
def test_the_command_ends_well_and_every_check_passed(name, runs):
    assert runs.codes[name] == 0, runs.said(name)
    record = runs.record(name)
    assert (record["status"], record["training"]["steps"]) == ("done", 4)
    assert list(record["exports"]) == list(EXPORTS)
    checks = [check for target in EXPORTS for check in record["exports"][target]["checks"]]
    assert len(checks) == 4 + 2 * 8 + 3
    assert [check for check in checks if not check["ok"]] == []
    for target in EXPORTS:
        for file in record["exports"][target]["files"]:
            assert sha256(runs.folder / name / file["name"]) == file["sha256"]


def test_no_run_knocked_at_the_network(runs):
    assert (runs.folder / "knocks").read_text() == ""


def test_the_network_was_shut(environment, tmp_path):
    folder, values = environment
    code = (
        "import socket, urllib.request\ntry:\n    urllib.request.urlopen('http://127.0.0.1:9')\nexcept OSError as error:\n    print(error)"
    )
    values = values | {"KNOCKS": str(tmp_path / "knocks")}
    done = subprocess.run([sys.executable, "-c", code], env=values, capture_output=True, text=True, check=True)
    assert "no network in this test" in done.stdout
    assert (tmp_path / "knocks").read_text() != ""


@pytest.mark.parametrize("name", NAMES)
def test_the_merged_model_is_the_base_plus_the_adapter(name, runs, family_dir):
    base = family_dir({"4bit": "smollm2", "unsloth": "qwen25"}.get(name, name))
    check(base, read_adapter(runs.folder / name / "adapter"), runs.exports(name) / "merged")
    before, after = load_file(base / "model.safetensors"), load_file(runs.exports(name) / "merged" / "model.safetensors")
    assert len([key for key in before if not torch.equal(before[key], after[key])]) == 14


@pytest.mark.parametrize("name", NAMES)
def test_llamacpp_gives_the_tokens_that_transformers_gives_and_not_the_bases(name, runs, family_dir):
    base = family_dir({"4bit": "smollm2", "unsloth": "qwen25"}.get(name, name))
    chat = Chat(load_tokenizer(base))
    lines = (runs.folder / name / "eval" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt_ids"] for line in lines]
    assert len(prompts) == 4
    merged, untuned = (
        references.references(folder, chat, prompts, dtype="float32", device="cpu", max_new_tokens=8)
        for folder in (runs.exports(name) / "merged", base)
    )
    with LlamaCpp(runs.exports(name) / f"{name}-f16.gguf", context_length=512, threads=1) as llama:
        answers = [llama.generate(prompt, max_new_tokens=8).ids for prompt in prompts]
    # f16 rounds the weights once more than the merge did: a difference has to be a tie within 0.05 nats
    parted = [(answer, reference) for answer, reference in zip(answers, merged) if answer != reference.ids]
    assert len(parted) <= 1
    assert all(proof.near_tie(reference, answer, end_ids=chat.end_ids, nats=0.05) for answer, reference in parted)
    assert sum(answer == reference.ids for answer, reference in zip(answers, untuned)) <= 2


@pytest.mark.parametrize("name", NAMES)
def test_the_modelfile_names_the_gguf_and_every_end_token(name, runs):
    family = {"4bit": "smollm2", "unsloth": "qwen25"}.get(name, name)
    read = parse_modelfile((runs.exports(name) / "Modelfile").read_text(encoding="utf-8"))
    assert read["from"] == f"./{name}-q8_0.gguf"
    assert (runs.exports(name) / read["from"]).is_file()
    assert read["parameters"] == {"stop": STOPS[family], "num_ctx": ["2048"], "temperature": ["0"]}
    # the runner puts BOS before a prompt where the GGUF says so, and TEMPLATE must not write a second one
    adds_bos = read_gguf(runs.exports(name) / read["from"]).metadata["tokenizer.ggml.add_bos_token"]
    assert adds_bos == (family in ("llama31", "mistral-v03"))
    assert not adds_bos or not read["template"].startswith(("<|begin_of_text|>", "<s>"))


def test_the_same_command_again_makes_nothing_again(runs):
    assert runs.codes["again"] == 0
    assert "exporting" not in runs.said("again") and "loading" not in runs.said("again")


def test_a_run_in_four_bits_says_what_its_answers_were_compared_with(runs):
    notes = runs.record("4bit")["exports"]["merged"]["notes"]
    assert len(notes) == 1 and notes[0].startswith(
        "the adapter was trained on NF4 weights; on the 16-bit base, which is what is exported, "
    )
    assert runs.record("4bit")["plan"]["load_in_4bit"]["value"] is True


def test_the_unsloth_backend_was_used_where_it_was_asked_for(runs):
    assert runs.record("unsloth")["plan"]["backend"]["value"] == "unsloth"


def test_a_flipped_bit_is_found_by_verify(runs, environment):
    folder, values = environment
    path = runs.exports("smollm2") / "smollm2-q8_0.gguf"
    content = path.read_bytes()

    def verify():
        words = [sys.executable, "-m", "unsloth_ft", "verify", str(folder / "smollm2"), "--quick"]
        return subprocess.run(words, env=values, cwd=folder, capture_output=True, text=True, check=False)

    try:
        path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
        done = verify()
    finally:
        path.write_bytes(content)
    assert done.returncode == 4
    assert "export/smollm2-q8_0.gguf has other bytes than were written" in done.stdout
    assert "gguf:q8_0 is not what was proven" in done.stderr
