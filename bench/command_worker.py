"""A program: one leg that trains nothing, timed once for every line that asks for it.

    python -m unsloth_ft.bench.command_worker REQUEST.json

The protocol is that of bench/processes.py.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from unsloth_ft.bench import instruments
from unsloth_ft.bench.commands import task
from unsloth_ft.bench.leg import Line, Request
from unsloth_ft.bench.task import Task
from unsloth_ft.train.memory import forget_peak_host


def measured(work: Task) -> dict[str, Any]:
    """What one repeat came to, under the names of Measurement."""
    for _ in range(work.warm_up):
        work.amount(work.run())
    forget_peak_host()
    at_start = instruments.host_bytes()
    seconds, peaks, amount = [], [], {}
    for _ in range(work.times):
        began = time.perf_counter()
        result = work.run()
        seconds.append(work.seconds(result) if work.seconds else time.perf_counter() - began)
        amount = work.amount(result)
        peaks.append(work.peak_bytes(result) if work.peak_bytes else instruments.peak_host_bytes() - at_start)
    peak = {"peak_host_bytes": max(peaks)} if work.own_memory or work.peak_bytes else {}
    return {"outcome": "done", "seconds": seconds, "amount": amount, **peak}


def main(path: str) -> None:
    line = Line()
    request = Request.read(Path(path))
    began = time.perf_counter()
    work = task(request.leg, request.case, request.model, request.scratch)
    line.say("ready", measured={"load_seconds": time.perf_counter() - began, "setup": work.setup})
    for asked in line.asked():
        line.say("repeat", repeat=asked["repeat"], measured=measured(work))


if __name__ == "__main__":
    main(sys.argv[1])
