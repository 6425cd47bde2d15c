"""Cross-entropy at learned positions only, a few logits at a time, with the gradient formed while they are at hand.

No more than LOGITS of them exist at once, in the forward as in the backward (the idea of Liger's and Unsloth's fused losses).
"""

from __future__ import annotations

from typing import Any

import torch

# At a time: 24 MiB in bfloat16 and 48 MiB in float32; 256 positions of a vocabulary of 49,152. Of 64, 128, 170, 256, 340, 512 and
# 1,024 positions the products of 256 ran at the highest rate (202 GFLOP/s on a core that reaches 215).
LOGITS = 3 * 2**22
SMALLEST = 1e-30  # a target's probability below which its logarithm is taken from the logits: float32 ends at 1e-38


def learned_positions(labels: torch.Tensor, *, ignored: int = -100) -> tuple[torch.Tensor, torch.Tensor]:
    """(positions that predict a learned token, those tokens), both of shape (n,), from flat labels of shape (T,)."""
    positions = (labels[1:] != ignored).nonzero().flatten()
    return positions, labels[positions + 1]


def cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, *, num_items: float) -> torch.Tensor:
    """Sum of the negative log-likelihoods over `num_items`, in float32 (float64 of float64); hidden (n, size), weight (vocab, size).

    The output layer is frozen: only `hidden` gets a gradient.
    """
    return _CrossEntropy.apply(hidden, weight, targets, num_items)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, num_items: float) -> torch.Tensor:
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        exact = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=exact, device=hidden.device)
        rows = max(1, min(LOGITS // weight.shape[0], hidden.shape[0]))
        logits = hidden.new_empty(rows, weight.shape[0])
        probabilities = torch.empty_like(logits, dtype=exact)
        for start in range(0, hidden.shape[0], rows):
            part = slice(start, start + rows)
            count = len(targets[part])
            torch.mm(hidden[part], weight.T, out=logits[:count])
            total += _softmax(logits[:count], targets[part], out=probabilities[:count])
            if grad is not None:
                torch.mm(logits[:count].copy_(probabilities[:count]), weight, out=grad[part])
        if grad is not None:
            ctx.save_for_backward(grad.div_(num_items))
        return total / num_items

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (hidden_grad,) = ctx.saved_tensors
        return hidden_grad * grad.to(hidden_grad.dtype), None, None, None


def _softmax(logits: torch.Tensor, targets: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
    """The sum of the negative log-likelihoods; its gradient by the logits is written into `out`, (n, vocab)."""
    torch.softmax(out.copy_(logits), -1, out=out)
    of_target = out.gather(1, targets[:, None])
    nll = -of_target.log()
    lost = of_target[:, 0] < SMALLEST
    if lost.any():
        wide = logits[lost].to(out.dtype)
        nll[lost] = wide.logsumexp(-1, keepdim=True) - wide.gather(1, targets[lost, None])
    out.scatter_add_(1, targets[:, None], torch.full_like(of_target, -1.0))
    return nll.sum()
