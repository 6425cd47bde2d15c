"""The adapter merged into the 16-bit base: W + scale·B·A in float32, written tensor by tensor.

Straight from the base's safetensors, so it needs no GPU, no model in memory, and works after QLoRA too: merging into NF4
weights and dequantizing them would bake the quantization's error into the result.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unsloth_ft.base_model import weight_files
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export.lora import Adapter, read_adapter
from unsloth_ft.export.shards import INDEX, SIXTEEN_BIT, Stored, read_header, read_tensor, write_header
from unsloth_ft.record import sync_folder

if TYPE_CHECKING:
    import torch

__all__ = ["Adapter", "Merged", "check", "merge", "merged_weight", "parameter_count", "read_adapter"]

# Files of the base that the merged folder needs unchanged: what tokenizes, what stops, and the licence that must go along.
COPIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "tekken.json",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    "USE_POLICY.md",
)


@dataclass(frozen=True)
class Merged:
    """What was written: `changed` weights of `targeted` ones differ from the base's after rounding to 16 bits."""

    folder: Path
    tensors: int
    targeted: int
    changed: int
    size_bytes: int


def merge(base: Path, adapter_folder: Path, out: Path, *, on_tensor: Callable[[int, int], None] = lambda done, total: None) -> Merged:
    """Writes the merged model to `out`, under a temporary name until it is read back and found right.

    Memory: one tensor in float32, its update, and the adapter; not the model, not a shard. `on_tensor(done, total)` is
    called after each tensor. Whatever is raised, `out` is what it was before.

    Raises UserError for an adapter that is no plain LoRA or another model's, MachineError when the disk is full, GateError
    when the result holds NaN, is the base again, or does not read back as computed.
    """
    adapter = read_adapter(adapter_folder)
    stored = {file: read_header(file) for file in weight_files(base)}
    _refuse_other_model(adapter, stored)
    staging, previous = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.previous")
    with _clean(staging, previous, out, needed_bytes=sum(2 * entry.size for entries in stored.values() for entry in entries.values())):
        count = _write(adapter, stored, staging, on_tensor)
        if count.changed == 0 and any(bool(b.any()) for _, b in adapter.pairs.values()):
            raise GateError(
                f"{out.name}: the merged weights equal the base's after rounding to 16 bits: "
                "the adapter's update is too small to survive the merge. "
                "Train longer, or with a higher learning_rate; or serve the adapter unmerged."
            )
        check(base, adapter, staging)
        for name in COPIED:
            if (base / name).is_file():
                shutil.copyfile(base / name, staging / name)
        _write_config(base, staging, stored)
        for file in staging.iterdir():
            _sync(file)
        # A folder can't be replaced in one step; between these two the whole old one lies beside, and the next merge finds it.
        if out.exists():
            os.replace(out, previous)
        os.replace(staging, out)
        sync_folder(out.parent)
    size = sum(file.stat().st_size for file in out.iterdir())
    return Merged(out, count.tensors, count.targeted, count.changed, size)


def merged_weight(weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """W + scale·B·A of shape (out, in), computed in float32 and rounded once (LoRA, arXiv 2106.09685, section 4.1)."""
    import torch

    merged = weight.float() if weight.dtype != torch.float32 else weight.clone()
    return merged.addmm_(b.float(), a.float(), alpha=scale).to(weight.dtype)


def parameter_count(base: Path) -> int:
    """Number of weights, from the headers of the safetensors files."""
    return sum(entry.size for file in weight_files(base) for entry in read_header(file).values())


def check(base: Path, adapter: Adapter, merged: Path) -> None:
    """Reads every tensor back: finite, targeted ones as computed, all others equal to the base's. Raises GateError."""
    sources = weight_files(base)
    names = {file.name: read_header(file) for file in sources}
    _check_index(merged, names)
    for source in sources:
        path = merged / source.name
        try:
            written = read_header(path)
        except UserError as error:
            raise GateError(f"the merged {error}") from None
        missing, extra = sorted(names[source.name].keys() - written), sorted(written.keys() - names[source.name])
        if missing or extra:
            said = f"{missing[0]} is missing" if missing else f"{extra[0]} is none of the base's"
            raise GateError(f"{path.name}: {said} ({len(missing)} missing, {len(extra)} too many).")
        for name, entry in names[source.name].items():
            _check_tensor(
                f"{path.name}: {name}",
                read_tensor(path, written[name]),
                read_tensor(source, entry),
                adapter.pairs.get(_module(name)),
                adapter,
            )


def _check_tensor(
    where: str, found: torch.Tensor, weight: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor] | None, adapter: Adapter
) -> None:
    import torch

    expected = _as_written(weight, pair, adapter)
    if found.dtype != expected.dtype:
        raise GateError(f"{where} was written as {found.dtype}; expected {expected.dtype}.")
    if found.shape != expected.shape:
        raise GateError(f"{where} was written with the shape {tuple(found.shape)}; expected {tuple(expected.shape)}.")
    if not torch.isfinite(found).all():
        raise GateError(f"{where} holds values that are no finite numbers after the merge.")
    if torch.equal(expected, found):
        return
    if pair and torch.equal(found, weight.to(found.dtype)):
        raise GateError(f"{where} is the base's weight; the adapter's update is not in it.")
    wrong = int((expected != found).sum())
    raise GateError(f"{where} was not written as it was computed: {wrong:,} of {found.numel():,} values differ.")


