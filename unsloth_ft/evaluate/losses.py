"""Loss a row, of any causal language model, without ever holding all its logits."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from unsloth_ft.chat import IGNORE, Row

if TYPE_CHECKING:
    from torch.nn import Module

LOGITS = 2**26  # logits held at a time: 0.25 GiB in float32, 512 positions of a vocabulary of 128,256


@dataclass(frozen=True)
class RowLoss:
    """Sum of the negative log-likelihoods of a row's learned tokens, in nats, and their number."""

    nll: float
    tokens: int


@torch.no_grad()
def row_losses(model: Module, rows: Sequence[Row], *, batch_size: int, padding_id: int, autocast: torch.dtype | None) -> list[RowLoss]:
    """The loss of each row, in the order given. Leaves the model in evaluation mode.

    Logits are computed where a learned token is predicted, and only there, LOGITS at a time, in the training's precision;
    the log-likelihood is taken in float32.
    """
    from unsloth_ft.train.batches import collate, example

    model.eval()
    device = next(model.parameters()).device
    found: list[RowLoss | None] = [None] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda index: -len(rows[index].input_ids))
    for start in range(0, len(rows), batch_size):
        indices = by_length[start : start + batch_size]
        batch = collate([example(rows[at], at) for at in indices], padding_id)
        targets = batch["labels"][:, 1:].to(device)
        learned = targets != IGNORE
        with precision(device, autocast):
            nll = _nll(model, batch["input_ids"].to(device), batch["attention_mask"].to(device), learned, targets[learned])
        of_row = torch.zeros(targets.shape, device=device).masked_scatter_(learned, nll).sum(dim=1).tolist()
        for at, row_nll, count in zip(indices, of_row, learned.sum(dim=1).tolist()):
            found[at] = RowLoss(row_nll, count)
    return [loss for loss in found if loss is not None]


def total(losses: Sequence[RowLoss]) -> float:
    """Mean loss a learned token over all rows, in nats."""
    return sum(loss.nll for loss in losses) / sum(loss.tokens for loss in losses)


def _nll(
    model: Module, input_ids: torch.Tensor, attention_mask: torch.Tensor, learned: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
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
        shown = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    finally:
        handle.remove()
    hidden = inside[0]
    plain = head(hidden[:, :1])
    if shown.shape != plain.shape or not torch.allclose(shown.float(), plain.float(), rtol=0.02, atol=0.02, equal_nan=True):
        logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits[:, :-1][learned]
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
