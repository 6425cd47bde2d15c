"""Weights into ggml's quantized formats, vectorised in torch: on a CPU or a GPU, with nothing compiled.

`quantize` gives the bytes that `llama-quantize` writes without an importance matrix: the same search, the same order of every float32
operation (kquants_search), the same bit layout (kquants_pack). Source: ggml/src/ggml-quants.c, quantize_row_*_ref.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from unsloth_ft.export.kquants_pack import (
    half_bytes,
    pack_fifth_bits,
    pack_low_high,
    pack_q2_k,
    pack_q3_k,
    pack_q4_k,
    pack_q5_k,
    pack_q6_k,
)
from unsloth_ft.export.kquants_search import Affine, Symmetric, first_largest, fit_affine, fit_by_descent, fit_symmetric, ordered_sum
from unsloth_ft.kernels.threads import in_threads

SUPER = 256  # weights of a super-block
BLOCK = 32  # weights of a block of the older formats
# Weights at a time. On a CPU what a search holds of a piece (5 to 10 times the weights, in float32) should lie in the cache, and a piece
# be large enough to be worth some thousand calls: of 64k to 1M weights, 256k was among the fastest for every type. A GPU wants it filled.
CPU_PIECE = 2**18
LEAST_PIECE = 2**16  # a smaller one is not worth a thread
GPU_PIECE = 2**24


def quantize(values: torch.Tensor, type_name: str) -> torch.Tensor:
    """`(rows, columns)` in float32 → `(rows, bytes a row)` in uint8, on the same device.

    Raises: ValueError when the columns are not whole blocks; OverflowError when a block's scale does not fit float16.
    """
    block, to_bytes = QUANTIZERS[type_name]
    rows, columns = values.shape
    if columns % block:
        raise ValueError(f"{type_name} wants rows in blocks of {block}, and these have {columns} values")
    blocks = values.reshape(-1, block)
    made = [to_bytes(part) for part in blocks.split(GPU_PIECE // block)] if values.is_cuda else in_pieces(to_bytes, blocks)
    return torch.cat(made).view(rows, -1)


def in_pieces(to_bytes: Callable[[torch.Tensor], torch.Tensor], blocks: torch.Tensor) -> list[torch.Tensor]:
    """Pieces of the blocks side by side, each in one thread from its beginning to its end.

    torch would share each of a search's thousand operations among its threads, and wait for the last of them every time: on two cores
    with other work that took two to three times as long.
    """
    threads = torch.get_num_threads()
    share = -(-blocks.numel() // threads)
    pieces = blocks.split(max(min(CPU_PIECE, share), LEAST_PIECE) // blocks.shape[1])
    if threads == 1:
        return [to_bytes(piece) for piece in pieces]
    return in_threads(to_bytes, pieces, threads=threads)


def columns_of(blocks: torch.Tensor, width: int) -> torch.Tensor:
    """`(super-blocks, 256)` → `(width, blocks)`: a block's values in a column, in memory of their own."""
    return blocks.reshape(-1, width).t().clone(memory_format=torch.contiguous_format)


def rows_of(levels: torch.Tensor) -> torch.Tensor:
    """`(width, blocks)` → `(super-blocks, 256)`."""
    return levels.t().reshape(-1, SUPER)


def half_precision(factor: torch.Tensor) -> torch.Tensor:
    """Raises: OverflowError where float16 would be infinite."""
    half = factor.to(torch.float16)
    if not bool(half.isfinite().all()):
        raise OverflowError(f"a scale of {float(factor.abs().max()):.6g} does not fit float16, which ends at 65504")
    return half


def divided(values: torch.Tensor, divisor: float) -> torch.Tensor:
    """By a true division: CUDA would multiply with the inverse of a plain number."""
    return values / torch.full_like(values, divisor)


def ratio(top: float, largest: torch.Tensor) -> torch.Tensor:
    """`top / largest`, and 0 where that is 0."""
    return torch.where(largest != 0.0, torch.full_like(largest, top) / largest, 0.0)


