"""What could fail after hours of training, tried in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat
from unsloth_ft.errors import MachineError
from unsloth_ft.export.gguf import check_quantization, check_shapes, check_supported, planned_bytes
from unsloth_ft.export.gguf_model import read_architecture
from unsloth_ft.export.merged import parameter_count
from unsloth_ft.export.ollama_model import ollama_template
from unsloth_ft.export.targets import Target, complete
from unsloth_ft.hardware import disk_free_bytes
from unsloth_ft.record import RunDirectory

MERGED_BYTES_PER_WEIGHT = 2


def preflight(targets: Sequence[Target], base: BaseModel, chat: Chat, directory: RunDirectory) -> None:
    """Architecture, tokenizer, template and disk, before a weight is loaded.

    Raises UserError for what can't be exported at all, MachineError when the disk is too small, with the numbers.
    """
    quantizations = [target.quantization for target in complete(targets) if target.is_gguf]
    for quantization in quantizations:
        check_quantization(quantization)
        check_shapes(read_architecture(base.folder), quantization)
    if quantizations:
        check_supported(base.folder, quantizations[0])  # reads the whole vocabulary, which is the same for all
    if any(target.kind in ("ollama", "gguf-lora") for target in targets):
        ollama_template(chat)
    done = directory.read().get("exports", {}) if directory.record_file.is_file() else {}
    needed = disk_needed_bytes([target for target in complete(targets) if not _lies_there(done.get(str(target)), directory)], base)
    free = disk_free_bytes(directory.path.absolute())
    if needed > free:
        raise MachineError(
            f"the exports need about {needed / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free. "
            "Free some space, name another disk with --out, or leave an export out; `unsloth-ft export RUN --to …` can make it later."
        )


def disk_needed_bytes(targets: Sequence[Target], base: BaseModel) -> int:
    """Merged model (also when it is only a step on the way) plus every GGUF; nothing for an adapter or a Modelfile."""
    quantizations = [target.quantization for target in targets if target.is_gguf]
    if not quantizations and not any(target.kind == "merged" for target in targets):
        return 0
    merged = parameter_count(base.folder) * MERGED_BYTES_PER_WEIGHT
    return merged + sum(planned_bytes(base.folder, quantization) for quantization in quantizations)


def _lies_there(result: dict[str, Any] | None, directory: RunDirectory) -> bool:
    """Whether the export passed its checks, and its files have the recorded sizes."""
    if result is None or not all(check["ok"] for check in result["checks"]):
        return False
    files = [(directory.path / file["name"], file["bytes"]) for file in result["files"]]
    return all(path.is_file() and path.stat().st_size == size for path, size in files)
