"""A PEFT adapter read from its folder: LoRA's pairs, DoRA's magnitudes, and the tensors that were trained whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unsloth_ft.errors import UserError
from unsloth_ft.export.adapter_config import AdapterConfig, check_patterns, read_config
from unsloth_ft.export.shards import Stored, read_header, read_tensor

if TYPE_CHECKING:
    import torch

PREFIX = "base_model.model."  # what PEFT puts before a module's name
WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"


@dataclass(frozen=True)
class Adapter:
    """What a PEFT adapter changes, by the names of the base's modules.

    `pairs`: A of shape (r, in) and B of shape (out, r). PEFT stores an embedding's the other way round; here (out, in) is the shape
    of the weight as it is stored, (vocabulary, hidden) for an embedding. `embeddings` names those.
    `magnitudes`: DoRA's, of shape (out,), for an embedding (hidden,). `biases`: lora_B's, of shape (out,).
    `token_rows`: ids and their new rows, of shape (ids, hidden). `replaced`: whole tensors of the base by name; `base_layers`: the
    weights that pairs are added to, where the adapter brings them along. Both stay in the file `weights` until they are needed.
    """

    config: AdapterConfig
    weights: Path
    pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    embeddings: frozenset[str]
    magnitudes: Mapping[str, torch.Tensor]
    biases: Mapping[str, torch.Tensor]
    token_rows: Mapping[str, tuple[tuple[int, ...], torch.Tensor]]
    replaced: Mapping[str, Stored]
    base_layers: Mapping[str, Stored]

    def scale_of(self, module: str) -> float:
        """The factor on B·A of one module."""
        return self.config.scale_of(module)


def read_adapter(folder: Path) -> Adapter:
    """Reads adapter_config.json and adapter_model.safetensors.

    Raises UserError for what would be merged wrongly: another method than LoRA, half a pair, tensors that fit nowhere, damaged files.
    """
    weights = folder / WEIGHTS
    if (folder / PICKLE).is_file() and not weights.is_file():
        raise UserError(f"{folder.name}: only {PICKLE}, a pickle, which can run code when it is opened. Save the adapter as safetensors.")
    if not (folder / "adapter_config.json").is_file() or not weights.is_file():
        raise UserError(f"{folder.name}: no adapter_config.json and {WEIGHTS} in it; expected a PEFT adapter.")
    config = read_config(folder)
    tensors = _Tensors(folder, {name.removeprefix(PREFIX): entry for name, entry in read_header(weights).items()})
    pairs, embeddings = _pairs(tensors)
    check_patterns(folder, config, pairs)
    for module, (a, b) in pairs.items():
        r = config.rank_of(module)
        if a.dim() != 2 or b.dim() != 2 or a.shape[0] != r or b.shape[1] != r:
            raise UserError(
                f"{folder.name}: {module} has A {tuple(a.shape)} and B {tuple(b.shape)}; expected r = {r}, as in adapter_config.json."
            )
    token_rows = _token_rows(tensors, config)
    adapter = Adapter(
        config=config,
        weights=weights,
        pairs=pairs,
        embeddings=embeddings,
        magnitudes=_magnitudes(tensors, config, pairs, embeddings),
        biases={module: tensors.take(f"{module}.lora_B.bias") for module in pairs if config.lora_bias and module not in embeddings},
        token_rows=token_rows,
        replaced=_replaced(tensors, config),
        base_layers=_base_layers(tensors, pairs, token_rows),
    )
    if not (pairs or adapter.replaced or adapter.token_rows):
        raise UserError(f"{folder.name}: {WEIGHTS} holds no LoRA pair.")
    if tensors.entries:
        raise UserError(
            f"{folder.name}: {len(tensors.entries)} tensors in the adapter belong to no LoRA pair, {min(tensors.entries)} the first; "
            "they would be lost in a merge."
        )
    twice = {name for name in pairs if name in token_rows or f"{name}.weight" in adapter.replaced}
    if twice:
        raise UserError(f"{folder.name}: {min(twice)} has a LoRA pair and is trained in another way as well; PEFT makes no such adapter.")
    return adapter


class _Tensors:
    """The tensors of the file that have found no use yet."""

    def __init__(self, folder: Path, entries: dict[str, Stored]) -> None:
        self.folder = folder
        self.entries = entries

    def take(self, *names: str) -> torch.Tensor:
        """The first that is there, in memory. Raises UserError when none is."""
        for name in names:
            if name in self.entries:
                return read_tensor(self.folder / WEIGHTS, self.entries.pop(name))
        raise UserError(
            f"{self.folder.name}: {names[0]} is missing in {WEIGHTS}, which adapter_config.json asks for. Save the adapter again."
        )


def _pairs(tensors: _Tensors) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], frozenset[str]]:
    pairs, embeddings = {}, set()
    for name in list(tensors.entries):
        if name.endswith(".lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            if f"{module}.lora_B.weight" in tensors.entries:
                pairs[module] = tensors.take(name), tensors.take(f"{module}.lora_B.weight")
        elif name.endswith(".lora_embedding_A"):
            module = name.removesuffix(".lora_embedding_A")
            if f"{module}.lora_embedding_B" in tensors.entries:
                # A (r, vocabulary) and B (hidden, r): the update of the stored weight is their product's transpose, Aᵀ·Bᵀ.
                pairs[module] = tensors.take(f"{module}.lora_embedding_B").T, tensors.take(name).T
                embeddings.add(module)
    return pairs, frozenset(embeddings)


def _magnitudes(
    tensors: _Tensors, config: AdapterConfig, pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]], embeddings: frozenset[str]
) -> dict[str, torch.Tensor]:
    if not config.use_dora:
        return {}
    found = {}
    for module, (a, b) in pairs.items():
        # PEFT 0.21 keeps a module there and takes its ".weight" off when saving.
        found[module] = tensors.take(f"{module}.lora_magnitude_vector", f"{module}.lora_magnitude_vector.weight")
        expected = (a.shape[1],) if module in embeddings else (b.shape[0],)
        if tuple(found[module].shape) != expected:
            raise UserError(f"{tensors.folder.name}: {module}'s magnitude has the shape {tuple(found[module].shape)}; expected {expected}.")
    return found


def _token_rows(tensors: _Tensors, config: AdapterConfig) -> dict[str, tuple[tuple[int, ...], torch.Tensor]]:
    found = {}
    for short, ids in config.token_ids.items():
        module = next((name for name in (EMBEDDING, HEAD) if name.endswith(short)), short)
        rows = tensors.take(f"{module}.token_adapter.trainable_tokens_delta")
        if rows.dim() != 2 or rows.shape[0] != len(ids):
            raise UserError(f"{tensors.folder.name}: {module} has rows {tuple(rows.shape)} for {len(ids)} token ids.")
        found[module] = ids, rows
    copy = f"{HEAD}.token_adapter.trainable_tokens_delta"
    if EMBEDDING in found and copy in tensors.entries:  # PEFT saves the rows of tied embeddings once more when the vocabulary grew
        found[HEAD] = found[EMBEDDING][0], tensors.take(copy)
    return found


def _base_layers(tensors: _Tensors, pairs: Mapping[str, object], token_rows: Mapping[str, object]) -> dict[str, Stored]:
    names = {f"{module}.weight": f"{module}.base_layer.weight" for module in pairs}
    names |= {f"{module}.weight": f"{module}.token_adapter.base_layer.weight" for module in token_rows}
    return {name: tensors.entries.pop(stored) for name, stored in names.items() if stored in tensors.entries}


def _replaced(tensors: _Tensors, config: AdapterConfig) -> dict[str, Stored]:
    """Whole tensors: of modules_to_save, and embeddings that grew with the vocabulary."""
    found = {}
    for name in list(tensors.entries):
        module, _, kind = name.rpartition(".")
        if module in (EMBEDDING, HEAD) or _is_saved(module, config):
            around = module.rpartition(".")[2]
            if kind in ("weight", "bias") and around not in ("base_layer", "original_module", "modules_to_save"):
                found[name] = tensors.entries.pop(name)
    for name in found:
        # Of a resized embedding in modules_to_save PEFT writes three: NAME.weight, which it loads, the same again, and the untrained one.
        module, _, kind = name.rpartition(".")
        for copy in ("original_module", "modules_to_save"):
            tensors.entries.pop(f"{module}.{copy}.{kind}", None)
    for saved in config.modules_to_save:
        if not any(_is_saved(name.rpartition(".")[0], config, saved) for name in found):
            raise UserError(
                f"{tensors.folder.name}: adapter_config.json says modules_to_save = {saved!r}, and {WEIGHTS} holds no such module."
            )
    return found


def _is_saved(module: str, config: AdapterConfig, *names: str) -> bool:
    """Whether the module, or one around it, is one of modules_to_save; by the end of its name, as PEFT finds it."""
    parts = module.split(".")
    around = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(name.endswith(saved) for name in around for saved in names or config.modules_to_save)
