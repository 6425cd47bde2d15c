"""The row length that a data set asks for: one rule, for `data check` and for the plan of a run."""

from __future__ import annotations

import math

ROUND_LENGTH_TO = 64  # tokens; matmul tiles of GPUs and of oneDNN are multiples of 16 to 64
LENGTH_MARGIN = 1.2  # over the 95th percentile


def recommended(length_p95: int, positions: int | None = None) -> tuple[int, str]:
    """(tokens a row, why), from the 95th percentile of the rows' lengths and the model's positions, where it is known."""
    wanted = math.ceil(length_p95 * LENGTH_MARGIN / ROUND_LENGTH_TO) * ROUND_LENGTH_TO
    if positions is not None and wanted > positions:
        return positions, f"the model's limit; p95 of your rows is {length_p95}"
    return wanted, f"p95 of your rows is {length_p95}; ×{LENGTH_MARGIN}, rounded up"
