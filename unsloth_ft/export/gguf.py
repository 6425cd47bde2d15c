"""An HF folder as a GGUF file for llama.cpp and Ollama, written with the official `gguf` package: no compiler, no network.

`check_supported` says before training whether it will work, from config.json and the tokenizer's files alone. `write_gguf` streams
the tensors, reads the file again and compares it with its source, and only then gives it its name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export import gguf_read
from unsloth_ft.export.gguf_bounds import largest_excess
from unsloth_ft.export.gguf_metadata import add_metadata
from unsloth_ft.export.gguf_model import Architecture, read_architecture, rope_factors, tensor_names
from unsloth_ft.export.gguf_place import placed
from unsloth_ft.export.gguf_tensors import (
    DIRECT,
    Constant,
    Rows,
    Source,
    Target,
    check_tied,
    ggml_type,
    quantizing_device,
    read_rows,
    sources,
    type_name_of,
)
from unsloth_ft.export.gguf_types import BLOCKS, FILE_TYPES, USUAL, check_quantization, file_order, fitting_type, tensor_types
from unsloth_ft.export.gguf_types import QUANTIZATIONS as QUANTIZATIONS  # part of this module's interface
from unsloth_ft.export.gguf_vocab import Vocabulary, read_vocabulary
from unsloth_ft.export.llama_quantize import LLAMA_CPP, OWN, check_quantizer, quantize_file
from unsloth_ft.record import sha256

ALIGNMENT = 32  # each tensor begins at a multiple of it (gguf.GGUF_DEFAULT_ALIGNMENT)
SAMPLES, SAMPLED_ROWS = 8, 8  # so many rows, at so many places of every tensor, are compared with their source after writing
PIECE_VALUES = 2**22  # decoded at a time when every row is compared: 16 MB of float32


@dataclass(frozen=True)
class GgufFile:
    """A finished GGUF file."""

    path: Path
    sha256: str
    size_bytes: int
    quantization: str
    tensor_count: int


@dataclass(frozen=True)
class Supported:
    """What `check_supported` found: the GGUF architecture, the vocabulary kind and its splitting rule."""

    architecture: str
    vocabulary: str
    pre: str


def check_supported(model_dir: Path, quantization: str) -> Supported:
    """Whether the model in `model_dir` can become a GGUF file, from config.json and the tokenizer's files: no weights, no torch.

    Raises: UserError naming the quantization, architecture, setting or tokenizer that is not known.
    """
    check_quantization(quantization)
    architecture = read_architecture(model_dir)
    check_shapes(architecture, quantization)
    vocabulary = read_vocabulary(model_dir, vocab_size=architecture.vocab_size)
    return Supported(architecture.name, vocabulary.model, vocabulary.pre)


def check_shapes(architecture: Architecture, quantization: str) -> None:
    """Raises: UserError when not one matrix has rows that the quantization's blocks fill, so that all would be left in f16."""
    usual = USUAL[quantization]
    widths = {
        "hidden_size": architecture.hidden_size,
        "intermediate_size": architecture.intermediate_size,
        "num_attention_heads * head_dim": architecture.heads * architecture.head_dim,
    }
    if usual != "f16" and all(fitting_type(usual, width) == "f16" for width in widths.values()):
        found = ", ".join(f"{name} is {width}" for name, width in widths.items())
        raise UserError(f"quantization {quantization!r} wants rows in blocks of 32, and {found}; use f16 or bf16 for this model.")


