"""safetensors files, a tensor at a time and without a memory map: resident memory stays that of one tensor.

The format: 8 bytes length, a JSON header, the data (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
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


def read_header(file: Path) -> dict[str, Stored]:
    """Every tensor of the file, in the order of its bytes.

    Raises UserError when the file is not whole, or holds anything but 16-bit and 32-bit floats.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):  # checks header, offsets and the file's size
            pass
    except (SafetensorError, FileNotFoundError) as error:
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
    import torch

    dtype = getattr(torch, TORCH_NAMES[entry.dtype])
    tensor = torch.empty(entry.shape, dtype=dtype)
    if entry.size == 0:
        return tensor
    with file.open("rb") as stream:
        stream.seek(entry.begin)
        stream.readinto(tensor.reshape(-1).view(torch.uint8).numpy())
    return tensor


def write_header(stream: BinaryIO, entries: dict[str, Stored]) -> None:
    """The header of a file that holds the same tensors in 16 bits, in this order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, entry in entries.items():
        size = 2 * entry.size
        header[name] = {
            "dtype": entry.dtype if entry.dtype in SIXTEEN_BIT else "BF16",
            "shape": entry.shape,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8
    stream.write(len(text).to_bytes(8, "little") + text)
