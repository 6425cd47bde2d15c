"""A GGUF file held against the merged model it was made of, from the bytes on the disk: metadata, every block's scale, every tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unsloth_ft.errors import GateError, short
from unsloth_ft.export.gguf import FILE_TYPES
from unsloth_ft.export.gguf_metadata import add_metadata
from unsloth_ft.export.gguf_model import read_architecture
from unsloth_ft.export.gguf_read import TensorInfo, read_gguf
from unsloth_ft.export.gguf_vocab import read_vocabulary

CHECKED_BYTES = 64 * 2**20  # of a tensor at a time
# Where the float16 scales stand in a block (ggml-common.h: block_q8_0 …): a block of finite scales decodes to finite values.
SCALES = {
    "Q8_0": (0, 2), "Q4_0": (0, 2), "Q5_0": (0, 2), "Q4_1": (0, 4), "Q5_1": (0, 4),
    "Q2_K": (80, 84), "Q3_K": (108, 110), "Q4_K": (0, 4), "Q5_K": (0, 4), "Q6_K": (208, 210),
}  # fmt: skip

PLAIN = ("F32", "F16", "BF16")


def expected_metadata(model_dir: Path, quantization: str) -> dict[str, Any]:
    """Every field that a GGUF of this model has."""
    import gguf

    architecture = read_architecture(model_dir)
    writer = gguf.GGUFWriter(None, architecture.name)
    vocabulary = read_vocabulary(model_dir, vocab_size=architecture.vocab_size)
    add_metadata(writer, model_dir, architecture, vocabulary, FILE_TYPES[quantization])
    return {name: field.value for name, field in writer.kv_data[0].items()}


def check_metadata(path: Path, model_dir: Path, quantization: str) -> str:
    """What was found. Raises GateError naming each field that is not the merged model's."""
    import numpy

    found, wanted = read_gguf(path).metadata, expected_metadata(model_dir, quantization)

    def same(one: Any, other: Any) -> bool:
        # Files hold float32.
        return numpy.float32(one) == numpy.float32(other) if isinstance(other, float) and isinstance(one, float) else one == other

    common = wanted.keys() & found.keys()
    wrong = [name for name in sorted(wanted.keys() | found.keys()) if name not in common or not same(found[name], wanted[name])]
    if wrong:
        raise GateError("; ".join(_difference(name, found, wanted) for name in wrong))
    return f"{len(wanted)} fields"


def _difference(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> str:
    if name not in found:
        return f"{name} is missing, expected {_short(wanted[name])}"
    if name not in wanted:
        return f"{name} is {_short(found[name])}, expected none"
    one, other = found[name], wanted[name]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        at = next((at for at, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), 0)
        return f"{name}[{at}] is {_short(one[at])}, expected {_short(other[at])}"
    return f"{name} is {_short(one)}, expected {_short(other)}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} values"
    return short(repr(value))


def check_finite(path: Path) -> None:
    """Raises GateError naming the first tensor with a value, or a block's scale, that is NaN or infinite; every block is looked at."""
    for tensor in read_gguf(path).tensors.values():
        wrong = _not_finite(path, tensor)
        if wrong:
            raise GateError(f"the tensor {tensor.name!r} holds NaN or infinity in {wrong:,} places")


def _not_finite(path: Path, tensor: TensorInfo) -> int:
    import gguf
    import numpy

    kind = gguf.GGMLQuantizationType(tensor.ggml_type)
    if kind.name not in (*PLAIN, *SCALES):
        raise GateError(f"the tensor {tensor.name!r} is of the type {kind.name}, which no export has")
    block_bytes = gguf.GGML_QUANT_SIZES[kind][1]
    wrong, position, end = 0, tensor.offset, tensor.offset + tensor.size_bytes
    while position < end:
        count = min(CHECKED_BYTES // block_bytes * block_bytes, end - position)
        raw = numpy.fromfile(path, dtype="uint8", count=count, offset=position)
        wrong += int((~numpy.isfinite(_numbers(raw, kind.name, block_bytes))).sum())
        position += count
    return wrong


def _numbers(raw: Any, type_name: str, block_bytes: int) -> Any:
    import numpy

    if type_name == "F32":
        return raw.view("float32")
    if type_name == "F16":
        return raw.view("float16")
    if type_name == "BF16":
        return (raw.view("uint16").astype("uint32") << 16).view("float32")
    begin, end = SCALES[type_name]
    return numpy.ascontiguousarray(raw.reshape(-1, block_bytes)[:, begin:end]).view("float16")