def write_gguf(model_dir: Path, path: Path, *, quantization: str, quantizer: str = OWN) -> GgufFile:
    """Write the merged model in `model_dir` (safetensors, config.json, tokenizer) to `path`.

    With the quantizer "llama.cpp" a file of the weights' own type is written first, beside `path`, and llama.cpp quantizes that.

    Norms, biases and other one-dimensional tensors stay in float32, as llama.cpp wants them. The file depends on nothing but the
    model's files. It is written under a temporary name in the same folder and replaces `path` in one step when it is proven.

    Raises: UserError for a model or tokenizer that is not known; MachineError when the disk is full, or llama.cpp is asked for and
    is not there or fails; GateError when the model holds NaN or the written file does not read back as its source.
    """
    check_quantization(quantization)
    check_quantizer(quantizer)
    architecture = read_architecture(model_dir)
    check_shapes(architecture, quantization)
    targets = plan_tensors(model_dir, architecture, quantization)
    if architecture.tied:
        check_tied(model_dir)
    vocabulary = read_vocabulary(model_dir, vocab_size=architecture.vocab_size)
    between = stored_type(targets) if quantizer == LLAMA_CPP and quantization not in DIRECT else None
    needed = planned_bytes(model_dir, quantization) + (planned_bytes(model_dir, between) if between else 0)
    with placed(path, needed_bytes=needed) as partial:
        if between is None:
            write_file(partial, model_dir, architecture, vocabulary, targets, quantization)
        else:
            with removed(path.with_name(f".{path.name}.{between}")) as whole:
                write_file(whole, model_dir, architecture, vocabulary, plan_tensors(model_dir, architecture, between), between)
                quantize_file(whole, partial, quantization)
            targets = as_written(partial, targets, quantization)
        verify_file(partial, targets)
        size, digest = partial.stat().st_size, sha256(partial)
    return GgufFile(path, digest, size, quantization, len(targets))


@contextmanager
def removed(path: Path) -> Iterator[Path]:
    """A file that is not there before the block, nor when it is left."""
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def stored_type(targets: Sequence[Target | Constant]) -> str:
    """The GGUF type that holds every weight as it is stored, so that none is rounded twice."""
    stored = {target.source.stored.dtype for target in targets if isinstance(target, Target)}
    return {("BF16",): "bf16", ("F16",): "f16"}.get(tuple(stored), "f32")


def as_written(path: Path, targets: Sequence[Target | Constant], quantization: str) -> list[Target | Constant]:
    """The targets with the types that llama.cpp chose; another version may choose otherwise than ours.

    Raises: GateError when the file is not of this quantization.
    """
    import gguf

    contents = gguf_read.read_gguf(path)
    found, wanted = contents.metadata.get("general.file_type"), gguf.LlamaFileType[FILE_TYPES[quantization]].value
    if found != wanted:
        raise GateError(f"{path}: llama.cpp wrote a file of type {found}, and {quantization} is {wanted}. Take the quantizer 'own'.")
    types = {name: type_name_of(tensor.ggml_type) for name, tensor in contents.tensors.items()}
    return [
        replace(target, type_name=types[target.name]) if isinstance(target, Target) and types.get(target.name) in BLOCKS else target
        for target in targets
    ]


