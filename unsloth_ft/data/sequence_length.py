"""The row length that a data set asks for: one rule, for `data check` and for the plan of a run."""

from __future__ import annotations

import math

ROUND_LENGTH_TO = 64  # tokens; matmul tiles of GPUs and of oneDNN are multiples of 16 to 64
LENGTH_MARGIN = 1.2  # over the 95th percentile


def covering(length_p95: int) -> int:
    """Tokens a row, from the 95th percentile of the rows' lengths in tokens; what the model allows is not looked at."""
    return math.ceil(length_p95 * LENGTH_MARGIN / ROUND_LENGTH_TO) * ROUND_LENGTH_TO


def reason(length_p95: int) -> str:
    """Why it is that."""
    return f"p95 of your rows is {length_p95}; ×{LENGTH_MARGIN}, rounded up"
