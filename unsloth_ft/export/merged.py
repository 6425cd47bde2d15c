"""The adapter merged into the 16-bit base, written block by block.

Straight from the base's safetensors, so it needs no GPU, no model in memory, and works after QLoRA too: merging into NF4
weights and dequantizing them would bake the quantization's error into the result.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unsloth_ft.base_model import read_json, weight_files
from unsloth_ft.disk import sync
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export.lora import Adapter, read_adapter
from unsloth_ft.export.merge_plan import MergePlan, plan_merge
from unsloth_ft.export.merged_files import file_names, tokenizer_folder, weight_map, write_files
from unsloth_ft.export.shards import INDEX, TORCH_NAMES, Stored, as_bytes, encode_header, read_header, read_rows
from unsloth_ft.export.staging import Staging, Written, inputs_of
from unsloth_ft.export.updates import Planned, blocks
from unsloth_ft.hardware import disk_free_bytes


@dataclass(frozen=True)
class Merged:
    """What was written: `changed` tensors of `targeted` ones differ from the base's after rounding to 16 bits.

    `notes`: what a reader of the folder might not expect.
    """

    folder: Path
    tensors: int
    targeted: int
    changed: int
    size_bytes: int
    notes: tuple[str, ...]


def merge(base: Path, adapter_folder: Path, out: Path, *, on_tensor: Callable[[int, int], None] = lambda done, total: None) -> Merged:
    """Writes the merged model to `out`, under a temporary name until it is read back and found right.

    Memory: a block of rows, and the adapter; not the model, not a tensor. `on_tensor(done, total)` is called after each tensor.
    Whatever is raised, `out` is what it was before. After a kill, or where the disk was full, the same call goes on with the
    files that were whole.

    Raises UserError for an adapter that can't be merged or is another model's, MachineError when the disk is full, GateError
    when the result holds NaN, is the base again, or does not read back as computed.
    """
    adapter = read_adapter(adapter_folder)
    plan = plan_merge(base, adapter)
    tokenizer = tokenizer_folder(base, adapter_folder, rows=plan.vocabulary_rows)
    names = file_names(base, tokenizer, plan)
    with _replacing(out, needed_bytes=plan.size_bytes) as folder:
        staging = Staging(folder, inputs_of(base, adapter_folder, adapter.weights))
        written = _write_shards(plan, staging, on_tensor)
        changed = sum(shard.changed for shard in written)
        if changed == 0 and any(bool(b.any()) for _, b in adapter.pairs.values()):
            raise GateError(
                f"{out.name}: the merged weights equal the base's after rounding to 16 bits: "
                "the adapter's update is too small to survive the merge. "
                "Train longer, or with a higher learning_rate; or serve the adapter unmerged."
            )
        write_files(base, tokenizer, folder, plan)
        _check_index(folder, plan)
        staging.finish(names)
    size = sum((out / name).stat().st_size for name in names)
    return Merged(out, len(plan.tensors), sum(shard.targeted for shard in written), changed, size, _notes(plan))


def parameter_count(base: Path) -> int:
    """Number of weights, from the headers of the safetensors files."""
    return sum(entry.size for file in weight_files(base) for entry in read_header(file).values())


def check(base: Path, adapter: Adapter, merged: Path) -> None:
    """Reads every tensor back: finite, targeted ones as computed, all others equal to the base's. Raises GateError."""
    plan = plan_merge(base, adapter)
    _check_index(merged, plan)
    for file, tensors in plan.shards.items():
        _check_shard(merged / file, tensors)


def _notes(plan: MergePlan) -> tuple[str, ...]:
    notes = []
    if "tie_word_embeddings" in plan.config_changes:
        notes.append("embedding and output layer are two tensors now, because the adapter changes them differently")
    if "vocab_size" in plan.config_changes:
        notes.append(f"the vocabulary has {plan.config_changes['vocab_size']:,} rows now")
    return tuple(notes)


def _write_shards(plan: MergePlan, staging: Staging, on_tensor: Callable[[int, int], None]) -> list[Written]:
    """Every file of weights, written and read back, unless an earlier call did so."""
    written, done, total = [], 0, len(plan.tensors)
    for file, tensors in plan.shards.items():
        shard = staging.kept(file)
        if shard is None:
            shard = _write_shard(staging.folder / file, tensors, lambda number, before=done: on_tensor(before + number, total))
            _check_shard(staging.folder / file, tensors)
            staging.keep(file, shard)
        else:
            on_tensor(done + len(tensors), total)
        done += len(tensors)
        written.append(shard)
    return written


