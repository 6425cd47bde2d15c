"""Which type each tensor of a GGUF file gets under a quantization's name: llama.cpp's own choice.

`q4_k_m` is no type but a mixture: most matrices q4_K, those that cost most where they are coarse q6_K. What is written here is what
`llama-quantize` does without an importance matrix for a dense llama, qwen2 or qwen3 model (src/llama-quant.cpp: llama_tensor_get_type_impl,
tensor_type_fallback, tensor_allows_quantization). No torch: a name is checked before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from unsloth_ft.errors import UserError, nearest
from unsloth_ft.export.gguf_model import Architecture

# Name → the type of most matrices.
USUAL = {
    "f32": "f32",
    "f16": "f16",
    "bf16": "bf16",
    "q8_0": "q8_0",
    "q6_k": "q6_k",
    "q5_k_m": "q5_k",
    "q5_k_s": "q5_k",
    "q5_1": "q5_1",
    "q5_0": "q5_0",
    "q4_k_m": "q4_k",
    "q4_k_s": "q4_k",
    "q4_1": "q4_1",
    "q4_0": "q4_0",
    "q3_k_l": "q3_k",
    "q3_k_m": "q3_k",
    "q3_k_s": "q3_k",
    "q2_k": "q2_k",
    "q2_k_s": "q2_k",
}
# Name → gguf.LlamaFileType.
FILE_TYPES = {name: "ALL_F32" if name == "f32" else f"MOSTLY_{name.upper()}" for name in USUAL}
# llama.cpp makes no q2_k_s without an importance matrix: "a very low-bit quantization", and the result would be garbage.
NEEDS_IMATRIX = ("q2_k_s",)
QUANTIZATIONS = tuple(name for name in USUAL if name not in NEEDS_IMATRIX)
# Names that llama.cpp knows and this package does not write.
OTHER_QUANTIZATIONS = (
    "q2_k_s tq1_0 tq2_0 mxfp4_moe iq1_s iq1_m iq2_xxs iq2_xs iq2_s iq2_m iq3_xxs iq3_xs iq3_s iq3_m iq4_nl iq4_xs"
).split()
# llama.cpp's converter writes these itself, in its own order; the others come out of llama-quantize, which sorts the tensors.
CONVERTED = ("f32", "f16", "bf16", "q8_0")
# Type → (weights of a block, its bytes), from ggml/src/ggml-common.h. gguf.GGML_QUANT_SIZES has the same numbers, a test holds.
BLOCKS = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q8_0": (32, 34),
    "q5_1": (32, 24),
    "q5_0": (32, 22),
    "q4_1": (32, 20),
    "q4_0": (32, 18),
    "q6_k": (256, 210),
    "q5_k": (256, 176),
    "q4_k": (256, 144),
    "q3_k": (256, 110),
    "q2_k": (256, 84),
}
# What a type of 256-weight blocks becomes where a row is no multiple of 256; where the other's 32 don't fit either, it is f16.
FALLBACK = {"q6_k": "q8_0", "q5_k": "q5_1", "q4_k": "q5_0", "q3_k": "q4_0", "q2_k": "q4_0"}
GROUPED = 4  # query heads that share one key and value head: from here on attn_v is small, and gets more bits
LARGEST_LAYERS = 80  # llama.cpp's "70B"


@dataclass(frozen=True)
class Place:
    """A matrix's part in the model (`attn_v`, `ffn_down`, `token_embd` …), its layer, and the number of layers."""

    part: str
    layer: int
    layers: int

    @property
    def favoured(self) -> bool:
        """The first and last eighth of the layers and every third between: where a mixture spends its better type."""
        eighth = self.layers // 8
        return self.layer < eighth or self.layer >= 7 * self.layers // 8 or (self.layer - eighth) % 3 == 2


def check_quantization(quantization: str) -> None:
    """Raises: UserError for a name that can't be written, with what can."""
    if quantization in QUANTIZATIONS:
        return
    known = f"expected one of {', '.join(QUANTIZATIONS)}"
    if quantization in NEEDS_IMATRIX:
        raise UserError(f"quantization {quantization!r} needs an importance matrix, in llama.cpp too; {known}.")
    if quantization in OTHER_QUANTIZATIONS:
        raise UserError(f"quantization {quantization!r} is not supported yet; {known}.")
    near = nearest(quantization.lower(), (*QUANTIZATIONS, *OTHER_QUANTIZATIONS))
    raise UserError(f"quantization {quantization!r} is unknown; {known}.{near}")


