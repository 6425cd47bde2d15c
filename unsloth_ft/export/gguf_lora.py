"""A LoRA adapter alone as a GGUF file, which llama.cpp (`--lora`) and Ollama (`ADAPTER`) lay over the base model's GGUF.

What the file may hold is read from llama.cpp's src/llama-adapter.cpp, which applies it as `alpha / rank · B·A`, and from its own
converter, convert_lora_to_gguf.py. Of the two matrices, rows of B are the weight's rows, so a reordered weight wants a reordered B.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export.adapter_config import read_fields
from unsloth_ft.export.gguf import GgufFile
from unsloth_ft.export.gguf_bounds import largest_excess
from unsloth_ft.export.gguf_model import Architecture, read_architecture, tensor_names
from unsloth_ft.export.gguf_place import placed
from unsloth_ft.export.gguf_read import Contents, read_gguf, read_rows
from unsloth_ft.export.gguf_tensors import F16_OVERFLOW, Source, ggml_type, permute, sources
from unsloth_ft.export.gguf_types import size_bytes
from unsloth_ft.export.lora import Adapter, read_adapter
from unsloth_ft.export.shards import Stored
from unsloth_ft.export.shards import read_rows as read_rows_of_adapter
from unsloth_ft.record import sha256

if TYPE_CHECKING:
    import numpy
    import torch

# Name → gguf.LlamaFileType. An adapter is small: of an 8B model at r=16, 168 MB in f32.
TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16"}
EMBEDDING = "token_embd.weight"
COMPARED_ROWS = 4096  # of a whole tensor at a time
# Fields of adapter_config.json (peft.LoraConfig) whose effect is more than scale · B·A on a weight, which is all that llama.cpp adds.
INEXPRESSIBLE = {
    "use_dora": "DoRA's magnitudes",
    "modules_to_save": "whole modules that were trained (modules_to_save)",
    "trainable_token_indices": "trained rows of the embedding (trainable_token_indices)",
    "lora_bias": "a bias on B (lora_bias)",
    "bias": "trained biases of the base (bias)",
}


@dataclass(frozen=True)
class Update:
    """What is added to one weight: `scale · B·A`, with A `(r, in)` and B `(out, r)` in float32 and in the order of the HF weight's rows.

    `name` is the weight's in the GGUF file; `heads` is set where llama.cpp has the weight's rows in another order.
    """

    name: str
    a: torch.Tensor
    b: torch.Tensor
    scale: float
    heads: int | None = None

    @property
    def alpha(self) -> float:
        """What `adapter.lora.alpha` has to be for this module, rounded to the float32 that it is stored as."""
        import numpy

        return float(numpy.float32(self.scale * self.a.shape[0]))

    def sides(self, alpha: float) -> dict[str, torch.Tensor]:
        """What llama.cpp multiplies, rows as HF has them. B takes what its alpha / rank lacks of this module's scale.

        Of an embedding it looks up the token's row of `lora_a` and multiplies that with `lora_b` (build_inp_embd in its
        src/llama-graph.cpp): there the factors of the weight `(vocabulary, hidden)` change places, and the second is transposed.
        """
        factor = 1.0 if self.alpha == alpha else self.scale * self.a.shape[0] / alpha
        a, b = (self.b, self.a.T.contiguous()) if self.name == EMBEDDING else (self.a, self.b)
        return {f"{self.name}.lora_a": a, f"{self.name}.lora_b": b * factor}

    def tensors(self, alpha: float) -> dict[str, torch.Tensor]:
        """The two tensors of the file, in float32."""
        sides = self.sides(alpha)
        if self.heads is not None:
            sides[f"{self.name}.lora_b"] = permute(sides[f"{self.name}.lora_b"], self.heads)
        return sides


def write_gguf_lora(adapter_dir: Path, base_dir: Path, path: Path, *, type_name: str = "f32") -> GgufFile:
    """Write the PEFT adapter in `adapter_dir`, trained on the HF model in `base_dir`, to `path`. `type_name` is f32 or f16.

    The file depends on nothing but the adapter and the base's config and shapes. It is written under a temporary name, read back and
    compared with the adapter, and only then gets its name.

    Raises: UserError for an adapter that llama.cpp can't apply as it was trained, or that belongs to another base; MachineError when
    the disk is full; GateError when the adapter holds NaN or the file does not read back as the adapter.
    """
    if type_name not in TYPES:
        raise UserError(f"{path}: an adapter of type {type_name!r} is not written; expected {' or '.join(TYPES)}.")
    refuse_inexpressible(adapter_dir)
    architecture = read_architecture(base_dir)
    updates = plan_updates(read_adapter(adapter_dir), architecture, adapter_dir, base_dir)
    alpha = common_alpha(updates)
    check_values(updates, alpha, adapter_dir, type_name)
    shapes = [tensor.shape for update in updates for tensor in (update.a, update.b)]
    with placed(path, needed_bytes=sum(size_bytes(tuple(shape), type_name) for shape in shapes)) as partial:
        write_file(partial, architecture, updates, alpha, type_name)
        verify_file(partial, architecture, updates, alpha, type_name)
        size, digest = partial.stat().st_size, sha256(partial)
    return GgufFile(path, digest, size, type_name, len(shapes))


def check_gguf_lora(adapter_dir: Path, base_dir: Path, path: Path, *, type_name: str = "f32") -> str:
    """What was found. Raises GateError naming what of the file in `path` is not the adapter in `adapter_dir`."""
    architecture = read_architecture(base_dir)
    updates = plan_updates(read_adapter(adapter_dir), architecture, adapter_dir, base_dir)
    verify_file(path, architecture, updates, common_alpha(updates), type_name)
    return f"{len(updates)} pairs of A and B"


def refuse_inexpressible(adapter_dir: Path) -> None:
    """Raises: UserError when adapter_config.json asks for more than llama.cpp adds to a weight, named, with the way out."""
    found = inexpressible(read_fields(adapter_dir))
    if found:
        raise UserError(
            f"{adapter_dir / 'adapter_config.json'}: the adapter has {' and '.join(found)}; llama.cpp adds scale · B·A to a weight and "
            "nothing else. Export merged or gguf:QUANT, which hold everything that was trained."
        )


def inexpressible(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What a LoraConfig's fields ask for that an adapter file of llama.cpp can't hold; nothing when it can hold all."""
    return tuple(what for field, what in INEXPRESSIBLE.items() if config.get(field) not in (None, False, [], {}, "none"))