def _write_shard(path: Path, tensors: Sequence[Planned], on_tensor: Callable[[int], None]) -> Written:
    changed, digest = 0, hashlib.sha256()
    try:
        with path.open("wb") as stream:
            header = encode_header((tensor.name, tensor.dtype, tensor.source.stored.shape) for tensor in tensors)
            stream.write(header)
            digest.update(header)
            for number, tensor in enumerate(tensors, 1):
                changed += _write_tensor(tensor, stream.write, digest.update)
                on_tensor(number)
        sync(path)
    except OSError:
        path.unlink(missing_ok=True)  # half a file is of no use, and its space may be what is missing
        raise
    return Written(digest.hexdigest(), sum(tensor.targeted for tensor in tensors), changed)


def _write_tensor(tensor: Planned, *sinks: Callable[[memoryview], object]) -> bool:
    """Whether a targeted tensor's written values differ from the base's."""
    import torch

    differs = tensor.base is None
    for block in blocks(tensor):
        if tensor.targeted and not differs:
            differs = not torch.equal(block.merged, block.base.to(block.merged.dtype))
        data = as_bytes(block.merged)
        for sink in sinks:
            sink(data)
    return tensor.targeted and differs


def _check_shard(path: Path, tensors: Sequence[Planned]) -> None:
    """Every tensor against its value, computed again."""
    try:
        written = read_header(path)
    except UserError as error:
        raise GateError(f"the merged {error}") from None
    expected = {tensor.name for tensor in tensors}
    missing, extra = sorted(expected - written.keys()), sorted(written.keys() - expected)
    if missing or extra:
        said = f"{missing[0]} is missing" if missing else f"{extra[0]} is none of the base's"
        raise GateError(f"{path.name}: {said} ({len(missing)} missing, {len(extra)} too many).")
    for tensor in tensors:
        _check_tensor(path, written[tensor.name], tensor)


def _check_tensor(path: Path, written: Stored, tensor: Planned) -> None:
    import torch

    where, shape = f"{path.name}: {tensor.name}", tensor.source.stored.shape
    if written.dtype != tensor.dtype:
        raise GateError(f"{where} was written as {TORCH_NAMES[written.dtype]}; expected {TORCH_NAMES[tensor.dtype]}.")
    if written.shape != shape:
        raise GateError(f"{where} was written with the shape {written.shape}; expected {shape}.")
    wrong, is_base = 0, tensor.targeted and tensor.base is not None
    with path.open("rb") as stream:
        for block in blocks(tensor):
            found = read_rows(stream, written, block.begin, block.begin + block.merged.shape[0])
            if not torch.isfinite(found).all():
                raise GateError(f"{where} holds values that are no finite numbers after the merge.")
            if not torch.equal(block.merged, found):
                wrong += int((block.merged != found).sum())
            is_base = is_base and torch.equal(found, block.base.to(found.dtype))
    if wrong and is_base:
        raise GateError(f"{where} is the base's weight; the adapter's update is not in it.")
    if wrong:
        raise GateError(f"{where} was not written as it was computed: {wrong:,} of {written.size:,} values differ.")


def _check_index(merged: Path, plan: MergePlan) -> None:
    if list(plan.shards) == ["model.safetensors"]:
        return
    try:
        found = read_json(merged / INDEX).get("weight_map")
    except UserError:
        found = None
    if found != weight_map(plan):
        raise GateError(f"{merged.name}: {INDEX} is missing or does not name each tensor's file.")


@contextmanager
def _replacing(out: Path, *, needed_bytes: int) -> Iterator[Path]:
    """A folder beside `out` that takes its place at the end, and not before."""
    staging, previous = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.previous")
    try:
        restore(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        yield staging
        # A folder can't be replaced in one step; between these two the whole old one lies beside, and the next merge finds it.
        if out.exists():
            os.replace(out, previous)
        os.replace(staging, out)
        sync(out.parent)
    except GateError:
        shutil.rmtree(staging, ignore_errors=True)  # the same inputs would give the same again
        raise
    except OSError as error:
        free = disk_free_bytes(out.parent)
        raise MachineError(
            f"{out.name}: can't be written ({error.strerror or error}); about {needed_bytes / 2**30:.1f} GiB are needed, "
            f"{free / 2**30:.1f} GiB are free. Free some space and export again; what is whole is kept."
        ) from error
    finally:
        restore(out)


def restore(out: Path) -> None:
    """The merged folder of before gets its name again, where a kill or an error struck between the two renames; else its rest goes."""
    previous = out.with_name(f".{out.name}.previous")
    if previous.exists() and not out.exists():
        os.replace(previous, out)
    shutil.rmtree(previous, ignore_errors=True)