def planned_bytes(model_dir: Path, quantization: str) -> int:
    """Exact size of the tensors in the GGUF file that `write_gguf` would make, from config.json and the weights' headers.

    Metadata comes on top: a few megabytes with a large vocabulary.
    """
    targets = plan_tensors(model_dir, read_architecture(model_dir), quantization)
    return sum(-(-target.size_bytes // ALIGNMENT) * ALIGNMENT for target in targets)


def plan_tensors(model_dir: Path, architecture: Architecture, quantization: str) -> list[Target | Constant]:
    """The tensors in the order of the file, each with its type."""
    found = sources(model_dir)
    named = {name: found[hf_name] for hf_name, name in tensor_names(architecture, list(found), model_dir).items()}
    check_tensor_shapes(named, architecture, model_dir)
    types = tensor_types({name: source.shape for name, source in named.items()}, architecture, quantization)
    heads = {"attn_q": architecture.heads, "attn_k": architecture.kv_heads} if architecture.permuted else {}
    targets = {name: Target(name, source, types[name], heads.get(name.split(".")[-2])) for name, source in named.items()}
    factors = rope_factors(architecture)
    if factors is not None:
        targets = {"rope_freqs.weight": Constant("rope_freqs.weight", factors), **targets}
    return [targets[name] for name in file_order(targets, quantization)]


def check_tensor_shapes(named: dict[str, Source], architecture: Architecture, model_dir: Path) -> None:
    """Raises: UserError when a tensor has not the shape that config.json says; llama.cpp would refuse the file, or worse."""
    hidden, wide = architecture.hidden_size, architecture.intermediate_size
    query, key = architecture.heads * architecture.head_dim, architecture.kv_heads * architecture.head_dim
    wanted = {
        "token_embd": (architecture.vocab_size, hidden),
        "output": (architecture.vocab_size, hidden),
        "attn_q": (query, hidden),
        "attn_k": (key, hidden),
        "attn_v": (key, hidden),
        "attn_output": (hidden, query),
        "ffn_gate": (wide, hidden),
        "ffn_up": (wide, hidden),
        "ffn_down": (hidden, wide),
    }
    for name, source in named.items():
        expected = wanted.get(name.split(".")[-2])
        if expected and source.shape not in (expected, expected[:1]):
            raise UserError(
                f"{source.file}: {source.name!r} has the shape {list(source.shape)}, and {model_dir / 'config.json'} says "
                f"{list(expected)}. They belong to different models."
            )


def write_file(
    path: Path,
    model_dir: Path,
    architecture: Architecture,
    vocabulary: Vocabulary,
    targets: Sequence[Target | Constant],
    quantization: str,
) -> None:
    import gguf
    import numpy

    device = quantizing_device()
    writer = gguf.GGUFWriter(path, architecture.name)
    try:
        add_metadata(writer, model_dir, architecture, vocabulary, FILE_TYPES[quantization])
        for target in targets:
            writer.add_tensor_info(target.name, target.shape, numpy.dtype("float32"), target.size_bytes, ggml_type(target.type_name))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for target in targets:
            writer.write_tensor_data(target.values if isinstance(target, Constant) else Rows(target, device))
    finally:
        writer.close()


def verify_file(path: Path, targets: Sequence[Target | Constant], *, every_row: bool = False) -> None:
    """Read the file back: the tensors are all there, with their shapes and types, whole, finite, and equal to their source.

    Rows from all over every tensor, or all of them, are decoded and compared with the source; the difference must be rounding, no more.

    Raises: GateError naming the tensor that does not hold.
    """
    tensors = gguf_read.read_gguf(path).tensors
    if len(tensors) != len(targets):
        raise GateError(f"{path}: holds {len(tensors)} tensors, expected {len(targets)}. Export again.")
    for target in targets:
        tensor = tensors.get(target.name)
        if tensor is None or tensor.shape != target.shape or tensor.ggml_type != ggml_type(target.type_name):
            raise GateError(f"{path}: the tensor {target.name!r} is missing or has another shape or type than was written. Export again.")
        if not all(holds(path, tensor, target, start, stop) for start, stop in (pieces(target) if every_row else samples(target))):
            raise GateError(f"{path}: the tensor {target.name!r} does not read back as its source. The disk may be failing; export again.")


def pieces(target: Target | Constant) -> list[tuple[int, int]]:
    """First and one past the last row of each piece of the whole tensor; whole heads where rows are reordered."""
    rows, unit = target.shape[0], target.head_rows
    length = max(1, PIECE_VALUES // math.prod(target.shape[1:]) // unit) * unit
    return [(start, min(start + length, rows)) for start in range(0, rows, length)]


def samples(target: Target | Constant) -> list[tuple[int, int]]:
    """First and one past the last row of each place that is compared; whole heads where rows are reordered, all of a short tensor."""
    rows, unit = target.shape[0], target.head_rows
    length = -(-SAMPLED_ROWS // unit) * unit
    if len(target.shape) == 1 or rows <= SAMPLES * length:
        return [(0, rows)]
    starts = {(rows - length) * i // (SAMPLES - 1) // unit * unit for i in range(SAMPLES)}
    return [(start, start + length) for start in sorted(starts)]


def holds(path: Path, tensor: gguf_read.TensorInfo, target: Target | Constant, start: int, stop: int) -> bool:
    import numpy

    found = gguf_read.read_rows(path, tensor, start=start, rows=stop - start)
    if isinstance(target, Constant):
        return bool((found == target.values[start:stop]).all())
    with target.source.file.open("rb") as stream:
        wanted = read_rows(stream, target, start, stop).float().numpy()
    return bool(numpy.isfinite(found).all()) and largest_excess(wanted, found, target.type_name) == 0.0
