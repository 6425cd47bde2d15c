"""Linear layers that share their input, with their adapters, as one matrix product.

The frozen weights stand under one another, and to the right of each its adapter's scale · B:

    [x, xAᵀ] · [W, sB]ᵀ  =  xWᵀ + s·xAᵀBᵀ

so that base and adapter are added inside the product, unrounded. PEFT adds the adapter's part to an output that is rounded to
bfloat16 already, where most of a small update is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Member:
    """One linear layer: weight (out, in), bias (out,) or None; and its adapter, if it has one: A (r, in), B (out, r), scale."""

    weight: torch.nn.Parameter
    bias: torch.nn.Parameter | None = None
    lora_A: torch.nn.Parameter | None = None
    lora_B: torch.nn.Parameter | None = None
    scaling: float = 0.0

    @property
    def rank(self) -> int:
        return 0 if self.lora_A is None else self.lora_A.shape[0]


class Projection:
    """`members` in the order of their outputs. Takes their weights over: each parameter becomes a view of the common buffer."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self.inner = members[0].weight.shape[1]
        self.rank = sum(member.rank for member in members)
        self.outer = sum(member.weight.shape[0] for member in members)
        weight = members[0].weight
        self.weight = weight.new_zeros(self.outer, self.inner + self.rank)
        self.A = weight.new_zeros(self.rank, self.inner)
        self.bias = _stacked([member.bias for member in members])
        with torch.no_grad():
            for member, rows, _ in self.parts():
                view = self.weight[rows, : self.inner]
                view.copy_(member.weight)
                member.weight.data = view

    def parts(self) -> list[tuple[Member, slice, slice]]:
        """(member, its rows of the output, its columns of xAᵀ)."""
        parts, row, column = [], 0, 0
        for member in self.members:
            rows, columns = slice(row, row + member.weight.shape[0]), slice(column, column + member.rank)
            parts.append((member, rows, columns))
            row, column = rows.stop, columns.stop
        return parts

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """A and B of each adapter, in order."""
        return [parameter for member in self.members if member.rank for parameter in (member.lora_A, member.lora_B)]

    @torch.no_grad()
    def refresh(self) -> None:
        """Takes the adapters' values over.

        At every micro-batch, for 8 ms of a step's 4 s (SmolLM2-135M, one core): version counters would say when it is needed, but
        miss what writes through `.data`, and bitsandbytes' optimizers.
        """
        for member, rows, columns in self.parts():
            if member.rank:
                self.A[columns] = member.lora_A
                self.weight[rows, self.inner + columns.start : self.inner + columns.stop] = member.lora_B * member.scaling

    def input(self, tokens: int) -> torch.Tensor:
        """An empty [x, xAᵀ], shape (T, in + rank), whose first `in` columns the caller fills."""
        return self.weight.new_empty(tokens, self.inner + self.rank)

    def forward(self, extended: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Fills xAᵀ in, and returns the outputs side by side, (T, out), plus the residual."""
        if self.rank:
            extended[:, self.inner :] = extended[:, : self.inner] @ self.A.T
        start = residual if self.bias is None else self.bias if residual is None else residual + self.bias
        return extended @ self.weight.T if start is None else torch.addmm(start, extended, self.weight.T)

    def backward(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(gradient of x, of xAᵀ without its way through x), given that of the outputs, (T, out)."""
        both = grad @ self.weight
        grad_x, grad_xA = both[:, : self.inner], both[:, self.inner :].contiguous()
        return (grad_x.addmm_(grad_xA, self.A) if self.rank else grad_x), grad_xA

    def backward_adapters(self, grad: torch.Tensor, grad_xA: torch.Tensor, x: torch.Tensor, xA: torch.Tensor) -> list[torch.Tensor]:
        """The gradients of `parameters`."""
        if not self.rank:
            return []
        grad_A = grad_xA.T @ x
        grads = []
        for member, rows, columns in self.parts():
            if member.rank:
                grad_B = (grad[:, rows].T @ xA[:, columns]).to(member.lora_B.dtype).mul_(member.scaling)
                grads += [grad_A[columns].to(member.lora_A.dtype), grad_B]
        return grads


def _stacked(biases: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    present = [bias for bias in biases if bias is not None]
    if not present:
        return None
    if len(present) != len(biases):
        raise NotImplementedError("some linear layers of a group have a bias and some have none; no supported family is like that")
    return torch.cat([bias.detach() for bias in present])
