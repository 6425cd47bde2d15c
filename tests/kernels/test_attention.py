"""Attention over flat rows against torch's own, row by row."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from unsloth_ft.kernels import attention_cuda
from unsloth_ft.kernels import rows as cutting
from unsloth_ft.kernels.attention import NAME, RowsAttention, attention, mask, register
from unsloth_ft.kernels.rows import Block, Rows

LENGTHS = (5, 1, 9, 3)
BORDERS = (0, 5, 6, 15, 18)


def tensors(*, heads: int = 4, kv_heads: int = 2, tokens: int = BORDERS[-1], size: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((tokens, heads, size), (tokens, kv_heads, size), (tokens, kv_heads, size))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def expected(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, borders: tuple[int, ...], window: int | None) -> torch.Tensor:
    """Each row on its own through torch, with keys repeated and a mask written out."""
    out = []
    for start, end in zip(borders, borders[1:]):
        one = [tensor[start:end].transpose(0, 1)[None] for tensor in (query, key, value)]
        distance = torch.arange(end - start)[:, None] - torch.arange(end - start)
        seen = (distance >= 0) & (distance < (window or end))
        out.append(scaled_dot_product_attention(*one, attn_mask=seen, scale=0.3, enable_gqa=True)[0].transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("queries", [512, 4])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_every_row_attends_to_itself_alone(monkeypatch: pytest.MonkeyPatch, kv_heads: int, queries: int, window: int | None):
    monkeypatch.setattr(cutting, "QUERIES", queries)
    inputs = tensors(kv_heads=kv_heads)
    own = RowsAttention.apply(*inputs, Rows(BORDERS, window), 0.3)
    theirs = expected(*inputs, borders=BORDERS, window=window)
    torch.testing.assert_close(own, theirs)
    weight = torch.linspace(-1, 1, own.numel(), dtype=torch.float64).view(own.shape)
    torch.testing.assert_close(
        torch.autograd.grad((own * weight).sum(), inputs), torch.autograd.grad((theirs * weight).sum(), inputs)
    )  # fmt: skip


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("kv_heads", [2, 4])
def test_a_card_without_the_variable_length_kernel_attends_row_by_row(kv_heads: int, window: int | None):
    inputs = tensors(kv_heads=kv_heads)
    assert not attention_cuda.has_varlen(inputs[0])
    own = attention_cuda.attend(*inputs, cu_seq_lens=torch.tensor(BORDERS), max_length=9, scaling=0.3, window=window)
    torch.testing.assert_close(own, expected(*inputs, borders=BORDERS, window=window))


@pytest.mark.parametrize("queries", [512, 4])
def test_the_backward_is_the_forwards(monkeypatch: pytest.MonkeyPatch, queries: int):
    monkeypatch.setattr(cutting, "QUERIES", queries)
    assert torch.autograd.gradcheck(lambda *inputs: RowsAttention.apply(*inputs, Rows(BORDERS), 0.3), tensors(size=3))


def test_long_rows_are_cut_and_keys_out_of_the_window_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cutting, "QUERIES", 4)
    assert Rows((0, 3, 12)).blocks == (Block(0, 0, 3), Block(3, 3, 7), Block(3, 7, 11), Block(3, 11, 12))
    assert Rows((0, 3, 12), window=2).blocks == (Block(0, 0, 3), Block(3, 3, 7), Block(6, 7, 11), Block(10, 11, 12))


@pytest.mark.parametrize("told", ["cu_seq_lens", "position_ids"])
def test_a_model_keeps_flat_rows_apart_and_padded_batches_as_sdpa_does(told: str):
    from transformers import LlamaConfig, LlamaForCausalLM

    register()
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    ids = torch.arange(BORDERS[-1]) % 32
    padded = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    seen = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    padded[seen] = ids
    with torch.no_grad():
        by_sdpa = model(input_ids=padded, attention_mask=seen.long()).logits
        left = model.generate(padded.flip(1), attention_mask=seen.long().flip(1), max_new_tokens=4, do_sample=False, pad_token_id=0)
        model.set_attn_implementation(NAME)
        extra = {"cu_seq_lens_q": torch.tensor(BORDERS), "cu_seq_lens_k": torch.tensor(BORDERS)} if told == "cu_seq_lens" else {}
        positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
        flat = model(input_ids=ids[None], position_ids=positions, use_cache=False, **extra).logits
        again = model(input_ids=padded, attention_mask=seen.long()).logits
        generated = model.generate(padded.flip(1), attention_mask=seen.long().flip(1), max_new_tokens=4, do_sample=False, pad_token_id=0)
    torch.testing.assert_close(flat[0], by_sdpa[seen], atol=1e-6, rtol=1e-5)
    assert torch.equal(again[seen], by_sdpa[seen])
    assert torch.equal(generated, left)


def test_checkpointed_layers_have_the_same_gradients():
    from torch.utils.checkpoint import checkpoint

    inputs = tensors()
    plain, again = RowsAttention.apply(*inputs, Rows(BORDERS), 0.3), checkpoint(RowsAttention.apply, *inputs, Rows(BORDERS), 0.3, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(plain.square().sum(), inputs), torch.autograd.grad(again.square().sum(), inputs))


def test_no_mask_is_made_for_flat_rows():
    assert mask(batch_size=1, q_length=6, kv_length=6, allow_is_causal_skip=False) is None
    made = mask(batch_size=2, q_length=6, kv_length=6, allow_is_causal_skip=False)
    assert made is not None
    assert made.shape == (2, 1, 6, 6)


def test_attention_dropout_on_flat_rows_is_refused():
    query, key, value = (tensor.detach().transpose(0, 1)[None] for tensor in tensors())
    with pytest.raises(NotImplementedError, match=r"attention_dropout is 0\.1 in training"):
        attention(torch.nn.Module(), query, key, value, None, dropout=0.1, cu_seq_lens_q=torch.tensor(BORDERS))
