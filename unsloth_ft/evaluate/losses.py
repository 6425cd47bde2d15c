"""Loss a row, of any causal language model, without keeping its logits."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from unsloth_ft.chat import IGNORE, Row

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(frozen=True)
class RowLoss:
    """Sum of the negative log-likelihoods of a row's learned tokens, in nats, and their number."""

    nll: float
    tokens: int


@torch.no_grad()
def row_losses(model: Module, rows: Sequence[Row], *, batch_size: int, padding_id: int, autocast: torch.dtype | None) -> list[RowLoss]:
    """The loss of each row, in the order given. Leaves the model in evaluation mode.

    Logits are computed at positions that predict a learned token, and only there: of shape (batch, those positions,
    vocabulary), in float32, one batch at a time.
    """
    from unsloth_ft.train.batches import collate

    model.eval()
    device = next(model.parameters()).device
    found: list[RowLoss | None] = [None] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda index: -len(rows[index].input_ids))
    for start in range(0, len(rows), batch_size):
        indices = by_length[start : start + batch_size]
        batch = collate([{"input_ids": rows[at].input_ids, "labels": rows[at].labels, "index": at} for at in indices], padding_id)
        targets = batch["labels"][:, 1:]
        positions = (targets != IGNORE).any(dim=0).nonzero().squeeze(1)
        with precision(device, autocast):
            logits = model(
                input_ids=batch["input_ids"].to(device),
                attention_mask=batch["attention_mask"].to(device),
                logits_to_keep=positions.to(device),
                use_cache=False,
            ).logits
        targets = targets[:, positions].to(device)
        nll = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
        for at, row_nll, count in zip(indices, nll.sum(dim=1).tolist(), (targets != IGNORE).sum(dim=1).tolist()):
            found[at] = RowLoss(row_nll, count)
    return [loss for loss in found if loss is not None]


def total(losses: Sequence[RowLoss]) -> float:
    """Mean loss a learned token over all rows, in nats."""
    return sum(loss.nll for loss in losses) / sum(loss.tokens for loss in losses)


def precision(device: torch.device, autocast: torch.dtype | None) -> contextlib.AbstractContextManager:
    """The precision of a training step, so that the curve and the proof show the same number."""
    if autocast is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=autocast)
