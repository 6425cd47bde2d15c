"""Tensors from safetensors into a GGUF file, some rows at a time: memory stays flat whatever the size of the model.

Files are read, not mapped: mapped pages would count as this process's memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export import shards
from unsloth_ft.export.gguf_types import size_bytes

if TYPE_CHECKING:
    import torch

# Weights that are read and quantized at a time: 16 MB in float32 on a CPU. A GPU is worth its transfers with more.
CPU_CHUNK = 2**22
GPU_CHUNK = 2**24
GPU_BYTES = 4 * 2**30  # what quantizing a GPU's chunk takes at most (q2_K), and some room
F16_OVERFLOW = 65520.0  # from here on a value rounds to infinity
DIRECT = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}  # types that are torch's own


@dataclass(frozen=True)
class Source:
    """One tensor of an HF folder: where it lies and what it looks like."""

    name: str
    file: Path
    stored: shards.Stored

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape


@dataclass(frozen=True)
class Target:
    """One tensor of the GGUF file. `heads` is set where the rows must be reordered for llama.cpp."""

    name: str
    source: Source
    type_name: str  # a key of gguf_types.BLOCKS
    heads: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def size_bytes(self) -> int:
        return size_bytes(self.shape, self.type_name)

    @property
    def head_rows(self) -> int:
        """Rows that have to be read together."""
        return 1 if self.heads is None else self.shape[0] // self.heads


@dataclass(frozen=True)
class Constant:
    """A tensor that is computed, not read: `values` in float32, one-dimensional."""

    name: str
    values: Any
    type_name: str = "f32"
    head_rows: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def size_bytes(self) -> int:
        return self.values.nbytes


@dataclass(frozen=True)
class Rows:
    """What `gguf.GGUFWriter.write_tensor_data` needs of an array, made chunk by chunk: its size, and a way into the file."""

    target: Target
    device: str

    @property
    def nbytes(self) -> int:
        return self.target.size_bytes

    def tofile(self, file: BinaryIO) -> None:
        step = CPU_CHUNK if self.device == "cpu" else GPU_CHUNK
        for values in chunks(self.target, step):
            file.write(encode(values, self.target, self.device))


def sources(model_dir: Path) -> dict[str, Source]:
    """Every tensor of model.safetensors, or of the shards that model.safetensors.index.json names.

    Raises: UserError when a shard is missing or holds other tensors than the index says.
    """
    index = model_dir / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.is_file() else None
    files = sorted({model_dir / name for name in weight_map.values()}) if weight_map else [model_dir / "model.safetensors"]
    found: dict[str, Source] = {}
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: not found. Export a folder with a complete merged model (safetensors).")
        found |= {name: Source(name, file, stored) for name, stored in shards.read_header(file).items()}
    if weight_map and set(weight_map) != set(found):
        other = min(set(weight_map) ^ set(found))
        raise UserError(f"{index}: does not agree with its shards about the tensor {other!r}. Write the merged model again.")
    return found


def check_tied(model_dir: Path) -> None:
    """For a model with tied embeddings: an output layer that is stored all the same must be the embedding, bit for bit.

    Raises: UserError where it is not: transformers 5 does not tie it then, and llama.cpp would compute with the embedding.
    """
    import torch

    found = sources(model_dir)
    head, embedding = found.get("lm_head.weight"), found["model.embed_tokens.weight"]
    if head is None:
        return
    both = (chunks(Target(source.name, source, "f32"), CPU_CHUNK) for source in (head, embedding))
    if head.shape != embedding.shape or not all(torch.equal(one, other) for one, other in zip(*both, strict=True)):
        raise UserError(
            f"{head.file}: lm_head.weight is not the embedding, and {model_dir / 'config.json'} says that they are tied; transformers "
            'computes with both. Set "tie_word_embeddings" to false there.'
        )


def chunks(target: Target, step: int) -> Iterator[torch.Tensor]:
    """The tensor's values as stored, about `step` of them at a time: whole rows, in the order of the GGUF file."""
    rows = max(1, step * target.shape[0] // max(1, target.source.stored.size))
    rows = max(1, rows // target.head_rows) * target.head_rows
    with target.source.file.open("rb") as stream:
        for start in range(0, target.shape[0], rows):
            yield read_rows(stream, target, start, min(start + rows, target.shape[0]))


def read_rows(stream: BinaryIO, target: Target, start: int, stop: int) -> torch.Tensor:
    """Rows of the GGUF tensor (whole heads where they are reordered) as stored, `(rows, …)`, in memory of their own."""
    values = shards.read_rows(stream, target.source.stored, start, stop).reshape(-1, *target.shape[1:])
    return values if target.heads is None else permute(values, (stop - start) // target.head_rows)


def permute(weight: Any, heads: int) -> Any:
    """Rows of a q or k projection (or its bias), `(heads * head_dim, …)`, from HF's order to llama.cpp's.

    HF rotates the two halves of a head against each other, llama.cpp neighbouring pairs: the halves are interleaved.
    """
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape).contiguous()


def encode(values: torch.Tensor, target: Target, device: str) -> memoryview:
    """The values' bytes in the file.

    Raises: GateError when the source holds NaN or infinity, or a value or a block's scale that float16 can't hold.
    """
    import torch

    from unsloth_ft.export.kquants import quantize

    check_finite(values, target)
    if target.type_name in DIRECT:
        return shards.as_bytes(values.to(getattr(torch, DIRECT[target.type_name])))
    try:
        return quantize(values.to(device).to(torch.float32), target.type_name).cpu().numpy().data
    except OverflowError as error:
        where = f"{target.source.file}: the tensor {target.source.name!r}"
        raise GateError(f"{where} can't be written as {target.type_name}: {error}. Export as bf16.") from error


def check_finite(values: torch.Tensor, target: Target) -> None:
    low, high = (float(value) for value in values.aminmax())  # NaN, where there is one
    largest = max(abs(low), abs(high))
    where = f"{target.source.file}: the tensor {target.source.name!r}"
    if not largest < float("inf"):
        raise GateError(f"{where} holds NaN or infinity. The model is broken; nothing was exported.")
    if target.type_name == "f16" and largest >= F16_OVERFLOW:
        raise GateError(f"{where} reaches {largest:.6g}, and f16 ends at 65504. Export as bf16 or q8_0.")


def quantizing_device() -> str:
    """A GPU with room to quantize on, or the CPU."""
    import torch

    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > GPU_BYTES:
        return "cuda"
    return "cpu"


def ggml_type(type_name: str) -> Any:
    import gguf

    return gguf.GGMLQuantizationType[type_name.upper()]


def type_name_of(kind: int) -> str:
    """The type's name as `ggml_type` takes it."""
    import gguf

    return gguf.GGMLQuantizationType(kind).name.lower()
