"""Causal attention over rows laid end to end, on a GPU: torch's variable-length kernel, or its SDPA row by row where that can't run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from packaging.version import Version
from torch.nn.functional import scaled_dot_product_attention

# The first release whose torch.nn.attention.varlen was read: it takes a window, a scale and grouped keys. It can go once
# setup.cfg asks for that release.
VARLEN_TORCH = "2.13"
VARLEN_DTYPES = (torch.bfloat16, torch.float16)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    cu_seq_lens: torch.Tensor,
    max_length: int | None,
    scaling: float,
    window: int | None,
) -> torch.Tensor:
    """softmax(scaling · QKᵀ) V of each row: query (T, heads, d), key and value (T, kv_heads, d) → (T, heads, d).

    `cu_seq_lens` (rows + 1,) are the rows' borders, `window` the keys that a query sees, itself included; None: all before it.
    """
    query, key, value = (tensor.to(_dtype(query)) for tensor in (query, key, value))
    if not has_varlen(query):
        return by_rows(query, key, value, borders=cu_seq_lens.tolist(), scaling=scaling, window=window)
    from torch.nn.attention.varlen import varlen_attn

    borders = cu_seq_lens.to(device=query.device, dtype=torch.int32)
    longest = int(borders.diff().max()) if max_length is None else max_length
    left = -1 if window is None else window - 1
    return varlen_attn(
        query, key, value, borders, borders, longest, longest, scale=scaling, window_size=(left, 0), enable_gqa=query.shape[1] != key.shape[1]
    )


def has_varlen(query: torch.Tensor) -> bool:
    """Whether torch's FlashAttention takes these tensors: 16 bits, SM 8.0, heads of at most 256 (a multiple of 8); not on a T4."""
    return (
        query.is_cuda
        and query.dtype in VARLEN_DTYPES
        and query.shape[-1] <= 256
        and query.shape[-1] % 8 == 0
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
        and torch.backends.cuda.is_flash_attention_available()
        and Version(Version(torch.__version__).base_version) >= Version(VARLEN_TORCH)
    )


def by_rows(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, borders: Sequence[int], scaling: float, window: int | None
) -> torch.Tensor:
    """The same, a row at a time. Keys are repeated for the heads that share them: the memory-efficient kernel has no groups."""
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    attended = []
    for start, end in zip(borders, borders[1:]):
        one = (tensor[start:end].transpose(0, 1)[None] for tensor in (query, key, value))
        seen = _seen(end - start, window, query.device)
        attended.append(scaled_dot_product_attention(*one, attn_mask=seen, is_causal=seen is None, scale=scaling)[0].transpose(0, 1))
    return torch.cat(attended)


def _seen(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Which keys (length, length) each query sees; None: all before it."""
    if window is None or length <= window:
        return None
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (distance >= 0) & (distance < window)


def _dtype(query: torch.Tensor) -> torch.dtype:
    """A float32 query under autocast is one that a norm or rotation made of a 16-bit one."""
    if query.dtype == torch.float32 and torch.is_autocast_enabled(query.device.type):
        return torch.get_autocast_dtype(query.device.type)
    return query.dtype
