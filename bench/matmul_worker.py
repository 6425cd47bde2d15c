"""A program: measures this machine's matrix product and prints one JSON line.

    python -m unsloth_ft.bench.matmul_worker cpu|cuda bfloat16|float16|float32

Square products of random numbers; the size that is fastest counts, as the median of its repeats. It is the rate that a training
step is held against, so it is measured with the same library, in the same dtype, just before.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
REPEATS = 7


def measure(device: str, dtype_name: str) -> dict[str, Any]:
    """The rate in operations a second, and the size that reached it."""
    import torch

    rates = {}
    for size in SIZES[device]:
        left, right = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype_name)) for _ in range(2))
        left @ right  # the first call chooses a kernel
        rates[size] = 2 * size**3 / statistics.median(timed(left, right) for _ in range(REPEATS))
    best = max(rates, key=rates.__getitem__)
    return {"matmul_flops_per_second": rates[best], "size": best, "device": device, "dtype": dtype_name}


def timed(left: Any, right: Any) -> float:
    """Seconds of one product."""
    import torch

    if left.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    left @ right
    if left.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))
