"""Tensors from safetensors into a GGUF file, a few rows at a time: memory stays flat whatever the size of the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from unsloth_ft.errors import GateError, UserError

CHUNK_BYTES = 64 * 2**20  # of float32; quantizing in numpy takes a few times as much beside it
# Largest difference that rounding can make, relative to the largest value of a block (q8_0: 127 steps of a float16 scale) or to the
# value itself (f16: 11 significant bits, bf16: 8); a little is added for the scale's own rounding.
ROUNDING = {"f32": 0.0, "f16": 2.0**-11, "bf16": 2.0**-8, "q8_0": 0.5 / 127 + 2.0**-11}
F16_OVERFLOW = 65520.0  # from here on a value rounds to infinity
SMALLEST_F16 = 2.0**-24  # half floats near zero are this far apart
BLOCK = 32  # values that share a scale in q8_0


@dataclass(frozen=True)
class Source:
    """One tensor of an HF folder: where it lies and what it looks like."""

    name: str
    file: Path
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """One tensor of the GGUF file. `heads` is set where the rows must be reordered for llama.cpp."""

    name: str
    source: Source
    type_name: str  # a key of ROUNDING
    heads: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def size_bytes(self) -> int:
        return size_bytes(self.shape, self.type_name)


class Rows:
    """What `gguf.GGUFWriter.write_tensor_data` needs of an array, made chunk by chunk: its size, and a way into the file."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.nbytes = target.size_bytes

    def tofile(self, file: BinaryIO) -> None:
        import gguf

        for values in chunks(self.target):
            check_finite(values, self.target)
            gguf.quantize(values, ggml_type(self.target.type_name)).tofile(file)


def sources(model_dir: Path) -> dict[str, Source]:
    """Every tensor of model.safetensors, or of the shards that model.safetensors.index.json names.

    Raises: UserError when a shard is missing or holds other tensors than the index says.
    """
    from safetensors import SafetensorError, safe_open

    index = model_dir / "model.safetensors.index.json"
    single = model_dir / "model.safetensors"
    weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.is_file() else None
    files = sorted({model_dir / name for name in weight_map.values()}) if weight_map else [single]
    found: dict[str, Source] = {}
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: not found. Export a folder with a complete merged model (safetensors).")
        try:
            with safe_open(file, "pt") as tensors:
                found |= {name: Source(name, file, tuple(tensors.get_slice(name).get_shape())) for name in tensors.keys()}
        except SafetensorError as error:
            raise UserError(f"{file}: not a whole safetensors file ({error}). Write the merged model again.") from error
    if weight_map and set(weight_map) != set(found):
        other = min(set(weight_map) ^ set(found))
        raise UserError(f"{index}: does not agree with its shards about the tensor {other!r}. Write the merged model again.")
    return found


def chunks(target: Target) -> Iterator[Any]:
    """The tensor's values as float32 arrays of whole rows, in the order of the file."""
    import torch
    from safetensors import safe_open

    with safe_open(target.source.file, "pt") as tensors:
        rows = tensors.get_slice(target.source.name)
        if target.heads is not None or len(target.shape) == 1:  # reordering needs the whole; q and k are small
            whole = tensors.get_tensor(target.source.name).to(torch.float32)
            yield (whole if target.heads is None else permute(whole, target.heads)).numpy()
            return
        step = max(1, CHUNK_BYTES // (4 * target.shape[1]))
        for start in range(0, target.shape[0], step):
            yield rows[start : start + step].to(torch.float32).numpy()


def permute(weight: Any, heads: int) -> Any:
    """Rows of a q or k projection (or its bias), `(heads * head_dim, …)`, from HF's order to llama.cpp's.

    HF rotates the two halves of a head against each other, llama.cpp neighbouring pairs: the halves are interleaved.
    """
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape).contiguous()


def check_finite(values: Any, target: Target) -> None:
    """Raises: GateError when the source holds NaN or infinity, or a value that float16 can't hold."""
    import numpy

    where = f"{target.source.file}: the tensor {target.source.name!r}"
    largest = float(numpy.abs(values).max())
    if not numpy.isfinite(largest):
        raise GateError(f"{where} holds NaN or infinity. The model is broken; nothing was exported.")
    if target.type_name == "f16" and largest >= F16_OVERFLOW:
        raise GateError(f"{where} reaches {largest:.6g}, and f16 ends at 65504. Export as bf16 or q8_0.")


def size_bytes(shape: tuple[int, ...], type_name: str) -> int:
    import gguf

    block, block_bytes = gguf.GGML_QUANT_SIZES[ggml_type(type_name)]
    count = 1
    for size in shape:
        count *= size
    return count // block * block_bytes


def ggml_type(type_name: str) -> Any:
    import gguf

    return gguf.GGMLQuantizationType[type_name.upper()]


def largest_excess(wanted: Any, found: Any, type_name: str) -> float:
    """How far `found` is from `wanted` beyond what rounding explains, both `(rows, columns)` in float32; 0.0 when it is not."""
    import numpy

    scale = numpy.abs(wanted)
    if type_name == "q8_0":
        blocks = scale.reshape(-1, BLOCK)
        scale = numpy.broadcast_to(blocks.max(axis=1, keepdims=True), blocks.shape).reshape(wanted.shape)
    allowed = scale * ROUNDING[type_name] + (0.0 if type_name == "f32" else SMALLEST_F16)
    return float(numpy.maximum(numpy.abs(wanted - found) - allowed, 0.0).max())
