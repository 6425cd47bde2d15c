"""A step's rows in several threads, each with a share of torch's own, forward and backward.

torch shares every single operation among its threads; the small ones, and Python, then hold up all of them. Rows have nothing to do with
each other until their gradients are added, so each thread takes some of them from beginning to end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch

from unsloth_ft import order
from unsloth_ft.kernels.threads import in_threads

Compute = Callable[[dict[str, Any]], torch.Tensor]
# n of torch's threads on the same rows are as fast as n to this power: 1.75 with two (SmolLM2-135M, 8 rows of 20 to 800 tokens).
SHARED = 0.8


def dealt(lengths: Sequence[int], *, threads: int) -> list[list[int]]:
    """The rows of each part, in as many parts as are fastest."""
    rows = range(len(lengths))
    counts = [count for count in range(1, min(threads, len(lengths)) + 1) if threads % count == 0]
    found = [[sorted(part) for part in order.dealt(rows, lengths, rooms=[len(lengths)] * count)] for count in counts]
    return min(found, key=lambda parts: max(sum(lengths[at] for at in part) for part in parts) / (threads // len(parts)) ** SHARED)


def split(inputs: dict[str, Any], *, threads: int) -> list[dict[str, Any]]:
    """Flat rows as several such; of their names those that a fused layer reads."""
    borders = inputs["cu_seq_lens_q"].tolist()
    lengths = [end - start for start, end in zip(borders, borders[1:])]
    parts = dealt(lengths, threads=threads)
    return [inputs] if len(parts) == 1 else [_taken(inputs, part, borders) for part in parts]


def _taken(inputs: dict[str, Any], rows: Sequence[int], borders: Sequence[int]) -> dict[str, Any]:
    spans = [(borders[row], borders[row + 1]) for row in rows]
    ends = accumulate((end - start for start, end in spans), initial=0)
    taken = {name: torch.cat([inputs[name][:, start:end] for start, end in spans], 1) for name in ("input_ids", "labels", "position_ids")}
    return taken | {"cu_seq_lens_q": torch.tensor(list(ends), dtype=torch.int32)}


def total(compute: Compute, parts: Sequence[dict[str, Any]], parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """The sum of `compute` over the parts, a scalar that has gradients by the parameters; they are formed at once, in the same threads."""
    return _Total.apply(compute, parts, *parameters)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Compute, parts: Sequence[dict[str, Any]], *parameters: torch.nn.Parameter) -> torch.Tensor:
        def one(part: dict[str, Any]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
            with torch.enable_grad():
                loss = compute(part)
            return loss.detach(), torch.autograd.grad(loss, parameters)

        (loss, grads), *others = in_threads(one, parts, threads=len(parts))
        for other, other_grads in others:
            loss = loss + other
            torch._foreach_add_(list(grads), list(other_grads))
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, None, *(kept * grad.to(kept.dtype) for kept in ctx.saved_tensors)
