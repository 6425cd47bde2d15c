"""Causal attention over rows laid end to end, by batched matrix products of each row's own; no token sees another row.

torch 2.13's SDPA for a CPU is 5 to 8 times slower on such rows in bfloat16, forward and backward (9 heads of 64, rows of 50 to 512
tokens, one core of an EPYC with avx512_bf16).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unsloth_ft.kernels import attention_cuda
from unsloth_ft.kernels.rows import Block, Rows

NAME = "unsloth_ft_varlen"


def register() -> None:
    """Makes `attn_implementation="unsloth_ft_varlen"` known to transformers. A second call changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, mask)


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention function: query (batch, heads, tokens, d), key and value (batch, kv_heads, tokens, d).

    Flat rows (`cu_seq_lens_q`, or position ids that begin anew, without a mask) never see each other; everything else is sdpa's.
    Returns (batch, tokens, heads, d).
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is None and cu_seq_lens_q is None:
        cu_seq_lens_q = _borders(position_ids, query, key)
    if cu_seq_lens_q is None or attention_mask is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, position_ids=position_ids, **kwargs
        )
    if dropout:
        raise NotImplementedError(f"attention_dropout is {dropout} in training; flat rows have none. Set it to 0, or pad the rows.")
    window, scaling = kwargs.get("sliding_window"), query.shape[-1] ** -0.5 if scaling is None else scaling
    flat = (tensor[0].transpose(0, 1) for tensor in (query, key, value.to(query.dtype)))
    if query.is_cuda:
        longest = kwargs.get("max_length_q")
        attended = attention_cuda.attend(*flat, cu_seq_lens=cu_seq_lens_q, max_length=longest, scaling=scaling, window=window)
    else:
        attended = RowsAttention.apply(*flat, Rows.of(cu_seq_lens_q, window=window), scaling)
    return attended[None], None


def mask(*, batch_size: int, q_length: int, kv_length: int, allow_is_causal_skip: bool = True, **kwargs: Any) -> torch.Tensor | None:
    """transformers' mask function: none for flat rows, whose borders the attention function has; else sdpa's.

    transformers forbids to skip the mask exactly when the position ids begin anew, or for a compiled step of generation.
    """
    from transformers.masking_utils import sdpa_mask

    flat = batch_size == 1 and q_length == kv_length and kwargs.get("attention_mask") is None and not kwargs.get("use_vmap")
    if flat and not allow_is_causal_skip:
        return None
    return sdpa_mask(batch_size=batch_size, q_length=q_length, kv_length=kv_length, allow_is_causal_skip=allow_is_causal_skip, **kwargs)


def _borders(position_ids: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
    """Cumulative lengths from position ids that begin anew; None where there is one row, a cache, or a batch."""
    if position_ids is None or query.shape[0] > 1 or query.shape[2] != key.shape[2]:
        return None
    starts = (position_ids[0].diff() != 1).nonzero().flatten() + 1
    if not len(starts):
        return None
    return torch.cat([starts.new_zeros(1), starts, starts.new_tensor([query.shape[2]])])


class RowsAttention(torch.autograd.Function):
    """query (T, heads, d), key and value (T, kv_heads, d), of any strides → (T, heads, d)."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows, scaling: float) -> torch.Tensor:
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        kept = attend(query, key, value, rows=rows, scaling=scaling, out=out)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.rows, ctx.scaling = rows, scaling
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors  # read once: torch's checkpointing forbids a second time
        inputs, kept = saved[:3], saved[3:]
        gradients = [torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device) for tensor in inputs]
        attend_backward(grad.to(inputs[0].dtype), *inputs, kept, rows=ctx.rows, scaling=ctx.scaling, out=gradients)
        return *gradients, None, None


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, rows: Rows, scaling: float, out: torch.Tensor
) -> list[torch.Tensor]:
    """Writes softmax(scaling · QKᵀ) V of each row into `out`, shape (T, heads, d). Returns the probabilities of the blocks that are kept."""
    bias = rows.bias(query)
    kept = []
    for block in rows.blocks:
        queries, keys = _queries(query, block, key.shape[1]), _keys(key, block)
        probabilities = _probabilities(queries, keys, bias, block, scaling)
        attended = torch.bmm(probabilities, _keys(value, block))
        out[block.start : block.end].transpose(0, 1).copy_(attended.view(query.shape[1], -1, value.shape[2]))
        if block.is_kept:
            kept.append(probabilities)
    return kept


def attend_backward(
    grad: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    kept: Sequence[torch.Tensor],
    *,
    rows: Rows,
    scaling: float,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | list[torch.Tensor],
) -> None:
    """Writes the gradients of query, key and value into `out`, given that of the result and what `attend` kept; shapes as theirs."""
    grad_query, grad_key, grad_value = out
    bias, remaining = rows.bias(query), iter(kept)
    for block in rows.blocks:
        queries, keys, values = _queries(query, block, key.shape[1]), _keys(key, block), _keys(value, block)
        grads = _queries(grad, block, key.shape[1])
        probabilities = next(remaining) if block.is_kept else _probabilities(queries, keys, bias, block, scaling)
        _add_keys(grad_value, block, torch.bmm(probabilities.transpose(1, 2), grads))
        grad_scores = torch.bmm(grads, values.transpose(1, 2))
        torch.ops.aten._softmax_backward_data.out(grad_scores, probabilities, -1, probabilities.dtype, grad_input=grad_scores)
        grad_queries = torch.bmm(grad_scores.mul_(scaling), keys)
        grad_query[block.start : block.end].transpose(0, 1).copy_(grad_queries.view(query.shape[1], -1, query.shape[2]))
        _add_keys(grad_key, block, torch.bmm(grad_scores.transpose(1, 2), queries))


def _queries(tensor: torch.Tensor, block: Block, kv_heads: int) -> torch.Tensor:
    """The block's (n, heads, d) as (kv_heads, heads / kv_heads · n, d): the heads that share a key stand under one another."""
    return tensor[block.start : block.end].transpose(0, 1).reshape(kv_heads, -1, tensor.shape[2])


def _keys(tensor: torch.Tensor, block: Block) -> torch.Tensor:
    """What the block's queries see of (T, kv_heads, d), as (kv_heads, keys, d); contiguous, or oneDNN copies it in every product."""
    return tensor[block.first : block.end].transpose(0, 1).contiguous()


def _probabilities(queries: torch.Tensor, keys: torch.Tensor, bias: torch.Tensor, block: Block, scaling: float) -> torch.Tensor:
    """Softmax of the scores, shape (kv_heads, heads / kv_heads · n, keys). The mask is the product's start value, so it costs no pass."""
    groups, count, _ = keys.shape
    new = block.end - block.start
    scores = queries.new_empty(groups, queries.shape[1], count)
    scores.view(groups, -1, new, count).copy_(bias[bias.shape[0] - new :, bias.shape[1] - count :])
    return torch.softmax(scores.baddbmm_(queries, keys.transpose(1, 2), alpha=scaling), -1, out=scores)


def _add_keys(out: torch.Tensor, block: Block, grads: torch.Tensor) -> None:
    """Adds the block's (kv_heads, keys, d) to `out`, (T, kv_heads, d). Keys from block.start on are written for the first time."""
    seen = block.start - block.first
    if seen:
        out[block.first : block.start] += grads[:, :seen].transpose(0, 1)
    out[block.start : block.end] = grads[:, seen:].transpose(0, 1)
