"""The loss at learned positions against torch's own over all of them."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy as torchs

from unsloth_ft.kernels import cross_entropy as module
from unsloth_ft.kernels.cross_entropy import cross_entropy, learned_positions

LABELS = torch.tensor([-100, -100, 3, 5, -100, 1, 0, -100, 2, 4, 4])


def inputs(scale: float = 1.0, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (11, 4) and an output layer (6, 4)."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(size, 4, generator=generator, dtype=dtype) * scale for size in (11, 6))
    return hidden.requires_grad_(), weight


@pytest.mark.parametrize("logits", [2**20, 18, 1])
def test_loss_and_gradient_are_torch_s_however_few_logits_there_are_at_a_time(monkeypatch: pytest.MonkeyPatch, logits: int):
    monkeypatch.setattr(module, "LOGITS", logits)
    hidden, weight = inputs()
    positions, targets = learned_positions(LABELS)
    assert (positions.tolist(), targets.tolist()) == ([1, 2, 4, 5, 7, 8, 9], [3, 5, 1, 0, 2, 4, 4])
    own = cross_entropy(hidden[positions], weight, targets, num_items=7)
    theirs = torchs((hidden @ weight.T)[:-1], LABELS[1:])
    torch.testing.assert_close(own, theirs)
    torch.testing.assert_close(torch.autograd.grad(own, hidden), torch.autograd.grad(theirs, hidden))


def test_the_backward_is_the_forward_s():
    hidden, weight = inputs()
    assert torch.autograd.gradcheck(lambda hidden: cross_entropy(hidden, weight, LABELS[2:4], num_items=3.0), hidden[:2].detach().requires_grad_())


def test_a_target_that_is_nearly_impossible_has_a_finite_loss():
    hidden, weight = inputs(scale=12.0, dtype=torch.float32)
    targets = (hidden @ weight.T).argmin(-1)
    expected = torchs(hidden @ weight.T, targets, reduction="sum")
    assert expected > 11 * 104  # beyond the logarithm of float32's smallest number
    torch.testing.assert_close(cross_entropy(hidden, weight, targets, num_items=1), expected)


def test_no_learned_token_is_no_loss():
    hidden, weight = inputs()
    positions, targets = learned_positions(torch.full((11,), -100))
    own = cross_entropy(hidden[positions], weight, targets, num_items=1)
    assert own.item() == 0
    assert torch.autograd.grad(own, hidden)[0].abs().sum() == 0
