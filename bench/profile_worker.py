"""A program: one leg in a process of its own, its measured steps under torch.profiler.

    python -m unsloth_ft.bench.profile_worker REQUEST.json

The protocol is that of bench/processes.py; the answer's `measured` is a StepProfile's values.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unsloth_ft.bench.leg import Line, Loaded, prepare

# Kind of work -> the names of torch's operators that do it; the first that matches counts. Self times, so nothing counts twice.
KINDS = {
    "optimizer": r"Optimizer\.|aten::_fused_adam|aten::_foreach_",
    # exp, max and argmax: a log-sum-exp by hand, and TRL's entropy and token accuracy
    "loss": r"log_softmax|nll_loss|NllLoss|logsumexp|cross_entropy|CrossEntropy|aten::(exp|max|amax|argmax)$",
    "attention": r"scaled_dot_product|flash|efficient_attention|aten::(_softmax|bmm|baddbmm)",  # batches are heads here
    "matmul": r"aten::(mm|addmm|matmul|linear|mv|addmv|dot)$|mkldnn_linear|gemm|cutlass|bitsandbytes",
    "copies": r"aten::(copy_|_to_copy|clone|contiguous|cat|stack|index|index_select|index_put_|embedding|gather|masked|fill_|zero_|empty)",
    "elementwise": r"aten::",
}
LARGEST = 12  # operators that are named


@dataclass(frozen=True)
class StepProfile:
    """Of the measured steps together. Under the profiler they are a little slower than without it."""

    seconds: float
    steps: int
    tokens: int
    shares: dict[str, float]
    """Kind of work -> share of the time; `rest` is Python, autograd's own work and waiting."""
    largest: list[dict[str, Any]]
    """Operators with their own seconds and calls."""


def kind_of(operator: str) -> str:
    """The kind of work that an operator's name stands for; `rest` for what is none of torch's operators."""
    return next((kind for kind, names in KINDS.items() if re.search(names, operator)), "rest")


def summed(operators: Iterable[tuple[str, float, int]], *, seconds: float, steps: int, tokens: int) -> StepProfile:
    """`operators`: (name, own seconds, calls). What none of them has is the rest."""
    operators = sorted(operators, key=lambda operator: -operator[1])
    spent: Counter[str] = Counter()
    for name, own, _ in operators:
        spent[kind_of(name)] += own
    spent["rest"] = seconds - sum(own for kind, own in spent.items() if kind != "rest")
    shares = {kind: round(spent[kind] / seconds, 4) for kind in (*KINDS, "rest")}
    largest = [{"operator": name, "seconds": round(own, 4), "calls": calls} for name, own, calls in operators[:LARGEST]]
    return StepProfile(round(seconds, 4), steps, tokens, shares, largest)


def profile(loaded: Loaded) -> StepProfile:
    """Trains the case's steps once; those after the warm-up are profiled."""
    import torch

    from unsloth_ft.bench.training import Pauses

    workload = loaded.situation.workload
    profiler = torch.profiler.profile()  # the host, and the card where there is one
    done, times = 0, []

    def step_ended() -> bool:
        nonlocal done
        done += 1
        loaded.trainer.seen.clear()
        if done == workload.warm_up_steps:
            profiler.start()
            times.append(time.perf_counter())
        if done == workload.steps:
            if loaded.on_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter())
            profiler.stop()
        return done < workload.steps

    loaded.trainer.add_callback(Pauses(step_ended, lambda: None))
    loaded.trainer.train()
    events = profiler.key_averages()
    own = "self_device_time_total" if loaded.on_cuda else "self_cpu_time_total"
    operators = [(event.key, getattr(event, own) / 1e6, event.count) for event in events]
    tokens = sum(len(row.input_ids) for row in workload.measured)
    return summed(operators, seconds=times[1] - times[0], steps=workload.steps - workload.warm_up_steps, tokens=tokens)


def main(path: str) -> None:
    line = Line()
    loaded = prepare(Path(path))
    line.say("ready", measured=loaded.ready)
    for asked in line.asked():
        line.say("repeat", repeat=asked["repeat"], measured=asdict(profile(loaded)))
        break  # a second pass would go on from trained weights


if __name__ == "__main__":
    main(sys.argv[1])