def tensor_types(shapes: dict[str, tuple[int, ...]], architecture: Architecture, quantization: str) -> dict[str, str]:
    """GGUF name → type, for GGUF name → shape (rows first)."""
    tied = "output.weight" not in shapes
    types = {}
    for name, shape in shapes.items():
        if len(shape) < 2 or not name.endswith("weight") or "_norm.weight" in name:
            types[name] = "f32"
        else:
            wanted = mixture_type(place_of(name, architecture), shape[1], architecture, quantization, tied=tied)
            types[name] = fitting_type(wanted, shape[1])
    return types


def place_of(name: str, architecture: Architecture) -> Place:
    layer = int(name.split(".")[1]) if name.startswith("blk.") else -1
    return Place(name.split(".")[-2], layer, architecture.layers)


def mixture_type(place: Place, width: int, architecture: Architecture, quantization: str, *, tied: bool) -> str:
    """The type that the mixture wants for a matrix with rows of `width`, whether or not it fits."""
    usual = USUAL[quantization]
    if usual in ("f32", "f16", "bf16"):
        return usual
    if place.part == "output" or (place.part == "token_embd" and tied):
        return "q8_0" if usual == "q8_0" or width % BLOCKS[usual][0] else "q6_k"
    if place.part == "attn_v":
        return attention_value_type(place, architecture, quantization, usual)
    if place.part == "ffn_down":
        return ffn_down_type(place, quantization, usual)
    if place.part == "attn_output":
        return {"q2_k": "q3_k", "q3_k_m": "q4_k", "q3_k_l": "q5_k"}.get(quantization, usual)
    return usual


def attention_value_type(place: Place, architecture: Architecture, quantization: str, usual: str) -> str:
    grouped = architecture.heads // architecture.kv_heads >= GROUPED
    better = {
        "q2_k": "q4_k" if grouped else "q3_k",
        "q2_k_s": "q4_k" if grouped else usual,
        "q3_k_m": "q5_k" if place.layer < 2 else "q4_k",
        "q3_k_l": "q5_k",
        "q4_k_s": "q5_k" if place.layer < 4 else usual,
        "q4_k_m": "q6_k" if place.favoured else usual,
        "q5_k_m": "q6_k" if place.favoured else usual,
    }.get(quantization, usual)
    return "q5_k" if is_70b(architecture) and better in ("q3_k", "q4_k") else better


def ffn_down_type(place: Place, quantization: str, usual: str) -> str:
    first_eighth = place.layer < place.layers // 8
    return {
        "q2_k": "q3_k",
        "q2_k_s": "q4_k" if first_eighth else usual,
        "q3_k_m": "q5_k" if place.layer < place.layers // 16 else "q4_k",
        "q3_k_l": "q5_k",
        "q4_k_s": "q5_k" if first_eighth else usual,
        "q4_k_m": "q6_k" if place.favoured else usual,
        "q5_k_m": "q6_k" if place.favoured else usual,
    }.get(quantization, usual)


def is_70b(architecture: Architecture) -> bool:
    """What llama.cpp takes for a 70B model, by its number of layers (src/models/llama.cpp, qwen2.cpp)."""
    if architecture.layers != LARGEST_LAYERS:
        return False
    return architecture.name == "qwen2" or (architecture.name == "llama" and architecture.heads != architecture.kv_heads)


def fitting_type(wanted: str, width: int) -> str:
    """`wanted`, or what llama.cpp takes instead where rows of `width` are not whole blocks of it."""
    if width % BLOCKS[wanted][0] == 0:
        return wanted
    instead = FALLBACK.get(wanted, wanted)
    return instead if width % BLOCKS[instead][0] == 0 else "f16"


def file_order(names: Iterable[str], quantization: str) -> list[str]:
    """The names in the order of the file: as given for what the converter writes, else layer by layer, each by name, the others first."""
    if quantization in CONVERTED:
        return list(names)
    return sorted(names, key=lambda name: (int(name.split(".")[1]) if name.startswith("blk.") else -1, name))


def size_bytes(shape: tuple[int, ...], type_name: str) -> int:
    block, block_bytes = BLOCKS[type_name]
    count = 1
    for size in shape:
        count *= size
    return count // block * block_bytes