def q4_k(blocks: torch.Tensor) -> torch.Tensor:
    return affine_32(blocks, top=15, start=-1.0, count=21, pack=pack_q4_k)


def q5_k(blocks: torch.Tensor) -> torch.Tensor:
    return affine_32(blocks, top=31, start=-0.5, count=16, pack=pack_q5_k)


def affine_32(blocks: torch.Tensor, *, top: int, start: float, count: int, pack: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Eight blocks of 32 with 6-bit scales and offsets; large values weigh more in the search, none weighs nothing."""
    values = columns_of(blocks, 32)
    # torch takes float32 roots from MKL, which may be off in the last bit; by way of float64 they are exact
    spread = ordered_sum(values * values).div_(32.0).double().sqrt_().float()
    fit = fit_affine(values, values.abs().add_(spread), top=top, start=start, count=count, absolute=False)
    return affine_bytes(values, fit, top=top, steps=63, pack=pack)


def q2_k(blocks: torch.Tensor) -> torch.Tensor:
    """Sixteen blocks of 16 with 4-bit scales and offsets."""
    values = columns_of(blocks, 16)
    fit = fit_affine(values, values.abs(), top=3, start=-0.5, count=16, absolute=True)
    return affine_bytes(values, fit, top=3, steps=15, pack=pack_q2_k)


def affine_bytes(values: torch.Tensor, fit: Affine, *, top: int, steps: int, pack: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Scales and offsets in steps of the super-block's largest, then each value's nearest level under what was really stored."""
    scales, d = stepped(fit.scale, values.shape[0], steps)
    offsets, dmin = stepped(fit.offset, values.shape[0], steps)
    step = (d.float()[:, None] * scales).flatten()
    shift = (dmin.float()[:, None] * offsets).flatten()
    levels = (values + shift).div_(step).round_().clamp_(0, top)
    levels = torch.where(step == 0.0, fit.levels, levels.to(torch.uint8))
    return pack(rows_of(levels), scales.to(torch.uint8), offsets.to(torch.uint8), d, dmin)


def stepped(factors: torch.Tensor, width: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`(blocks,)` → whole steps `(super-blocks, blocks of each)`, and the float16 size of a step, `(super-blocks,)`."""
    factors = factors.view(-1, SUPER // width)
    largest = factors.amax(1)
    largest = torch.where(largest > 0.0, largest, 0.0)  # no negative zero
    whole = (factors * ratio(steps, largest)[:, None]).round_().clamp_(0, steps)
    return whole, half_precision(divided(largest, steps))


def q6_k(blocks: torch.Tensor) -> torch.Tensor:
    """Sixteen blocks of 16 with 8-bit scales."""
    values = columns_of(blocks, 16)
    fit = fit_symmetric(values, half=32)
    largest, signed = first_largest(fit.scale.view(-1, 16).t())
    zero = largest < 1e-15  # GROUP_MAX_EPS
    inverse = ratio(-128.0, signed.masked_fill_(zero, 0.0))
    scales = (fit.scale.view(-1, 16) * inverse[:, None]).round_().clamp_(-128, 127)
    d = half_precision(torch.where(zero, 0.0, 1.0 / inverse))
    levels = symmetric_levels(values, fit, d, scales, half=32)
    levels = rows_of(levels).masked_fill_(zero[:, None], 0)
    return pack_q6_k(levels, scales.to(torch.int8), d)


def q3_k(blocks: torch.Tensor) -> torch.Tensor:
    """Sixteen blocks of 16 with 6-bit scales."""
    values = columns_of(blocks, 16)
    fit = fit_by_descent(values, half=4)
    _, signed = first_largest(fit.scale.view(-1, 16).t())
    inverse = ratio(-32.0, signed)
    scales = (fit.scale.view(-1, 16) * inverse[:, None]).round_().clamp_(-32, 31)
    d = half_precision(torch.where(signed == 0.0, 0.0, 1.0 / inverse))
    levels = symmetric_levels(values, fit, d, scales, half=4)
    stored = torch.where(signed[:, None] == 0.0, 0.0, scales + 32.0)
    return pack_q3_k(rows_of(levels), stored.to(torch.uint8), d)


def symmetric_levels(values: torch.Tensor, fit: Symmetric, d: torch.Tensor, scales: torch.Tensor, *, half: int) -> torch.Tensor:
    """Each value's nearest level under the scales that are really stored; the search's own where that scale is 0."""
    step = (d.float()[:, None] * scales).flatten()
    levels = (values / step).round_().clamp_(-half, half - 1).add_(half)
    return torch.where(step == 0.0, fit.levels, levels.to(torch.uint8))


def q8_0(blocks: torch.Tensor) -> torch.Tensor:
    d = divided(torch.maximum(blocks.amax(1), -blocks.amin(1)).abs_(), 127.0)  # no negative zero
    levels = round_half_away(blocks * ratio(1.0, d)[:, None])
    return torch.cat((half_bytes(half_precision(d)), levels.to(torch.int8).view(torch.uint8)), 1)


def round_half_away(values: torch.Tensor) -> torch.Tensor:
    """C's `roundf`; every step of it is exact."""
    whole = values.trunc()
    return whole.add_(values.sub_(whole).mul_(2.0).trunc_())


def q4_0(blocks: torch.Tensor) -> torch.Tensor:
    d, levels = symmetric_simple(blocks, half=8)
    return torch.cat((d, pack_low_high(levels)), 1)


def q5_0(blocks: torch.Tensor) -> torch.Tensor:
    d, levels = symmetric_simple(blocks, half=16)
    return torch.cat((d, pack_fifth_bits(levels), pack_low_high(levels)), 1)


def symmetric_simple(blocks: torch.Tensor, *, half: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The value of largest magnitude becomes level 0; the others are rounded to nearest. Returns the scale's bytes and the levels."""
    _, signed = first_largest(blocks.t())
    d = signed / -half
    levels = (blocks * ratio(1.0, d)[:, None]).add_(half + 0.5).trunc_().clamp_(max=2.0 * half - 1.0)
    return half_bytes(half_precision(d)), levels.to(torch.uint8)


def q4_1(blocks: torch.Tensor) -> torch.Tensor:
    d, low, levels = affine_simple(blocks, top=15)
    return torch.cat((d, low, pack_low_high(levels)), 1)


def q5_1(blocks: torch.Tensor) -> torch.Tensor:
    d, low, levels = affine_simple(blocks, top=31)
    return torch.cat((d, low, pack_fifth_bits(levels), pack_low_high(levels)), 1)


def affine_simple(blocks: torch.Tensor, *, top: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """From the least value to the largest in even steps. Returns the bytes of step and least value, and the levels."""
    low, high = blocks.amin(1), blocks.amax(1)
    d = divided(high - low, top)
    levels = (blocks - low[:, None]).mul_(ratio(1.0, d)[:, None]).add_(0.5).trunc_().clamp_(max=top)
    return half_bytes(half_precision(d)), half_bytes(half_precision(low)), levels.to(torch.uint8)


QUANTIZERS: dict[str, tuple[int, Callable[[torch.Tensor], torch.Tensor]]] = {
    "q2_k": (SUPER, q2_k),
    "q3_k": (SUPER, q3_k),
    "q4_k": (SUPER, q4_k),
    "q5_k": (SUPER, q5_k),
    "q6_k": (SUPER, q6_k),
    "q4_0": (BLOCK, q4_0),
    "q4_1": (BLOCK, q4_1),
    "q5_0": (BLOCK, q5_0),
    "q5_1": (BLOCK, q5_1),
    "q8_0": (BLOCK, q8_0),
}