def plan_updates(adapter: Adapter, architecture: Architecture, adapter_dir: Path, base_dir: Path) -> list[Update]:
    """The adapter's modules in the order of the base's file.

    Raises: UserError naming the module that the base has not, or has in another shape, and what is no update of a weight.
    """
    found = sources(base_dir)
    names = tensor_names(architecture, list(found), base_dir)
    heads = {"attn_q": architecture.heads, "attn_k": architecture.kv_heads} if architecture.permuted else {}
    weights = {f"{module}.weight": module for module in adapter.pairs}
    if architecture.tied:
        refuse_tied(adapter, adapter_dir)
    refuse_whole(adapter, found, adapter_dir)
    refuse_foreign(sorted(set(weights) - set(names)), adapter_dir, base_dir)
    updates = []
    for weight, name in names.items():
        if weight not in weights:
            continue
        a, b = adapter.pairs[weights[weight]]
        if (b.shape[0], a.shape[1]) != found[weight].shape:
            raise UserError(
                f"{adapter_dir.name}: {weights[weight]} is an update of shape {[b.shape[0], a.shape[1]]}, and the base's {weight} in "
                f"{base_dir} has {list(found[weight].shape)}. Name the base that the adapter was trained on."
            )
        updates.append(Update(name, a.float(), b.float(), adapter.scale_of(weights[weight]), heads.get(name.split(".")[-2])))
    return updates


def refuse_whole(adapter: Adapter, found: Mapping[str, Source], adapter_dir: Path) -> None:
    """PEFT saves an embedding that has an update, or that grew, as a whole too: no harm where it is the base's."""
    brought = {**adapter.replaced, **adapter.base_layers}
    other = sorted(name for name, stored in brought.items() if name not in found or not is_same(adapter.weights, stored, found[name]))
    if other:
        raise UserError(
            f"{adapter_dir.name}: the adapter holds its own {' and '.join(other)}, other than the base's; an adapter file of llama.cpp "
            "holds updates of the base's weights only. Export merged or gguf:QUANT, which hold everything that was trained."
        )


def is_same(weights: Path, stored: Stored, source: Source) -> bool:
    """Whether a whole tensor of the adapter has the base's values, whatever the type that each is stored in."""
    import torch
    from safetensors import safe_open

    if stored.shape != source.shape:
        return False
    with weights.open("rb") as stream, safe_open(source.file, "pt") as base:
        rows = base.get_slice(source.name)
        for begin in range(0, stored.rows, COMPARED_ROWS):
            end = min(begin + COMPARED_ROWS, stored.rows)
            ours = read_rows_of_adapter(stream, stored, begin, end).float()
            if not torch.equal(ours, rows[begin:end].float().reshape(ours.shape)):
                return False
    return True


def refuse_tied(adapter: Adapter, adapter_dir: Path) -> None:
    """With tied embeddings llama.cpp has one weight for both ends, and an adapter's update of one end only has no place in it.

    An update of `token_embd` would be multiplied with the hidden state too, in shapes that don't fit: a failed assertion.
    """
    both = [module for module in ("lm_head", "model.embed_tokens") if module in adapter.pairs]
    if both:
        raise UserError(
            f"{adapter_dir.name}: {' and '.join(both)} has an update of its own, and the base's output is its embedding "
            "(tie_word_embeddings), one weight in llama.cpp. Export merged or gguf:QUANT."
        )


