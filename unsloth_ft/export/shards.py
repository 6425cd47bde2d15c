"""safetensors files, some rows of a tensor at a time and without a memory map: resident memory stays that of a block.

The format: 8 bytes length, a JSON header, the data (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from unsloth_ft.errors import UserError

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
SIXTEEN_BIT = {"BF16": "bfloat16", "F16": "float16"}
TORCH_NAMES = {**SIXTEEN_BIT, "F32": "float32"}
BYTES = {"BF16": 2, "F16": 2, "F32": 4}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its safetensors dtype, its shape, and where its bytes begin in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Number of rows; a vector has rows of one value."""
        return self.shape[0] if self.shape else 1

    @property
    def columns(self) -> int:
        """Number of values in a row."""
        return math.prod(self.shape[1:])

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch has it."""
        import torch

        return {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}[self.dtype]


def read_header(file: Path) -> dict[str, Stored]:
    """Every tensor of the file, in the order of its bytes.

    Raises UserError when the file is not whole, or holds anything but 16-bit and 32-bit floats.
    """
    from safetensors import SafetensorError, safe_open

    if not file.is_file():  # a pipe would be waited for
        raise UserError(f"{file.name} is no file; expected safetensors.")
    try:
        with safe_open(file, framework="pt"):  # checks header, offsets and the file's size
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file.name} is not a whole safetensors file ({error}).") from None
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    found = {}
    for name, entry in sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0])):
        if entry["dtype"] not in BYTES:
            raise UserError(f"{file.name}: {name} is stored as {entry['dtype']}; expected bfloat16, float16 or float32.")
        found[name] = Stored(entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
    return found


def read_tensor(file: Path, entry: Stored) -> torch.Tensor:
    """The tensor, in memory of its own."""
    with file.open("rb") as stream:
        return read_rows(stream, entry, 0, entry.rows).reshape(entry.shape)


def read_rows(stream: BinaryIO, entry: Stored, begin: int, end: int) -> torch.Tensor:
    """Rows `begin` to `end` of the tensor, of shape (rows, columns), in memory of their own. Raises UserError when the file ends before."""
    import torch

    tensor = torch.empty((end - begin, entry.columns), dtype=entry.torch_dtype)
    if tensor.numel() == 0:
        return tensor
    stream.seek(entry.begin + BYTES[entry.dtype] * entry.columns * begin)
    if stream.readinto(as_bytes(tensor)) != tensor.nbytes:
        raise UserError(f"{Path(stream.name).name} ends within a tensor; it was changed while it was read.")
    return tensor


def as_bytes(tensor: torch.Tensor) -> memoryview:
    """The tensor's bytes, in place."""
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def encode_header(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """The beginning of a file that holds the tensors (name, safetensors dtype, shape) in this order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, shape in tensors:
        size = BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8
    return len(text).to_bytes(8, "little") + text
