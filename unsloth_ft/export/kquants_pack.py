"""The bit layouts of ggml's quantized blocks (ggml/src/ggml-common.h): levels and scales, one byte each, into bytes of the file.

Arguments are uint8 with the super-blocks first: levels `(super-blocks, 256)`, scales `(super-blocks, 8 or 16)`; `d` and `dmin` are the
super-block's float16 factors, `(super-blocks,)`. Each function returns `(super-blocks, bytes)`.
"""

from __future__ import annotations

import torch


def half_bytes(factor: torch.Tensor) -> torch.Tensor:
    """float16 `(blocks,)` as its two bytes, `(blocks, 2)`, lower one first."""
    return factor.contiguous().view(torch.uint8).view(-1, 2)


def merged(parts: torch.Tensor, bits: int) -> torch.Tensor:
    """`(blocks, …, parts, n)` → `(blocks, … n)`: part i shifted left by `i * bits`, all in one byte."""
    total = parts.select(-2, 0).clone()
    for i in range(1, parts.shape[-2]):
        total |= parts.select(-2, i) << (i * bits)
    return total.flatten(1)


def pack_scales_6bit(scales: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Eight scales and eight offsets of 6 bits in 12 bytes: the upper four lend their high bits to the lower four's bytes."""
    first = scales[:, :4] | (scales[:, 4:] >> 4 << 6)
    second = offsets[:, :4] | (offsets[:, 4:] >> 4 << 6)
    third = (scales[:, 4:] & 15) | ((offsets[:, 4:] & 15) << 4)
    return torch.cat((first, second, third), 1)


def pack_q4_k(levels: torch.Tensor, scales: torch.Tensor, offsets: torch.Tensor, d: torch.Tensor, dmin: torch.Tensor) -> torch.Tensor:
    nibbles = merged(levels.view(-1, 4, 2, 32), 4)
    return torch.cat((half_bytes(d), half_bytes(dmin), pack_scales_6bit(scales, offsets), nibbles), 1)


def pack_q5_k(levels: torch.Tensor, scales: torch.Tensor, offsets: torch.Tensor, d: torch.Tensor, dmin: torch.Tensor) -> torch.Tensor:
    high = merged((levels >> 4).view(-1, 8, 32), 1)
    nibbles = merged((levels & 15).view(-1, 4, 2, 32), 4)
    return torch.cat((half_bytes(d), half_bytes(dmin), pack_scales_6bit(scales, offsets), high, nibbles), 1)


def pack_q2_k(levels: torch.Tensor, scales: torch.Tensor, offsets: torch.Tensor, d: torch.Tensor, dmin: torch.Tensor) -> torch.Tensor:
    pairs = merged(levels.view(-1, 2, 4, 32), 2)
    return torch.cat((scales | (offsets << 4), pairs, half_bytes(d), half_bytes(dmin)), 1)


def pack_q6_k(levels: torch.Tensor, scales: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """`scales` hold int8 values."""
    nibbles = merged((levels & 15).view(-1, 2, 2, 64), 4)
    pairs = merged((levels >> 4).view(-1, 2, 4, 32), 2)
    return torch.cat((nibbles, pairs, scales.view(torch.uint8), half_bytes(d)), 1)


def pack_q3_k(levels: torch.Tensor, scales: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """`scales` are raised by 32, so that they are 0…63."""
    high = merged((levels >> 2).view(-1, 8, 32), 1)
    pairs = merged((levels & 3).view(-1, 2, 4, 32), 2)
    nibbles = merged((scales & 15).view(-1, 2, 8), 4)
    upper = merged((scales >> 4).view(-1, 4, 4), 2)
    return torch.cat((high, pairs, nibbles, upper, half_bytes(d)), 1)


def pack_low_high(levels: torch.Tensor) -> torch.Tensor:
    """A block's 32 levels of 4 bits: the first 16 in the lower halves of 16 bytes, the others in the upper halves."""
    return merged((levels & 15).view(-1, 2, 16), 4)


def pack_fifth_bits(levels: torch.Tensor) -> torch.Tensor:
    """The fifth bit of each of a block's 32 levels, in 4 bytes, first value lowest."""
    bits = (levels >> 4).view(-1, 4, 8)
    return merged(bits.transpose(1, 2), 1)