def refuse_foreign(weights: Sequence[str], adapter_dir: Path, base_dir: Path) -> None:
    if weights:
        some = ", ".join(weights[:3]) + (f" and {len(weights) - 3} more" if len(weights) > 3 else "")
        raise UserError(f"{adapter_dir.name}: the base in {base_dir} has no {some}. Name the base that the adapter was trained on.")


def common_alpha(updates: Sequence[Update]) -> float:
    """The one alpha that the file has room for: the most frequent of the modules', so that the fewest B's are changed.

    llama.cpp reads 0 as "no alpha", which is a scale of 1; so a module of scale 0 gets a B of zeros.
    """
    counts = Counter(update.alpha for update in updates if update.alpha)
    return max(counts, key=lambda alpha: (counts[alpha], alpha)) if counts else 1.0


def check_values(updates: Sequence[Update], alpha: float, adapter_dir: Path, type_name: str) -> None:
    """Raises: GateError when a value is NaN or infinite, or too large for float16."""
    for update in updates:
        for name, tensor in update.tensors(alpha).items():
            largest = float(tensor.abs().max())
            if not tensor.isfinite().all():
                raise GateError(f"{adapter_dir.name}: {name} holds NaN or infinity. The training went wrong; nothing was exported.")
            if type_name == "f16" and largest >= F16_OVERFLOW:
                raise GateError(f"{adapter_dir.name}: {name} reaches {largest:.6g}, and f16 ends at 65504. Export it as f32.")


def fields(architecture: Architecture, alpha: float) -> dict[str, Any]:
    """The metadata that llama.cpp and Ollama read of an adapter."""
    import gguf
    import numpy

    return {
        gguf.Keys.General.ARCHITECTURE: architecture.name,
        gguf.Keys.General.TYPE: gguf.GGUFType.ADAPTER,
        gguf.Keys.Adapter.TYPE: "lora",
        gguf.Keys.Adapter.LORA_ALPHA: float(numpy.float32(alpha)),
    }


def write_file(path: Path, architecture: Architecture, updates: Sequence[Update], alpha: float, type_name: str) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, architecture.name)  # writes general.architecture
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        writer.add_file_type(gguf.LlamaFileType[TYPES[type_name]])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for name, values in arrays(updates, alpha, type_name):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def arrays(updates: Sequence[Update], alpha: float, type_name: str) -> Iterator[tuple[str, numpy.ndarray]]:
    for update in updates:
        for name, tensor in update.tensors(alpha).items():
            yield name, tensor.contiguous().numpy().astype({"f32": "float32", "f16": "float16"}[type_name])


def verify_file(path: Path, architecture: Architecture, updates: Sequence[Update], alpha: float, type_name: str) -> None:
    """Read the file back: metadata, names, shapes and types, and every value, in the order of the HF weight's rows.

    Raises: GateError naming what does not hold.
    """
    contents = read_gguf(path)
    for key, value in fields(architecture, alpha).items():
        if contents.metadata.get(key) != value:
            raise GateError(f"{path}: {key} reads back as {contents.metadata.get(key)!r}, and {value!r} was written. Export again.")
    if len(contents.tensors) != 2 * len(updates):
        raise GateError(f"{path}: holds {len(contents.tensors)} tensors, expected {2 * len(updates)}. Export again.")
    for update in updates:
        for name, wanted in update.sides(alpha).items():
            verify_tensor(path, contents, name, wanted, type_name, heads=update.heads if name.endswith("lora_b") else None)


def verify_tensor(path: Path, contents: Contents, name: str, wanted: torch.Tensor, type_name: str, *, heads: int | None) -> None:
    import numpy

    tensor = contents.tensors.get(name)
    if tensor is None or tensor.shape != tuple(wanted.shape) or tensor.ggml_type != ggml_type(type_name):
        raise GateError(f"{path}: the tensor {name!r} is missing or has another shape or type than was written. Export again.")
    found = read_rows(path, tensor)
    if heads is not None:
        found = unpermute(found, heads)
    if not numpy.isfinite(found).all() or largest_excess(wanted.numpy(), found, type_name) > 0.0:
        raise GateError(f"{path}: the tensor {name!r} does not read back as the adapter's. The disk may be failing; export again.")


def unpermute(rows: numpy.ndarray, heads: int) -> numpy.ndarray:
    """`(heads * head_dim, …)` from llama.cpp's order of rows, neighbouring pairs, back to HF's, the two halves of a head."""
    count = rows.shape[0]
    return rows.reshape(heads, count // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)
