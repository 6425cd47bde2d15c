"""The searches behind llama.cpp's quantizers: which scale, offset and levels lose least of a block of weights.

Blocks lie in columns: `(values, blocks)`, so that every operation runs over neighbouring memory and a block's values meet in a fixed
order. llama.cpp adds in float32, one value after the other, and each choice hangs on such sums: adding in its order gives its choices, bit
for bit, on a CPU as on a GPU. Source of the formulas: ggml/src/ggml-quants.c (make_qkx2_quants, make_qx_quants, make_q3_quants); with no
importance matrix `llama-quantize` takes these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy
import torch

LEAST_MAGNITUDE = 1e-15  # ggml's GROUP_MAX_EPS: a block below it is all zero


@dataclass(frozen=True)
class Affine:
    """Values are `scale * level - offset` with `offset >= 0`; all are `(blocks,)` but for `levels`, which is `(values, blocks)`."""

    scale: torch.Tensor
    offset: torch.Tensor
    levels: torch.Tensor


@dataclass(frozen=True)
class Symmetric:
    """Values are `scale * (level - half)`; `scale` is `(blocks,)` and may be negative, `levels` is `(values, blocks)`."""

    scale: torch.Tensor
    levels: torch.Tensor


def ordered_sum(values: torch.Tensor) -> torch.Tensor:
    """The sum over the first axis, added from its beginning to its end as a plain loop adds."""
    total = values[0].clone()
    for part in values[1:].unbind(0):
        total += part
    return total


def first_largest(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest magnitude over the first axis, and the value that has it: the first one, where two have it with opposite signs."""
    low, high = values.amin(0), values.amax(0)
    largest = torch.maximum(high, -low)
    signed = torch.where(high == largest, high, low)
    tied = ((high == -low) & (high != 0.0)).nonzero()[:, 0]
    if len(tied):
        some = values[:, tied]
        signed[tied] = some.gather(0, some.abs().argmax(0, keepdim=True))[0]  # argmax takes the first
    return largest, signed


def candidates(start: float, step: float, count: int, base: int) -> list[float]:
    """`start + step * i + base` for i below `count`, each operation rounded to float32 as C does it."""
    single = numpy.float32
    return [float(single(start) + single(step) * single(i) + single(base)) for i in range(count)]


def fit_affine(values: torch.Tensor, weights: torch.Tensor, *, top: int, start: float, count: int, absolute: bool) -> Affine:
    """Levels 0…`top`, with scale and offset by weighted least squares for each of `count` trial step widths; the least error wins.

    `values` and `weights` are `(values, blocks)`. The trial widths are the block's span over `top + start + 0.1 * i`; the plain one, its
    span over `top`, comes first. The span begins at the best offset so far, so a trial hangs on those before it. `absolute` weighs
    absolute differences instead of squares (q2_K).
    """
    high, offset = values.amax(0), values.amin(0).clamp_(max=0.0)
    flat = high == offset
    totals = ordered_sum(weights), ordered_sum(weights * values)
    work = Work.like(values)
    found = Found(offset, torch.full_like(high, top).div_(high - offset))
    work.round_levels(values, found, top)
    scale = 1.0 / found.inverse
    least = work.error(values, weights, scale, offset, absolute=absolute)
    best = found
    for trial in candidates(start, 0.1, count, top):
        found = Found(offset, torch.full_like(high, trial).div_(high - offset))
        work.round_levels(values, found, top)
        new_scale, new_offset, sound = work.least_squares(values, weights, *totals)
        error = work.error(values, weights, new_scale, new_offset, absolute=absolute)
        better = sound & (error < least)
        least = torch.where(better, error, least)
        scale = torch.where(better, new_scale, scale)
        offset = torch.where(better, new_offset, offset)
        best = Found(torch.where(better, found.low, best.low), torch.where(better, found.inverse, best.inverse))
    work.round_levels(values, best, top)
    return Affine(scale.masked_fill_(flat, 0.0), offset.neg(), work.levels.masked_fill_(flat, 0.0).to(torch.uint8))


@dataclass(frozen=True)
class Found:
    """How values become levels: `(value - low) * inverse`, rounded; both `(blocks,)`."""

    low: torch.Tensor
    inverse: torch.Tensor


