"""A program: one leg that trains nothing, timed once for every line that asks for it.

    python -m unsloth_ft.bench.command_worker REQUEST.json

The protocol is that of bench/processes.py.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from unsloth_ft.bench import instruments
from unsloth_ft.bench.case import Case, Leg
from unsloth_ft.bench.commands import Task, task


def measured(work: Task) -> dict[str, Any]:
    """What one repeat came to, under the names of Measurement."""
    for _ in range(work.warm_up):
        work.amount(work.run())
    instruments.forget_peak_host()
    at_start = instruments.host_bytes()
    seconds, amount = [], {}
    for _ in range(work.times):
        began = time.perf_counter()
        result = work.run()
        seconds.append(time.perf_counter() - began)
        amount = work.amount(result)
    peak = {"peak_host_bytes": instruments.peak_host_bytes() - at_start} if work.own_memory else {}
    return {"outcome": "done", "seconds": seconds, "amount": amount, **peak}


def main(path: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    began = time.perf_counter()
    leg, case = Leg.model_validate(request["leg"]), Case.model_validate(request["case"])
    work = task(leg, case, Path(request["model"]), Path(request["scratch"]))
    ready = {"load_seconds": time.perf_counter() - began, "setup": work.setup}
    answers.write(json.dumps({"event": "ready", "measured": ready}) + "\n")
    for line in sys.stdin:
        repeat = json.loads(line)["repeat"]
        answers.write(json.dumps({"event": "repeat", "repeat": repeat, "measured": measured(work)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
