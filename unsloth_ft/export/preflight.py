"""What could fail after hours of training, tried in seconds: architecture, tokenizer, template, 16-bit base, disk and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat
from unsloth_ft.errors import MachineError, UserError
from unsloth_ft.export.gguf import check_quantization, check_shapes, check_supported, plan_tensors, planned_bytes, stored_type
from unsloth_ft.export.gguf_model import read_architecture
from unsloth_ft.export.llama_quantize import LLAMA_CPP, OWN, check_quantizer
from unsloth_ft.export.merge_memory import merge_peak_bytes
from unsloth_ft.export.merged import parameter_count
from unsloth_ft.export.ollama_model import ollama_template
from unsloth_ft.export.recorded import lies_there, recorded_exports
from unsloth_ft.export.references import answering_bytes
from unsloth_ft.export.targets import Target, complete
from unsloth_ft.hardware import Hardware, disk_free_bytes
from unsloth_ft.record import RunDirectory

MERGED_BYTES_PER_WEIGHT = 2
# Of an adapter's GGUF, against the base's 16-bit weights: r=16 on every projection is 2 % of a 135M model in f32, less of a larger one.
ADAPTER_SHARE = 0.05
# While a GGUF is written, of a model of any size: a large vocabulary as Python's objects (0.4 GB of Llama 3's), and the chunks being
# quantized.
WRITING_BYTES = 2**30
GIB = 2**30


@dataclass(frozen=True)
class Stage:
    """One step of the exports: bytes that stay on the disk, and bytes of memory beside the loaded program while it runs.

    `needed` is false for a comparison that is left out, with a note, where the memory doesn't reach.
    """

    name: str
    disk_bytes: int
    memory_bytes: int
    needed: bool = True


def preflight(
    targets: Sequence[Target], base: BaseModel, chat: Chat, directory: RunDirectory, machine: Hardware, *, dtype: str, quantizer: str = OWN
) -> tuple[Stage, ...]:
    """Every stage of the exports that aren't there yet, with its disk and memory.

    Raises UserError for what can't be exported at all, MachineError when disk or memory are too small, with the numbers.
    """
    wanted = complete(targets)
    check_quantizer(quantizer)
    refuse_quantized(wanted, base)
    quantizations = [str(target.quantization) for target in wanted if target.is_gguf]
    for quantization in quantizations:
        check_quantization(quantization)
        check_shapes(read_architecture(base.folder), quantization)
    if quantizations:
        check_supported(base.folder, quantizations[0])  # reads the whole vocabulary, which is the same for all
    if any(target.kind in ("ollama", "gguf-lora") for target in targets):
        ollama_template(chat)
    done = recorded_exports(directory) if directory.record_file.is_file() else {}
    left = [target for target in wanted if not lies_there(done.get(target), directory)]
    found = stages(left, base, dtype=dtype, quantizer=quantizer, merged=lies_there(done.get(Target("merged")), directory))
    _refuse_too_small(found, free_bytes=disk_free_bytes(directory.path.absolute()), memory_bytes=machine.memory_bytes)
    return found


def refuse_quantized(targets: Sequence[Target], base: BaseModel) -> None:
    """Raises UserError when the weights at hand are quantized: an adapter is merged into 16-bit ones, also after QLoRA."""
    method = (base.config.get("quantization_config") or {}).get("quant_method")
    merging = [target for target in targets if target.kind != "adapter"]
    if method and merging:
        raise UserError(
            f"{base.model}: its weights are quantized ({method}), and {merging[0]} is made from the 16-bit base. "
            "Name that with --model; load_in_4bit quantizes it for training."
        )


def stages(
    targets: Sequence[Target], base: BaseModel, *, dtype: str, quantizer: str = OWN, merged: bool = False
) -> tuple[Stage, ...]:
    """Merge and comparison come once, whatever is made from the merged model; nothing for an adapter or a Modelfile.

    `merged`: the merged model lies there already.
    """
    models = [target for target in targets if target.is_gguf]
    if not models and not any(target.kind == "merged" for target in targets):
        return ()
    weights = parameter_count(base.folder) * MERGED_BYTES_PER_WEIGHT
    answering = answering_bytes(base.folder, dtype=dtype)
    merge = [] if merged else [Stage("merge", weights, merge_peak_bytes(base.folder, None))]
    found = [*merge, Stage("merged model answers", 0, answering, needed=False)]
    for target in models:
        quantization = str(target.quantization)
        size, adapter = planned_bytes(base.folder, quantization), int(ADAPTER_SHARE * weights) if target.kind == "gguf-lora" else 0
        between = planned_bytes(base.folder, stored_type_of(base)) if quantizer == LLAMA_CPP else 0
        found += [
            Stage(f"{target} written", size + adapter + between, WRITING_BYTES),
            Stage(f"{target} answers in llama.cpp", 0, size + adapter, needed=False),
        ]
    return tuple(found)


def stored_type_of(base: BaseModel) -> str:
    """The GGUF type that llama.cpp's quantizer is given the weights in."""
    return stored_type(plan_tensors(base.folder, read_architecture(base.folder), "f16"))


def _refuse_too_small(found: Sequence[Stage], *, free_bytes: int, memory_bytes: int) -> None:
    disk = sum(stage.disk_bytes for stage in found)
    if disk > free_bytes:
        parts = ", ".join(f"{stage.name} {stage.disk_bytes / GIB:.1f}" for stage in found if stage.disk_bytes)
        raise MachineError(
            f"the exports need about {disk / GIB:.1f} GiB of disk ({parts}), {free_bytes / GIB:.1f} GiB are free. "
            "Free some space, name another disk with --out, or leave an export out; `unsloth-ft export RUN --to …` can make it later."
        )
    short = [stage for stage in found if stage.needed and stage.memory_bytes > memory_bytes]
    if short:
        raise MachineError(
            f"{short[0].name} needs {short[0].memory_bytes / GIB:.1f} GiB of memory, this machine has {memory_bytes / GIB:.1f} GiB. "
            "Leave the export out; `unsloth-ft export RUN --to …` can make it later, on another machine."
        )
