"""The parts of a decoder layer between its matrix products, each with its backward; rounded where transformers rounds.

Shapes: T tokens of the flat rows. Gradients come back in the input's dtype, sums in between are float32 (float64 of float64).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def exact(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums are formed in."""
    return torch.promote_types(dtype, torch.float32)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, *, eps: float, out: torch.Tensor) -> torch.Tensor:
    """Writes x / rms(x) · weight into `out`; the last dimension is the normed one. Returns 1 / rms(x), (…, 1) (arXiv 1910.07467)."""
    wide = x.to(exact(x.dtype), copy=True)
    scale = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    torch.mul(wide.mul_(scale).to(x.dtype), weight, out=out)
    return scale


def rms_norm_backward(grad: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Gradient of x in `exact` precision. With n = x · scale and g = grad · weight: scale · (g - n · mean(g · n))."""
    wide = (grad * weight).to(scale.dtype)
    normed = x * scale
    along = (wide * normed).mean(-1, keepdim=True)
    return wide.addcmul_(normed, along, value=-1).mul_(scale)


def rotate_(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, backward: bool = False) -> None:
    """Rotary embedding in place, of x (T, heads, d); cos and sin (T, 1, d / 2). Backward is the rotation the other way round."""
    sign = -1 if backward else 1
    first, second = x.chunk(2, -1)
    before = first.clone()
    first.mul_(cos).addcmul_(second, sin, value=-sign)
    second.mul_(cos).addcmul_(before, sin, value=sign)


def swiglu(gate: torch.Tensor, up: torch.Tensor, *, out: torch.Tensor) -> None:
    """Writes silu(gate) · up into `out` (arXiv 2002.05202)."""
    torch.mul(F.silu(gate), up, out=out)


def swiglu_backward(
    grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, *, grad_gate: torch.Tensor, grad_up: torch.Tensor
) -> torch.Tensor:
    """Writes the gradients of gate and up; returns silu(gate) · up again. Spoils `grad`."""
    activated = F.silu(gate)
    torch.mul(grad, activated, out=grad_up)
    torch.ops.aten.silu_backward.grad_input(grad.mul_(up), gate, grad_input=grad_gate)
    return activated.mul_(up)