def _check_index(merged: Path, names: dict[str, dict[str, Stored]]) -> None:
    if list(names) == ["model.safetensors"]:
        return
    weight_map = {name: file for file, entries in names.items() for name in entries}
    if not (merged / INDEX).is_file() or json.loads((merged / INDEX).read_text(encoding="utf-8")).get("weight_map") != weight_map:
        raise GateError(f"{merged.name}: {INDEX} is missing or does not name each tensor's file.")


def _refuse_other_model(adapter: Adapter, stored: dict[Path, dict[str, Stored]]) -> None:
    """By names and shapes, before a byte is written. Equal shapes of another model are told apart by the run's fingerprint."""
    shapes = {_module(name): entry.shape for entries in stored.values() for name, entry in entries.items() if name.endswith(".weight")}
    missing = sorted(module for module in adapter.pairs if module not in shapes)
    if missing:
        raise UserError(
            f"the base has no weight for {len(missing)} of {len(adapter.pairs)} adapted modules, {missing[0]} the first: "
            "the adapter was trained on another model."
        )
    for module, (a, b) in sorted(adapter.pairs.items()):
        if shapes[module] != (b.shape[0], a.shape[1]):
            raise UserError(
                f"{module}: the base's weight has the shape {shapes[module]} and the adapter's update {(b.shape[0], a.shape[1])}: "
                "the adapter was trained on another model."
            )


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _as_written(weight: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor] | None, adapter: Adapter) -> torch.Tensor:
    import torch

    merged = merged_weight(weight, *pair, adapter.scale) if pair else weight
    # A float32 base leaves in bfloat16: "merged" is a 16-bit format.
    return merged.to(torch.bfloat16) if weight.dtype == torch.float32 else merged


@dataclass
class _Count:
    tensors: int = 0
    targeted: int = 0
    changed: int = 0


def _write(adapter: Adapter, stored: dict[Path, dict[str, Stored]], staging: Path, on_tensor: Callable[[int, int], None]) -> _Count:
    import torch

    count = _Count()
    total = sum(map(len, stored.values()))
    for source, entries in stored.items():
        with (staging / source.name).open("wb") as stream:
            write_header(stream, entries)
            for name, entry in entries.items():
                weight = read_tensor(source, entry)
                pair = adapter.pairs.get(_module(name))
                written = _as_written(weight, pair, adapter)
                if pair:
                    count.targeted += 1
                    count.changed += not torch.equal(written, weight.to(written.dtype))
                stream.write(written.contiguous().reshape(-1).view(torch.uint8).numpy())
                count.tensors += 1
                on_tensor(count.tensors, total)
    if [file.name for file in stored] != ["model.safetensors"]:
        weight_map = {name: source.name for source, entries in stored.items() for name in entries}
        size = sum(2 * entry.size for entries in stored.values() for entry in entries.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (staging / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return count


def _write_config(base: Path, staging: Path, stored: dict[Path, dict[str, Stored]]) -> None:
    """The base's config.json, byte for byte unless it names a dtype that was not written."""
    text = (base / "config.json").read_bytes()
    config = json.loads(text)
    key = "dtype" if "dtype" in config else "torch_dtype"
    if config.get(key) not in SIXTEEN_BIT.values():
        first = next(entry for entries in stored.values() for entry in entries.values())
        config[key] = SIXTEEN_BIT.get(first.dtype, "bfloat16")
        text = (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
    (staging / "config.json").write_bytes(text)


@contextmanager
def _clean(staging: Path, previous: Path, out: Path, *, needed_bytes: int) -> Iterator[None]:
    """An empty staging folder, gone whatever happens; and `out` as it was before when something does."""
    with ExitStack() as stack:
        try:
            _put_back(previous, out)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            stack.callback(shutil.rmtree, previous, ignore_errors=True)
            stack.callback(_put_back, previous, out)
            stack.callback(shutil.rmtree, staging, ignore_errors=True)
            yield
        except OSError as error:
            raise MachineError(
                f"{out.name}: can't be written ({error.strerror or error}); about {needed_bytes / 2**30:.1f} GiB are needed. "
                "Free some space and export again."
            ) from error


def _put_back(previous: Path, out: Path) -> None:
    if previous.exists() and not out.exists():
        os.replace(previous, out)


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
