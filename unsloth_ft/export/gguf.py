"""An HF folder as a GGUF file for llama.cpp and Ollama, written with the official `gguf` package: no compiler, no network.

`check_supported` says before training whether it will work, from config.json and the tokenizer's files alone. `write_gguf` streams
the tensors, reads the file again and compares it with its source, and only then gives it its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unsloth_ft.errors import GateError, UserError, nearest
from unsloth_ft.export.gguf_metadata import add_architecture, add_sampling, add_vocabulary
from unsloth_ft.export.gguf_model import Architecture, read_architecture, rope_factors, tensor_names
from unsloth_ft.export.gguf_place import placed
from unsloth_ft.export.gguf_read import read_gguf, read_rows
from unsloth_ft.export.gguf_tensors import BLOCK, Rows, Target, chunks, ggml_type, largest_excess, sources
from unsloth_ft.export.gguf_vocab import Vocabulary, read_vocabulary
from unsloth_ft.record import sha256

QUANTIZATIONS = ("f32", "f16", "bf16", "q8_0")
# Names that llama.cpp knows and this module does not write.
OTHER_QUANTIZATIONS = (
    "q4_0 q4_1 q5_0 q5_1 q2_k q2_k_s q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m q6_k tq1_0 tq2_0 mxfp4_moe "
    "iq1_s iq1_m iq2_xxs iq2_xs iq2_s iq2_m iq3_xxs iq3_xs iq3_s iq3_m iq4_nl iq4_xs"
).split()
FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}  # gguf.LlamaFileType
SAMPLED_ROWS = 64  # rows of every tensor that are compared with its source after writing


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


def check_quantization(quantization: str) -> None:
    if quantization in QUANTIZATIONS:
        return
    known = f"expected one of {', '.join(QUANTIZATIONS)}"
    if quantization in OTHER_QUANTIZATIONS:
        raise UserError(f"quantization {quantization!r} is not supported yet; {known}.")
    near = nearest(quantization.lower(), (*QUANTIZATIONS, *OTHER_QUANTIZATIONS))
    raise UserError(f"quantization {quantization!r} is unknown; {known}.{near}")


def check_shapes(architecture: Architecture, quantization: str) -> None:
    if quantization != "q8_0":
        return
    widths = {
        "hidden_size": architecture.hidden_size,
        "intermediate_size": architecture.intermediate_size,
        "num_attention_heads * head_dim": architecture.heads * architecture.head_dim,
    }
    for name, width in widths.items():
        if width % BLOCK:
            raise UserError(f"quantization 'q8_0' wants rows in blocks of {BLOCK}, and {name} is {width}; use f16 or bf16 for this model.")


def write_gguf(model_dir: Path, path: Path, *, quantization: str) -> GgufFile:
    """Write the merged model in `model_dir` (safetensors, config.json, tokenizer) to `path`.

    Norms, biases and other one-dimensional tensors stay in float32, as llama.cpp wants them. The file depends on nothing but the
    model's files. It is written under a temporary name in the same folder and replaces `path` in one step when it is proven.

    Raises: UserError for a model or tokenizer that is not known; MachineError when the disk is full; GateError when the model
    holds NaN or the written file does not read back as its source.
    """
    check_quantization(quantization)
    architecture = read_architecture(model_dir)
    check_shapes(architecture, quantization)
    targets = plan_tensors(model_dir, architecture, quantization)
    vocabulary = read_vocabulary(model_dir, vocab_size=targets[0].shape[0])
    factors = rope_factors(architecture)
    with placed(path, needed_bytes=sum(target.size_bytes for target in targets)) as partial:
        write_file(partial, model_dir, architecture, vocabulary, targets, quantization)
        verify_file(partial, targets, extra_tensors=0 if factors is None else 1)
        size, digest = partial.stat().st_size, sha256(partial)
    return GgufFile(path, digest, size, quantization, len(targets) + (factors is not None))


def plan_tensors(model_dir: Path, architecture: Architecture, quantization: str) -> list[Target]:
    """The tensors in the order of the file (the embedding first), each with its type."""
    found = sources(model_dir)
    names = tensor_names(architecture, list(found), model_dir)
    heads = {"attn_q": architecture.heads, "attn_k": architecture.kv_heads} if architecture.permuted else {}
    targets = []
    for hf_name, name in names.items():
        source = found[hf_name]
        one_dimensional = len(source.shape) == 1
        part = name.split(".")[-2]
        targets.append(Target(name, source, "f32" if one_dimensional else quantization, heads.get(part)))
    check_tensor_shapes(targets, architecture, model_dir)
    return targets


def check_tensor_shapes(targets: list[Target], architecture: Architecture, model_dir: Path) -> None:
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
    for target in targets:
        expected = wanted.get(target.name.split(".")[-2])
        if expected and target.shape not in (expected, expected[:1]):
            raise UserError(
                f"{target.source.file}: {target.source.name!r} has the shape {list(target.shape)}, and {model_dir / 'config.json'} says "
                f"{list(expected)}. They belong to different models."
            )


def write_file(
    path: Path, model_dir: Path, architecture: Architecture, vocabulary: Vocabulary, targets: list[Target], quantization: str
) -> None:
    import gguf
    import numpy

    writer = gguf.GGUFWriter(path, architecture.name)
    try:
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[quantization]])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        add_sampling(writer, model_dir)
        add_architecture(writer, architecture)
        add_vocabulary(writer, vocabulary)
        factors = rope_factors(architecture)
        if factors is not None:
            writer.add_tensor_info("rope_freqs.weight", (len(factors),), numpy.dtype("float32"), 4 * len(factors), ggml_type("f32"))
        for target in targets:
            writer.add_tensor_info(target.name, target.shape, numpy.dtype("float32"), target.size_bytes, ggml_type(target.type_name))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for target in targets:
            writer.write_tensor_data(Rows(target))
    finally:
        writer.close()


def verify_file(path: Path, targets: list[Target], *, extra_tensors: int) -> None:
    """Read the file back: the tensors are all there, with their shapes and types, whole, finite, and equal to their source.

    The first rows of every tensor are decoded and compared with the source; the difference must be rounding, no more.

    Raises: GateError naming the tensor that does not hold.
    """
    import numpy

    tensors = read_gguf(path).tensors
    if len(tensors) != len(targets) + extra_tensors:
        raise GateError(f"{path}: holds {len(tensors)} tensors, expected {len(targets) + extra_tensors}. Export again.")
    for target in targets:
        tensor = tensors.get(target.name)
        if tensor is None or tensor.shape != target.shape or tensor.ggml_type != ggml_type(target.type_name):
            raise GateError(f"{path}: the tensor {target.name!r} is missing or has another shape or type than was written. Export again.")
        sampled = SAMPLED_ROWS if len(target.shape) > 1 else None
        wanted = next(chunks(target))[:sampled]
        found = read_rows(path, tensor, rows=len(wanted))
        if not numpy.isfinite(found).all() or largest_excess(wanted, found, target.type_name) > 0.0:
            raise GateError(f"{path}: the tensor {target.name!r} does not read back as its source. The disk may be failing; export again.")