@dataclass(frozen=True)
class Work:
    """Memory that the trials of one search share: `levels` `(values, blocks)` and three products of each, `(values, 3, blocks)`."""

    levels: torch.Tensor
    products: torch.Tensor

    @classmethod
    def like(cls, values: torch.Tensor) -> Work:
        count, blocks = values.shape
        return cls(torch.empty_like(values), torch.empty((count, 3, blocks), device=values.device))

    def round_levels(self, values: torch.Tensor, found: Found, top: int) -> None:
        torch.sub(values, found.low, out=self.levels)
        self.levels.mul_(found.inverse).round_().clamp_(0.0, float(top))

    def least_squares(
        self, values: torch.Tensor, weights: torch.Tensor, sum_w: torch.Tensor, sum_x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scale, offset (at most 0) and whether they are determined, each `(blocks,)`, for the levels as they are."""
        by_level, by_square, by_value = self.products.unbind(1)
        torch.mul(weights, self.levels, out=by_level)
        torch.mul(by_level, self.levels, out=by_square)
        torch.mul(by_level, values, out=by_value)
        sum_l, sum_ll, sum_lx = ordered_sum(self.products)
        determinant = sum_w * sum_ll - sum_l * sum_l
        scale = (sum_w * sum_lx - sum_x * sum_l).div_(determinant)
        offset = (sum_ll * sum_x - sum_l * sum_lx).div_(determinant)
        above = offset > 0.0
        return torch.where(above, sum_lx.div_(sum_ll), scale), offset.masked_fill_(above, 0.0), determinant > 0.0

    def error(
        self, values: torch.Tensor, weights: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, *, absolute: bool
    ) -> torch.Tensor:
        """What the levels lose under this scale and offset, `(blocks,)`. The levels are used up."""
        loss = self.levels.mul_(scale).add_(offset).sub_(values)
        return ordered_sum((loss.abs_() if absolute else loss.mul_(loss)).mul_(weights))


def fit_symmetric(values: torch.Tensor, *, half: int) -> Symmetric:
    """Levels 0…2 `half` - 1 around `half`, the scale by least squares weighted with the squared value, for 19 trial step widths.

    A later trial wins only where it beats the best so far, compared by cross-multiplication as llama.cpp does.
    """
    largest, signed = first_largest(values)
    zero = largest < LEAST_MAGNITUDE
    signed.masked_fill_(zero, 1.0)
    squares = values * values
    cubes = squares * values
    levels = torch.empty_like(values)
    products = torch.empty((len(values), 2, *values.shape[1:]), device=values.device)
    scale, gain, best_inverse = torch.zeros_like(signed), torch.zeros_like(signed), torch.zeros_like(signed)
    for trial in (float(half), *candidates_around(half)):
        inverse = torch.full_like(signed, -trial).div_(signed)
        torch.mul(values, inverse, out=levels).round_().clamp_(-half, half - 1)
        torch.mul(levels, cubes, out=products[:, 0])
        torch.mul(levels, squares, out=products[:, 1])
        products[:, 1].mul_(levels)
        sum_lx, sum_ll = ordered_sum(products)
        better = (sum_ll > 0.0) & ((sum_lx * sum_lx) > gain * sum_ll)
        scale = torch.where(better, sum_lx / sum_ll, scale)
        gain = torch.where(better, scale * sum_lx, gain)
        best_inverse = torch.where(better, inverse, best_inverse)
    torch.mul(values, best_inverse, out=levels).round_().clamp_(-half, half - 1)
    return Symmetric(scale.masked_fill_(zero, 0.0), levels.add_(half).masked_fill_(zero, 0.0).to(torch.uint8))


def candidates_around(half: int) -> list[float]:
    """`half + 0.1 * i` for i from -9 to 9 but 0, rounded to float32 as C does it."""
    single = numpy.float32
    return [float(single(half) + single(0.1) * single(i)) for i in range(-9, 10) if i != 0]


def fit_by_descent(values: torch.Tensor, *, half: int, rounds: int = 5) -> Symmetric:
    """As `fit_symmetric` from one trial, then value by value: each takes the level that is best with the others as they are.

    A block in which a round changed nothing is done: a further round would find the same.
    """
    largest, signed = first_largest(values)
    zero = largest < LEAST_MAGNITUDE
    inverse = torch.full_like(signed, -float(half)).div_(signed.masked_fill_(zero, 1.0))
    levels = torch.mul(values, inverse).round_().clamp_(-half, half - 1)
    squares = values * values
    cubes = squares * values
    sums = torch.stack((ordered_sum(cubes * levels), ordered_sum(squares * levels * levels)))
    state = (values, squares, cubes, levels, sums)
    left = torch.arange(values.shape[1], device=values.device)
    for _ in range(rounds):
        changed = descend(*state, half=half)
        if len(left) < values.shape[1]:
            levels[:, left], sums[:, left] = state[3], state[4]
        left = left[changed]
        if not len(left):
            break
        state = tuple(part[:, changed] for part in state)
    sum_lx, sum_ll = sums
    scale = torch.where(sum_ll > 0.0, sum_lx / sum_ll, 0.0).masked_fill_(zero, 0.0)
    return Symmetric(scale, levels.add_(half).masked_fill_(zero, 0.0).to(torch.uint8))


def descend(
    values: torch.Tensor, squares: torch.Tensor, cubes: torch.Tensor, levels: torch.Tensor, sums: torch.Tensor, *, half: int
) -> torch.Tensor:
    """Moves each value to its best level where that is a gain. Changes `levels` `(values, blocks)` and `sums` `(2, blocks)` in place.

    Returns where anything moved, `(blocks,)`.
    """
    sum_lx, sum_ll = sums
    changed = torch.zeros_like(sum_lx, dtype=torch.bool)
    shares_lx, shares_ll = cubes * levels, (squares * levels).mul_(levels)
    parts = (values, squares, cubes, levels, shares_lx, shares_ll)
    for value, square, cube, level, share_lx, share_ll in zip(*(part.unbind(0) for part in parts)):
        rest_lx, rest_ll = sum_lx - share_lx, sum_ll - share_ll
        moved = (value * rest_ll).div_(rest_lx).round_().clamp_(-half, half - 1)
        move = (rest_lx > 0.0).logical_and_(moved != level)
        rest_lx += cube * moved
        rest_ll += (square * moved).mul_(moved)
        move &= rest_ll > 0.0
        move &= (rest_lx * rest_lx).mul_(sum_ll) > (sum_lx * sum_lx).mul_(rest_ll)
        torch.where(move, moved, level, out=level)
        torch.where(move, rest_lx, sum_lx, out=sum_lx)
        torch.where(move, rest_ll, sum_ll, out=sum_ll)
        changed |= move
    return changed
