"""The adapter merged into the 16-bit base: W + scale·B·A in float32, written tensor by tensor.

Straight from the base's safetensors, so it needs no GPU, no model in memory, and works after QLoRA too: merging into NF4
weights and dequantizing them would bake the quantization's error into the result.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from unsloth_ft.base_model import weight_files
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.record import sync_folder

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
# safetensors' names of the floating types, and bytes an element (https://github.com/huggingface/safetensors#format)
SIXTEEN_BIT = {"BF16": "bfloat16", "F16": "float16"}
PREFIX = "base_model.model."  # what PEFT puts before a module's name
# Files of the base that the merged folder needs unchanged.
COPIED = ("generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
          "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt")


@dataclass(frozen=True)
class Adapter:
    """The low-rank pairs of a PEFT adapter. `pairs`: module name as in the base -> (A of shape (r, in), B of shape (out, r))."""

    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]
    scale: float


@dataclass(frozen=True)
class Merged:
    """What was written: `changed` weights of `targeted` ones differ from the base's after rounding to 16 bits."""

    folder: Path
    tensors: int
    targeted: int
    changed: int
    size_bytes: int


def read_adapter(folder: Path) -> Adapter:
    """Reads adapter_config.json and adapter_model.safetensors.

    Raises UserError for what would be merged wrongly: another method than LoRA, patterns, saved modules.
    """
    from safetensors.torch import load_file

    config_file, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if not config_file.is_file() or not weights.is_file():
        raise UserError(f"{folder.name}: no adapter_config.json and adapter_model.safetensors in it; expected a PEFT adapter.")
    config = json.loads(config_file.read_text(encoding="utf-8"))
    for key, plain in (("peft_type", "LORA"), ("use_dora", False), ("fan_in_fan_out", False), ("modules_to_save", None),
                       ("rank_pattern", {}), ("alpha_pattern", {}), ("bias", "none")):
        if config.get(key, plain) not in (plain, None):
            raise UserError(f"{folder.name}: adapter_config.json says {key} = {config[key]!r}; the merge knows {plain!r} only.")
    r, alpha = config["r"], config["lora_alpha"]
    scale = alpha / math.sqrt(r) if config.get("use_rslora") else alpha / r
    tensors = load_file(weights)
    pairs = {}
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
            pairs[module] = (a, tensors[name.replace("lora_A", "lora_B")])
    if len(tensors) != 2 * len(pairs):
        raise UserError(f"{folder.name}: {len(tensors) - 2 * len(pairs)} tensors in the adapter belong to no LoRA pair; they would be lost in a merge.")
    return Adapter(pairs, scale)


