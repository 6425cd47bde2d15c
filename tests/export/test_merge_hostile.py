"""A model or adapter folder from a stranger is refused in a line and in seconds; it runs no code and reads nothing outside."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.export import adapters, merge_cases
from unsloth_ft.errors import UnslothFtError, UserError
from unsloth_ft.export.merged import merge
from unsloth_ft.export.references import loaded

LONGEST_SECONDS = 5  # for a refusal
CANARY = "canary"


class Canary:
    """Unpickling it creates a file in the working folder."""

    def __reduce__(self):
        return os.mkdir, (CANARY,)


def header(folder: Path, change) -> None:
    """The weights' header, changed."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    text = json.dumps(change(json.loads(content[8 : 8 + length]))).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def shifted(entries, by):
    """The second tensor's bytes begin elsewhere."""
    name = sorted((name for name in entries if name != "__metadata__"), key=lambda name: entries[name]["data_offsets"])[1]
    entries[name]["data_offsets"] = [offset + by for offset in entries[name]["data_offsets"]]
    return entries


def reshaped(entries):
    entries["model.norm.weight"]["shape"] = [2**40]
    return entries


def index(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Canary()))


def pickle_as_safetensors(file: Path) -> None:
    file.write_bytes(pickle.dumps(Canary()))


def linked_outside(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    outside.write_bytes(b"secret")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(outside)


def both_files_hold_it(folder: Path) -> None:
    merge_cases.shard(folder, 2)
    first, second = (folder / f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    save_file({**load_file(first), **load_file(second)}, second, metadata={"format": "pt"})


def renamed(state, old, new):
    state[new] = state.pop(old)


def config(**values):
    """adapter_config.json says so."""
    return lambda base, adapter: adapters.change_config(adapter, **values)


def begins(length: int, text: str = "{}"):
    """model.safetensors begins with this length of its header, and this header."""
    return lambda base, adapter: (base / "model.safetensors").write_bytes(length.to_bytes(8, "little") + text.encode())


A_NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
DEEP = "[" * 100_000 + "]" * 100_000
PATTERN = "or a regular expression of at most 200 characters without repeated groups, look-around and back references."
NAMES = "expected a list of modules' names and no regular expression"
NO_WEIGHTS = "model.safetensors is not a whole safetensors file ("
NO_NUMBER = "expected a whole number from 1 and a number."
CASES = {
    "index: ../": (lambda b, a: index(b, '{"weight_map": {"x": "../evil"}}'), 'names "../evil", which lies outside'),
    "index: absolute": (lambda b, a: index(b, '{"weight_map": {"x": "/etc/passwd"}}'), 'names "/etc/passwd", which lies outside'),
    "index: ..": (lambda b, a: index(b, '{"weight_map": {"x": ".."}}'), "names .., which is not there"),
    "index: config": (lambda b, a: index(b, '{"weight_map": {"x": "config.json"}}'), "expected files that end in .safetensors"),
    "index: a list": (lambda b, a: index(b, "[]"), "a list; expected a JSON object"),
    "index: deep": (lambda b, a: index(b, DEEP), "not JSON"),
    "a tensor twice": (lambda b, a: both_files_hold_it(b), "two of its files hold "),
    "a link to no weights": (lambda b, a: linked_outside(b), NO_WEIGHTS),
    "header: longer than the file": (begins(2**40), NO_WEIGHTS),
    "header: 2^63": (begins(2**63), NO_WEIGHTS),
    "header: deep": (begins(len(DEEP), DEEP), NO_WEIGHTS),
    "header: overlap": (lambda b, a: header(b, lambda entries: shifted(entries, -2)), NO_WEIGHTS),
    "header: gap": (lambda b, a: header(b, lambda entries: shifted(entries, 2)), NO_WEIGHTS),
    "header: 2^40 rows": (lambda b, a: header(b, reshaped), NO_WEIGHTS),
    "weights: a pickle": (lambda b, a: pickle_as_safetensors(b / "model.safetensors"), NO_WEIGHTS),
    "weights: a pipe": (lambda b, a: pipe(b / "model.safetensors"), "model.safetensors is no file; expected safetensors."),
    "config: a pipe": (lambda b, a: pipe(b / "config.json"), "base: no config.json in it."),
    "config: deep": (lambda b, a: (b / "config.json").write_text(DEEP), "config.json: not JSON"),
    "adapter: a pickle alone": (lambda b, a: pickled(a), "adapter: only adapter_model.bin, a pickle, which can run code"),
    "adapter: a pickle renamed": (
        lambda b, a: pickle_as_safetensors(a / "adapter_model.safetensors"),
        "adapter_" + NO_WEIGHTS,
    ),
    "adapter: a pipe": (lambda b, a: pipe(a / "adapter_config.json"), "no adapter_config.json and adapter_model.safetensors in it"),
    "adapter: deep": (lambda b, a: (a / "adapter_config.json").write_text(DEEP), "adapter_config.json is not JSON"),
    "adapter: ../ as a name": (
        lambda b, a: adapters.change_weights(a, lambda state: renamed(state, A_NAME, "../../evil")),
        "tensors in the adapter belong to no LoRA pair, ../../evil the first",
    ),
    "adapter: r of 100 digits": (config(r=10**100), "expected r = 1000"),
    "adapter: alpha of 400 digits": (config(lora_alpha=10**400), NO_NUMBER),
    "adapter: alpha is NaN": (config(lora_alpha=float("nan")), NO_NUMBER),
    "pattern: (a+)+": (config(rank_pattern={r"([a-z_.0-9]+)+X": 4}), PATTERN),
    "pattern: long": (config(alpha_pattern={"x" * 201: 4}), PATTERN),
    "pattern: broken": (config(alpha_pattern={"(": 4}), PATTERN),
    "pattern: back reference": (config(alpha_pattern={r"(.*)\1X": 4}), PATTERN),
    "pattern: .*.*.*": (config(alpha_pattern={".*" * 9 + "X": 4}), "alpha_pattern may take too long to match"),
    "pattern: a?a?a?": (config(rank_pattern={".?" * 60 + "X": 4}), "rank_pattern may take too long to match"),
    "pattern: (.|.)": (config(rank_pattern={"(.|.)" * 39 + "X": 4}), "rank_pattern may take too long to match"),
    "pattern: .*.*.* in a large model": (config(rank_pattern={".*.*.*X": 4}), "rank_pattern may take too long to match"),
    "target_modules: (a+)+": (config(target_modules=r"([a-z_.0-9]+)+X"), NAMES),
    "exclude_modules: (a+)+": (config(exclude_modules=r"([a-z_.0-9]+)+X"), NAMES),
    "layers_pattern: (a+)+": (config(layers_pattern=[r"([a-z_.0-9]+)+X"], layers_to_transform=[0]), NAMES),
    "modules_to_save: (a+)+": (config(modules_to_save=[r"([a-z_.0-9]+)+X"]), "expected a list of names."),
    "megatron_core": (config(megatron_config={"x": 1}, megatron_core="megatron.evil"), "megatron_config = {'x': 1}; the merge knows"),
    "tokenizer: deep": (lambda b, a: (a / "tokenizer.json").write_text(DEEP), "tokenizer.json: not JSON"),
    "tokenizer: empty": (lambda b, a: (a / "tokenizer.json").write_text("{}"), "tokenizer.json has no vocabulary of texts and ids"),
}


def answer(call: Callable[[], object], folder: Path, connection: Any) -> None:
    """What the call says, from a process that can be killed."""
    os.chdir(folder)
    try:
        call()
        connection.send((0, "done"))
    except UnslothFtError as error:
        connection.send((error.exit_code, str(error)))


def answered(call: Callable[[], object], folder: Path) -> tuple[int, str]:
    """(exit code, message) of the call, within LONGEST_SECONDS."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=answer, args=(call, folder, theirs))
    process.start()
    try:
        assert ours.poll(LONGEST_SECONDS), f"no answer after {LONGEST_SECONDS} seconds"
        return ours.recv()
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_folder_is_refused_in_a_line_and_in_seconds(case, tiny_base, tiny_adapter, tmp_path):
    damage, said = CASES[case]
    damage(tiny_base, tiny_adapter)
    code, message = answered(lambda: merge(tiny_base, tiny_adapter, tmp_path / "merged"), tmp_path)
    assert code == UserError.exit_code
    assert said in message and "\n" not in message and len(message) < 500
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "outside.safetensors") == ["adapter", "base"]


def test_peft_is_given_no_adapter_that_a_merge_refuses(tiny_base, tiny_adapter, tmp_path):
    adapters.change_config(tiny_adapter, target_modules=r"([a-z_.0-9]+)+X")

    def load() -> None:
        with loaded(tiny_base, dtype="float32", device="cpu", adapter=tiny_adapter):
            pass

    code, message = answered(load, tmp_path)
    assert (code, NAMES in message, "\n" in message) == (UserError.exit_code, True, False)


def test_patterns_that_people_write_are_fast_enough_for_a_large_model(tiny_adapter):
    from unsloth_ft.export.adapter_config import check_patterns, read_config

    patterns = {rf"model\.layers\.({'|'.join(map(str, range(16)))})\.mlp\.down_proj": 4, r"layers\.\d+\.self_attn\.[qk]_proj": 4}
    patterns |= {f"model.layers.{layer}.self_attn.q_proj": 4 for layer in range(80)}
    adapters.change_config(tiny_adapter, rank_pattern=patterns)
    modules = [f"model.layers.{layer}.self_attn.{name}_proj" for layer in range(80) for name in ("q", "k", "v", "o", "gate", "up", "down")]
    check_patterns(tiny_adapter, read_config(tiny_adapter), modules)


def test_the_links_of_the_hubs_cache_are_followed(tiny_base, tiny_adapter, tmp_path):
    merge(tiny_base, tiny_adapter, tmp_path / "plain")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for folder in (tiny_base, tiny_adapter):
        for file in list(folder.iterdir()):
            blob = blobs / f"{folder.name}-{file.name}"
            file.rename(blob)
            file.symlink_to(os.path.relpath(blob, folder))
    merge(tiny_base, tiny_adapter, tmp_path / "merged")
    assert not any(file.is_symlink() for file in (tmp_path / "merged").iterdir())
    assert merge_cases.everything(tmp_path / "merged") == merge_cases.everything(tmp_path / "plain")
