"""How far a value in a GGUF file may lie from its source: what rounding to its type explains, and no more."""

from __future__ import annotations

from typing import Any

from unsloth_ft.export.gguf_types import BLOCKS

SMALLEST_F16 = 2.0**-24  # half floats near zero are this far apart
# Relative to the value itself: f16 has 11 significant bits, bf16 has 8.
OF_THE_VALUE = {"f32": 0.0, "f16": 2.0**-11, "bf16": 2.0**-8}
# Relative to a block's largest magnitude: half a step. q4_0 and q5_0 have no level for the largest value's opposite; it is a step off.
OF_THE_LARGEST = {"q8_0": 0.5 / 127, "q4_0": 1 / 8, "q5_0": 1 / 16}
OF_THE_SPAN = {"q4_1": 0.5 / 15, "q5_1": 0.5 / 31}  # half a step between a block's least and largest value
SCALE_ROUNDING = 2.0**-10  # relative to a block's largest magnitude: its float16 scale, and float16 offset
# Root mean square error over all rows that are compared at once, relative to the values' root mean square. A bound for each value or block
# would say nothing: a search trades large errors for small ones, and llama.cpp's own makes up to 1.5 of a q5_K block with 3 values in 256.
# Normal weights come to 0.018, 0.037, 0.073, 0.15 and 0.30; the largest of 33 kinds (heavy-tailed, sparse, scales that change from
# block to block, offsets) to 0.030, 0.051, 0.098, 0.19 and 0.51.
OF_ALL_ROWS = {"q6_k": 0.045, "q5_k": 0.08, "q4_k": 0.15, "q3_k": 0.28, "q2_k": 0.75}
# Largest number of steps of a super-block's float16 factors in a value; near zero each is off by as much as float16 is.
STEPS = {"q6_k": 128 * 32, "q5_k": 63 * 32, "q4_k": 63 * 16, "q3_k": 32 * 4, "q2_k": 15 * 4}


def largest_excess(wanted: Any, found: Any, type_name: str) -> float:
    """How far `found` is from `wanted` beyond what rounding explains, both `(rows, columns)` in float32; 0.0 when it is not."""
    import numpy

    error = numpy.abs(wanted - found)
    if type_name in OF_THE_VALUE:
        slack = 0.0 if type_name == "f32" else SMALLEST_F16
        return float(numpy.maximum(error - numpy.abs(wanted) * OF_THE_VALUE[type_name] - slack, 0.0).max())
    if type_name in OF_ALL_ROWS:
        excess = root_mean_square(error) - OF_ALL_ROWS[type_name] * root_mean_square(wanted) - STEPS[type_name] * SMALLEST_F16
        return max(excess, 0.0)
    blocks = wanted.reshape(-1, BLOCKS[type_name][0]).astype("float64")
    largest = numpy.abs(blocks).max(axis=1)
    span = blocks.max(axis=1) - blocks.min(axis=1)
    half_step = OF_THE_SPAN[type_name] * span if type_name in OF_THE_SPAN else OF_THE_LARGEST[type_name] * largest
    allowed = half_step + SCALE_ROUNDING * largest + BLOCKS[type_name][0] * SMALLEST_F16
    return float(numpy.maximum(error.reshape(blocks.shape).max(axis=1) - allowed, 0.0).max())


def root_mean_square(values: Any) -> float:
    return float((values.astype("float64") ** 2).mean() ** 0.5)
