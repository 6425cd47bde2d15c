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
# Root mean square error of a super-block relative to its values' root mean square. There is no strict bound that says something: a
# search trades large errors for small ones.
OF_THE_SUPER_BLOCK = {"q6_k": 0.05, "q5_k": 0.1, "q4_k": 0.2, "q3_k": 0.4, "q2_k": 0.8}
# Largest number of steps of a super-block's float16 factors in a value; near zero each is off by as much as float16 is.
STEPS = {"q6_k": 128 * 32, "q5_k": 63 * 32, "q4_k": 63 * 16, "q3_k": 32 * 4, "q2_k": 15 * 4}


def largest_excess(wanted: Any, found: Any, type_name: str) -> float:
    """How far `found` is from `wanted` beyond what rounding explains, both `(rows, columns)` in float32; 0.0 when it is not."""
    import numpy

    error = numpy.abs(wanted - found)
    if type_name in OF_THE_VALUE:
        slack = 0.0 if type_name == "f32" else SMALLEST_F16
        return float(numpy.maximum(error - numpy.abs(wanted) * OF_THE_VALUE[type_name] - slack, 0.0).max())
    blocks, error = (values.reshape(-1, BLOCKS[type_name][0]).astype(numpy.float64) for values in (wanted, error))
    largest = numpy.abs(blocks).max(axis=1)
    if type_name in OF_THE_SUPER_BLOCK:
        error = numpy.sqrt((error**2).mean(axis=1))
        allowed = OF_THE_SUPER_BLOCK[type_name] * numpy.sqrt((blocks**2).mean(axis=1)) + STEPS[type_name] * SMALLEST_F16
        return float(numpy.maximum(error - allowed, 0.0).max())
    span = blocks.max(axis=1) - blocks.min(axis=1)
    half_step = OF_THE_SPAN[type_name] * span if type_name in OF_THE_SPAN else OF_THE_LARGEST[type_name] * largest
    allowed = half_step + SCALE_ROUNDING * largest + 32 * SMALLEST_F16
    return float(numpy.maximum(error.max(axis=1) - allowed, 0.0).max())