def merge(base: Path, adapter_folder: Path, out: Path, *, on_tensor: Callable[[int, int], None] = lambda done, total: None) -> Merged:
    """Writes the merged model to `out`, under a temporary name until it is read back and found right.

    Memory: one tensor in float32, its update, and the adapter; not the model, not a shard. `on_tensor(done, total)` is
    called after each tensor. Raises GateError when a pair finds no weight or what was written is not what was meant.
    """
    adapter = read_adapter(adapter_folder)
    staging = out.with_name(f".{out.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        written = _write(base, adapter, staging, on_tensor)
        check(base, adapter, staging)
        for name in COPIED:
            if (base / name).is_file():
                shutil.copyfile(base / name, staging / name)
        _write_config(base, staging)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        needed = sum(file.stat().st_size for file in weight_files(base))
        raise MachineError(f"{out.name}: can't be written ({error.strerror}); about {needed / 2**30:.1f} GiB are needed. Free some space and export again.") from None
    if out.exists():
        shutil.rmtree(out)
    os.replace(staging, out)
    sync_folder(out.parent)
    size = sum(file.stat().st_size for file in out.iterdir())
    return Merged(out, written.tensors, written.targeted, written.changed, size)


def merged_weight(weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """W + scale·B·A of shape (out, in), computed in float32 and rounded once (LoRA, arXiv 2106.09685, section 4.1)."""
    update = b.float() @ a.float()
    return (weight.float() + scale * update).to(weight.dtype)


def check(base: Path, adapter: Adapter, merged: Path) -> None:
    """Reads every tensor back: finite, targeted ones as computed, all others equal to the base's. Raises GateError."""
    import torch
    from safetensors import safe_open

    for source in weight_files(base):
        with safe_open(source, framework="pt") as before, safe_open(merged / source.name, framework="pt") as after:
            if set(before.keys()) != set(after.keys()):
                raise GateError(f"{merged.name}/{source.name}: its tensors are not the base's.")
            for name in before.keys():
                expected, found = _as_written(name, before.get_tensor(name), adapter), after.get_tensor(name)
                if not torch.isfinite(found).all():
                    raise GateError(f"{source.name}: {name} holds values that are no numbers after the merge.")
                if not torch.equal(expected, found):
                    raise GateError(f"{source.name}: {name} was not written as it was computed.")


def _as_written(name: str, weight: torch.Tensor, adapter: Adapter) -> torch.Tensor:
    import torch

    if weight.dtype == torch.float32:  # a float32 base leaves in bfloat16: "merged" is a 16-bit format
        pair = adapter.pairs.get(name.removesuffix(".weight"))
        return (merged_weight(weight, *pair, adapter.scale) if pair else weight).to(torch.bfloat16)
    pair = adapter.pairs.get(name.removesuffix(".weight"))
    return merged_weight(weight, *pair, adapter.scale) if pair else weight


@dataclass
class _Count:
    tensors: int = 0
    targeted: int = 0
    changed: int = 0


def _write(base: Path, adapter: Adapter, staging: Path, on_tensor: Callable[[int, int], None]) -> _Count:
    import torch
    from safetensors import safe_open

    count = _Count()
    weight_map: dict[str, str] = {}
    files = weight_files(base)
    total = sum(len(list(_headers(file))) for file in files)
    for source in files:
        with safe_open(source, framework="pt") as reader, (staging / source.name).open("wb") as stream:
            header = dict(_headers(source))
            _write_header(stream, header)
            for name in header:
                weight = reader.get_tensor(name)
                written = _as_written(name, weight, adapter)
                if name.removesuffix(".weight") in adapter.pairs:
                    count.targeted += 1
                    count.changed += not torch.equal(written, weight.to(written.dtype))
                stream.write(written.contiguous().view(torch.uint8).numpy().tobytes())
                weight_map[name] = source.name
                count.tensors += 1
                on_tensor(count.tensors, total)
            stream.flush()
            os.fsync(stream.fileno())
    if count.targeted != len(adapter.pairs):
        missing = sorted(module for module in adapter.pairs if f"{module}.weight" not in weight_map)
        raise GateError(f"the base has no weight for {len(missing)} adapted modules, {missing[0]} the first: the adapter was trained on another model.")
    if count.changed == 0 and any(bool(b.any()) for _, b in adapter.pairs.values()):
        raise GateError("the merged weights equal the base's after rounding to 16 bits: the adapter's update is too small to survive the merge.")
    if len(files) > 1:
        size = sum(file.stat().st_size for file in staging.glob("*.safetensors"))
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (staging / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True), encoding="utf-8")
    return count


def _headers(file: Path) -> Iterator[tuple[str, dict]]:
    """(name, {dtype, shape}) of every tensor, in the order of the file."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
        if entry["dtype"] not in (*SIXTEEN_BIT, "F32"):
            raise UserError(f"{file.name}: {name} is stored as {entry['dtype']}; the merge needs a base in bfloat16, float16 or float32.")
        yield name, entry


def _write_header(stream: BinaryIO, header: dict[str, dict]) -> None:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, entry in header.items():
        size = 2 * math.prod(entry["shape"])
        dtype = entry["dtype"] if entry["dtype"] in SIXTEEN_BIT else "BF16"
        entries[name] = {"dtype": dtype, "shape": entry["shape"], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8
    stream.write(len(text).to_bytes(8, "little") + text)


def _write_config(base: Path, staging: Path) -> None:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    key = "dtype" if "dtype" in config else "torch_dtype"
    if config.get(key) not in ("bfloat16", "float16"):
        config[key] = "bfloat16"
    (staging / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
