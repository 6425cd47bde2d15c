"""Cross-entropy at learned positions only, a few logits at a time, with the gradient formed while they are at hand.

No more than LOGITS of them exist at once, in the forward as in the backward (the idea of Liger's and Unsloth's fused losses).
"""

from __future__ import annotations

from typing import Any

import torch

LOGITS = 2**23  # at a time: 16 MiB in bfloat16 and 32 MiB in float32; 170 positions of a vocabulary of 49,152


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
        total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        rows = max(1, LOGITS // weight.shape[0])
        for start in range(0, hidden.shape[0], rows):
            part = slice(start, start + rows)
            logits = hidden[part] @ weight.T
            nll, probabilities = _softmax(logits, targets[part])
            total += nll
            if grad is not None:
                torch.mm(logits.copy_(probabilities), weight, out=grad[part])
        if grad is not None:
            ctx.save_for_backward(grad.div_(num_items))
        return total / num_items

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (hidden_grad,) = ctx.saved_tensors
        return hidden_grad * grad.to(hidden_grad.dtype), None, None, None


def _softmax(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of the negative log-likelihoods, gradient of that sum by the logits), of logits (n, vocab) and targets (n,)."""
    highest, at = logits.max(-1, keepdim=True)
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    of_target = exact.gather(1, targets[:, None])
    probabilities = torch.softmax(exact, -1, out=exact)
    # -log of the target's own probability would be infinite where that is too small for a float.
    nll = (highest - of_target - probabilities.gather(1, at).log()).sum()
    return nll, probabilities.scatter_add_(1, targets[:, None], torch.full_like(of_target, -1.0))
