"""Linear layers that share their input, with their adapters, as one matrix product.

The frozen weights stand under one another, and to the right of each its adapter's scale · B:

    [x, xAᵀ] · [W, sB]ᵀ  =  xWᵀ + s·xAᵀBᵀ

so that base and adapter are added inside the product, unrounded. PEFT adds the adapter's part to an output that is rounded to
bfloat16 already, where most of a small update is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Member:
    """One linear layer: weight (out, in), bias (out,) or None; and its adapter, if it has one: A (r, in), B (out, r), scale.

    `quantized`: bitsandbytes' quant_state, when the weight is NF4 in its packed form.
    """

    weight: torch.nn.Parameter
    bias: torch.nn.Parameter | None = None
    lora_A: torch.nn.Parameter | None = None
    lora_B: torch.nn.Parameter | None = None
    scaling: float = 0.0
    quantized: Any = None

    @property
    def rank(self) -> int:
        return 0 if self.lora_A is None else self.lora_A.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)"""
        return tuple(self.weight.shape if self.quantized is None else self.quantized.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weight in a product."""
        return self.weight.dtype if self.quantized is None else self.quantized.dtype


class Projection:
    """`members` in the order of their outputs. Takes their weights over: each parameter becomes a view of the common buffer."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.parts = _parts(members)
        self.inner = members[0].shape[1]
        self.rank = sum(member.rank for member in members)
        self.outer = sum(member.shape[0] for member in members)
        self.like = torch.empty(0, dtype=members[0].dtype, device=members[0].weight.device)
        self.A = self.like.new_zeros(self.rank, self.inner)
        self.bias = _stacked([member.bias for member in members])
        self.buffer = self.like.new_zeros(self.outer, self.inner + self.rank)
        self.scaled_B = self.buffer[:, self.inner :]
        self._take_over()

    @torch.no_grad()
    def _take_over(self) -> None:
        for member, rows, _ in self.parts:
            view = self.buffer[rows, : self.inner]
            view.copy_(member.weight)
            member.weight.data = view

    def weight(self) -> torch.Tensor:
        """[W, sB], (out, in + rank)."""
        return self.buffer

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """A and B of each adapter, in order."""
        return [parameter for member, _, _ in self.parts if member.rank for parameter in (member.lora_A, member.lora_B)]

    @torch.no_grad()
    def refresh(self) -> None:
        """Takes the adapters' values over.

        At every micro-batch, for 8 ms of a step's 4 s (SmolLM2-135M, one core): version counters would say when it is needed, but
        miss what writes through `.data`, and bitsandbytes' optimizers.
        """
        for member, rows, columns in self.parts:
            if member.rank:
                self.A[columns] = member.lora_A
                self.scaled_B[rows, columns] = member.lora_B * member.scaling

    def input(self, tokens: int) -> torch.Tensor:
        """An empty [x, xAᵀ], shape (T, in + rank), whose first `in` columns the caller fills."""
        return self.like.new_empty(tokens, self.inner + self.rank)

    def extend(self, extended: torch.Tensor) -> None:
        """Fills xAᵀ in."""
        if self.rank:
            extended[:, self.inner :] = extended[:, : self.inner] @ self.A.T

    def forward(self, extended: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """The outputs side by side, (T, out), plus the residual. `extended` must be whole."""
        start = residual if self.bias is None else self.bias if residual is None else residual + self.bias
        weight = self.weight().T
        return extended @ weight if start is None else torch.addmm(start, extended, weight)

    def backward(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(gradient of x, of xAᵀ without its way through x), given that of the outputs, (T, out)."""
        both = grad @ self.weight()
        grad_x, grad_xA = both[:, : self.inner], both[:, self.inner :].contiguous()
        return (grad_x.addmm_(grad_xA, self.A) if self.rank else grad_x), grad_xA

    def backward_adapters(self, grad: torch.Tensor, grad_xA: torch.Tensor, x: torch.Tensor, xA: torch.Tensor) -> list[torch.Tensor]:
        """The gradients of `parameters`."""
        if not self.rank:
            return []
        grad_A = grad_xA.T @ x
        grads = []
        for member, rows, columns in self.parts:
            if member.rank:
                grad_B = (grad[:, rows].T @ xA[:, columns]).to(member.lora_B.dtype).mul_(member.scaling)
                grads += [grad_A[columns].to(member.lora_A.dtype), grad_B]
        return grads


class Scratch(threading.local):
    """Room for one dense weight at a time in each thread, shared by all quantized projections of a model."""

    def __init__(self) -> None:
        self.flat: torch.Tensor | None = None

    def of(self, like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Shape (rows, columns); what was written into it last is lost."""
        if self.flat is None or self.flat.numel() < rows * columns:
            self.flat = like.new_empty(rows * columns)
        return self.flat[: rows * columns].view(rows, columns)


class QuantizedProjection(Projection):
    """`members` in NF4, which they stay; their dense weight is made anew for each product, in `scratch`.

    On a CPU that takes 2 % of a product over 1,000 tokens (bitsandbytes 0.50.2), forward and backward.
    """

    def __init__(self, members: Sequence[Member], scratch: Scratch) -> None:
        self.scratch = scratch
        super().__init__(members)

    def _take_over(self) -> None:
        self.scaled_B = self.scaled_B.clone()
        del self.buffer

    def weight(self) -> torch.Tensor:
        from bitsandbytes.functional import dequantize_4bit

        weight = self.scratch.of(self.like, self.outer, self.inner + self.rank)
        for member, rows, _ in self.parts:
            weight[rows, : self.inner] = dequantize_4bit(member.weight.data, member.quantized)
        weight[:, self.inner :] = self.scaled_B
        return weight


def _parts(members: Sequence[Member]) -> tuple[tuple[Member, slice, slice], ...]:
    """(member, its rows of the output, its columns of xAᵀ), one under the other and side by side."""
    parts, row, column = [], 0, 0
    for member in members:
        rows, columns = slice(row, row + member.shape[0]), slice(column, column + member.rank)
        parts.append((member, rows, columns))
        row, column = rows.stop, columns.stop
    return tuple(parts)


def _stacked(biases: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    present = [bias for bias in biases if bias is not None]
    if not present:
        return None
    if len(present) != len(biases):
        raise NotImplementedError("some linear layers of a group have a bias and some have none; no supported family is like that")
    return torch.cat([bias.detach() for bias in present])
