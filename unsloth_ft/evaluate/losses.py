"""Loss a row, of any causal language model, without ever holding all its logits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from unsloth_ft.chat import IGNORE, Row
from unsloth_ft.token_rows import lengths_of

if TYPE_CHECKING:
    from torch.nn import Module

LOGITS = 2**26  # logits held at a time: 0.25 GiB in float32, 512 positions of a vocabulary of 128,256


@dataclass(frozen=True)
class RowLoss:
    """Sum of the negative log-likelihoods of a row's learned tokens, in nats, and their number."""

    nll: float
    tokens: int


@torch.no_grad()
def row_losses(
    model: Module, rows: Sequence[Row], *, batch_tokens: int, padding_free: bool, padding_id: int, autocast: torch.dtype | None
) -> list[RowLoss]:
    """The loss of each row, in the order given. Leaves the model in evaluation mode.

    At most `batch_tokens` are computed at a time, padding included, but never less than a row. Logits are computed where a learned
    token is predicted, and only there, LOGITS at a time, in the training's precision; the log-likelihood is taken in float32.
    """
    from unsloth_ft.train.batches import collate, example, flat

    model.eval()
    device = next(model.parameters()).device
    found: list[RowLoss | None] = [None] * len(rows)
    for indices in _batches(lengths_of(rows), batch_tokens=batch_tokens, padding_free=padding_free):
        examples = [example(rows[at], at) for at in indices]
        batch = flat(examples) if padding_free else collate(examples, padding_id)
        inputs = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        targets = inputs.pop("labels")[:, 1:]
        learned = targets != IGNORE
        with precision(device, autocast):
            nll = _nll(model, inputs, learned, targets[learned])
        lengths = torch.tensor([len(one["input_ids"]) for one in examples], device=device)
        owners = _owners(lengths, targets.shape[1] + 1, padding_free=padding_free)[:, 1:][learned]
        of_row = torch.zeros(len(indices), device=device).index_add_(0, owners, nll).tolist()
        for at, row_nll, count in zip(indices, of_row, owners.bincount(minlength=len(indices)).tolist()):
            found[at] = RowLoss(row_nll, count)
    return [loss for loss in found if loss is not None]


def _batches(lengths: Sequence[int], *, batch_tokens: int, padding_free: bool) -> Iterator[list[int]]:
    """Every row once, the longest first, so that what doesn't fit into memory fails at once, and little is padded."""
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        cost = lengths[index] if padding_free or not batch else lengths[batch[0]]
        if batch and tokens + cost > batch_tokens:
            yield batch
            batch, tokens, cost = [], 0, lengths[index]
        batch.append(index)
        tokens += cost
    yield batch


def _owners(lengths: torch.Tensor, width: int, *, padding_free: bool) -> torch.Tensor:
    """The row that each position belongs to, in the shape of the batch."""
    rows = torch.arange(len(lengths), device=lengths.device)
    return rows.repeat_interleave(lengths)[None] if padding_free else rows[:, None].expand(-1, width)


def total(losses: Sequence[RowLoss]) -> float:
    """Mean loss a learned token over all rows, in nats."""
    return sum(loss.nll for loss in losses) / sum(loss.tokens for loss in losses)


def _nll(model: Module, inputs: dict[str, Any], learned: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihoods of the targets, of shape (number of targets,), in the order of `learned`'s rows and columns.

    The model is run as a whole, so that whatever a backend patched takes part; only its output layer is handed a single
    position, and is then applied here, piece by piece. `logits_to_keep` can't do this: Unsloth's GPU models take it as a
    number, not as positions. A model that changes its logits after the output layer (Gemma 2's soft cap, Granite's scale)
    shows it at that one position, and gives all its logits then.
    """
    head = model.get_output_embeddings()
    inside: list[torch.Tensor] = []

    def first_position_only(module: Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        inside.append(arguments[0])
        return (arguments[0][:, :1], *arguments[1:])

    handle = head.register_forward_pre_hook(first_position_only)
    try:
        shown = model(**inputs, use_cache=False).logits
    finally:
        handle.remove()
    hidden = inside[0]
    plain = head(hidden[:, :1])
    if shown.shape != plain.shape or not torch.allclose(shown.float(), plain.float(), rtol=0.02, atol=0.02, equal_nan=True):
        logits = model(**inputs, use_cache=False).logits[:, :-1][learned]
        return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    hidden = hidden[:, :-1][learned]
    at_a_time = max(1, LOGITS // plain.shape[-1])
    pieces = [
        torch.nn.functional.cross_entropy(head(part).float(), wanted, reduction="none")
        for part, wanted in zip(hidden.split(at_a_time), targets.split(at_a_time))
    ]
    return torch.cat(pieces)


def precision(device: torch.device, autocast: torch.dtype | None) -> contextlib.AbstractContextManager:
    """The precision of a training step, so that the curve and the proof show the same number."""
    if autocast is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=autocast)
