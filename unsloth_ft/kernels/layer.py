"""A whole decoder layer with LoRA on flat rows, forward and backward: Llama's, Mistral's, Qwen2's and Qwen3's.

x + o(attention(rotated q, k, v of norm(x))), and on that y + down(silu(gate) · up of norm(y)). The frozen weights get no gradient,
so what autograd would keep for them isn't kept, and every product is one that the result needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from unsloth_ft.kernels.attention import attend, attend_backward
from unsloth_ft.kernels.elementwise import rms_norm, rms_norm_backward, rotate_, swiglu, swiglu_backward
from unsloth_ft.kernels.projection import Projection
from unsloth_ft.kernels.rows import Rows


@dataclass(frozen=True)
class Heads:
    """`scaling` is that of the scores; the norms of each head's query and key are Qwen3's, (d,)."""

    heads: int
    kv_heads: int
    size: int
    scaling: float
    q_norm: torch.Tensor | None = None
    k_norm: torch.Tensor | None = None


@dataclass(frozen=True)
class Kept:
    """What the backward needs of the forward. T tokens; `extended` are [x, xAᵀ] of a projection."""

    x: torch.Tensor
    normed: torch.Tensor
    """Extended, of q, k and v."""
    scale: torch.Tensor
    """1 / rms of x, (T, 1)."""
    qkv: torch.Tensor
    """(T, heads + 2 kv_heads, d), before the norms where there are any, else rotated."""
    rotated: torch.Tensor
    """Queries and keys, (T, heads + kv_heads, d)."""
    head_scales: torch.Tensor | None
    attended: torch.Tensor
    """Extended, of o."""
    y: torch.Tensor
    """x plus attention."""
    y_normed: torch.Tensor
    """Extended, of gate and up."""
    y_scale: torch.Tensor
    gate_up: torch.Tensor
    down_xA: torch.Tensor
    """xAᵀ of down alone; its x is formed again."""
    probabilities: tuple[torch.Tensor, ...]

    @property
    def tensors(self) -> tuple[torch.Tensor | None, ...]:
        *parts, probabilities = vars(self).values()
        return (*parts, *probabilities)

    @classmethod
    def of(cls, tensors: Sequence[torch.Tensor | None]) -> Kept:
        """The reverse of `tensors`."""
        single = len(fields(cls)) - 1
        return cls(*tensors[:single], probabilities=tuple(tensors[single:]))


@dataclass(frozen=True)
class Layer:
    """The layer's projections and frozen norm weights."""

    heads: Heads
    qkv: Projection
    o: Projection
    gate_up: Projection
    down: Projection
    input_norm: torch.Tensor
    post_norm: torch.Tensor
    eps: float

    @property
    def projections(self) -> tuple[Projection, Projection, Projection, Projection]:
        return self.qkv, self.o, self.gate_up, self.down

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The adapters' weights, in the order in which `backward` returns their gradients."""
        return [parameter for projection in self.projections for parameter in projection.parameters]

    def refresh(self) -> None:
        """Takes the adapters' values over."""
        for projection in self.projections:
            projection.refresh()

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, rows: Rows) -> tuple[torch.Tensor, Kept]:
        """x (T, hidden) → the same shape, and what a backward needs. cos, sin: (T, 1, d / 2)."""
        kept, activated = self.run(x, cos, sin, rows)
        return self.down.forward(activated, residual=kept.y), kept

    def run(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, rows: Rows) -> tuple[Kept, torch.Tensor]:
        """Everything but the last product: what a backward needs, and the extended input of down."""
        tokens, hidden = x.shape
        normed = self.qkv.input(tokens)
        scale = rms_norm(x, self.input_norm, eps=self.eps, out=normed[:, :hidden])
        self.qkv.extend(normed)
        qkv = self.qkv.forward(normed).view(tokens, -1, self.heads.size)
        rotated, head_scales = self._rotated(qkv, cos, sin)
        attended = self.o.input(tokens)
        out = attended[:, : self.o.inner].view(tokens, self.heads.heads, self.heads.size)
        probabilities = attend(*self._queries_keys(rotated), self._values(qkv), rows=rows, scaling=self.heads.scaling, out=out)
        self.o.extend(attended)
        y = self.o.forward(attended, residual=x)
        y_normed = self.gate_up.input(tokens)
        y_scale = rms_norm(y, self.post_norm, eps=self.eps, out=y_normed[:, :hidden])
        self.gate_up.extend(y_normed)
        gate_up = self.gate_up.forward(y_normed)
        activated = self.down.input(tokens)
        swiglu(*gate_up.chunk(2, -1), out=activated[:, : self.down.inner])
        self.down.extend(activated)
        down_xA = activated[:, self.down.inner :].clone()
        parts = (x, normed, scale, qkv, rotated, head_scales, attended, y, y_normed, y_scale, gate_up, down_xA)
        return Kept(*parts, probabilities=tuple(probabilities)), activated

    def backward(
        self, grad: torch.Tensor, kept: Kept, cos: torch.Tensor, sin: torch.Tensor, rows: Rows, *, needs_input: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """(gradient of x or None, those of `parameters`), given that of the result."""
        grad_y, of_mlp = self._backward_mlp(grad, kept)
        grad_attended, grad_xA = self.o.backward(grad_y)
        of_o = self.o.backward_adapters(grad_y, grad_xA, *self._parts(self.o, kept.attended))
        grad_qkv = self._backward_attention(grad_attended, kept, cos, sin, rows).flatten(1)
        grad_normed, grad_xA = self.qkv.backward(grad_qkv)
        of_qkv = self.qkv.backward_adapters(grad_qkv, grad_xA, *self._parts(self.qkv, kept.normed))
        if not needs_input:
            return None, [*of_qkv, *of_o, *of_mlp]
        grad_x = rms_norm_backward(grad_normed, kept.x, kept.scale, self.input_norm).to(grad.dtype).add_(grad_y)
        return grad_x, [*of_qkv, *of_o, *of_mlp]

    def _backward_mlp(self, grad: torch.Tensor, kept: Kept) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(gradient of y, those of the adapters of gate, up and down)."""
        grad_activated, grad_xA = self.down.backward(grad)
        grad_gate_up = torch.empty_like(kept.gate_up)
        grad_gate, grad_up = grad_gate_up.chunk(2, -1)
        activated = swiglu_backward(grad_activated, *kept.gate_up.chunk(2, -1), grad_gate=grad_gate, grad_up=grad_up)
        of_down = self.down.backward_adapters(grad, grad_xA, activated, kept.down_xA)
        grad_normed, grad_xA = self.gate_up.backward(grad_gate_up)
        of_gate_up = self.gate_up.backward_adapters(grad_gate_up, grad_xA, *self._parts(self.gate_up, kept.y_normed))
        grad_y = rms_norm_backward(grad_normed, kept.y, kept.y_scale, self.post_norm).to(grad.dtype).add_(grad)
        return grad_y, [*of_gate_up, *of_down]

    def _backward_attention(
        self, grad_attended: torch.Tensor, kept: Kept, cos: torch.Tensor, sin: torch.Tensor, rows: Rows
    ) -> torch.Tensor:
        """Gradient of queries, keys and values as the projection gave them, (T, heads + 2 kv_heads, d)."""
        grad_qkv = torch.empty_like(kept.qkv)
        both = self.heads.heads + self.heads.kv_heads
        rotated = torch.empty_like(kept.rotated) if kept.head_scales is not None else grad_qkv[:, :both]
        out = (*self._queries_keys(rotated), self._values(grad_qkv))
        grad = grad_attended.view(grad_attended.shape[0], self.heads.heads, self.heads.size)
        inputs = (*self._queries_keys(kept.rotated), self._values(kept.qkv))
        attend_backward(grad, *inputs, kept.probabilities, rows=rows, scaling=self.heads.scaling, out=out)
        rotate_(rotated, cos, sin, backward=True)
        if kept.head_scales is not None:
            for part, weight in self._normed_heads():
                grad_qkv[:, part] = rms_norm_backward(rotated[:, part], kept.qkv[:, part], kept.head_scales[:, part], weight)
        return grad_qkv

    def _rotated(self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(queries and keys after norm and rotation, 1 / rms of each head or None). Without norms in place."""
        rotated, scales = qkv[:, : self.heads.heads + self.heads.kv_heads], None
        if self.heads.q_norm is not None:
            before, rotated = rotated, torch.empty(rotated.shape, dtype=qkv.dtype)
            scales = torch.cat(
                [rms_norm(before[:, part], weight, eps=self.eps, out=rotated[:, part]) for part, weight in self._normed_heads()], 1
            )
        rotate_(rotated, cos, sin)
        return rotated, scales

    def _normed_heads(self) -> tuple[tuple[slice, torch.Tensor], ...]:
        """(the heads, their norm's weight), of queries and of keys."""
        queries, both = self.heads.heads, self.heads.heads + self.heads.kv_heads
        return (slice(0, queries), self.heads.q_norm), (slice(queries, both), self.heads.k_norm)

    def _queries_keys(self, rotated: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rotated[:, : self.heads.heads], rotated[:, self.heads.heads :]

    def _values(self, qkv: torch.Tensor) -> torch.Tensor:
        return qkv[:, self.heads.heads + self.heads.kv_heads :]

    @staticmethod
    def _parts(projection: Projection, extended: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return extended[:, : projection.inner], extended[:, projection.inner :]


class LayerFunction(torch.autograd.Function):
    """The layer for autograd. `parameters` are the layer's own, handed in so that their gradients come out."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, layer: Layer, cos: torch.Tensor, sin: torch.Tensor, rows: Rows, recompute: bool, *parameters: Any
    ) -> torch.Tensor:
        out, kept = layer.forward(x, cos, sin, rows)
        ctx.layer, ctx.rows = layer, rows
        ctx.save_for_backward(x, cos, sin, *(() if recompute else kept.tensors))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, cos, sin, *saved = ctx.saved_tensors
        kept = Kept.of(saved) if saved else ctx.layer.run(x, cos, sin, ctx.rows)[0]
        grad_x, grads = ctx.layer.backward(grad, kept, cos, sin, ctx.rows, needs_input=ctx.needs_input_grad[0])
        return grad_x, None, None, None, None, None, *grads
