"""The base's loss of each held-out row, computed once: the evaluation before the first step is the proof's "before" too.

A new adapter's B is zero, so the model with it is the base; and the same kernels compute both sides of the comparison.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from unsloth_ft.evaluate.losses import RowLoss, total
from unsloth_ft.record import RunDirectory, write_lines


def file(run: RunDirectory) -> Path:
    """Where the rows' losses stand, a line each, in the order of the held-out rows."""
    return run.evaluation / "before.jsonl"


def write(run: RunDirectory, losses: Sequence[RowLoss]) -> None:
    """Keeps them for the proof, which a resumed run may come to in another process."""
    write_lines(file(run), losses)


def read(run: RunDirectory, *, rows: int, loss: float | None) -> list[RowLoss] | None:
    """The losses of so many rows whose mean is `loss`, the curve's at step 0; None where there is no such file, or one of something else."""
    path = file(run)
    if loss is None or not path.is_file():
        return None
    try:
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        losses = [RowLoss(float(line["nll"]), int(line["tokens"])) for line in lines]
    except (ValueError, TypeError, KeyError):  # damaged; it is computed anew
        return None
    return losses if len(losses) == rows and sum(one.tokens for one in losses) and total(losses) == loss else None


class Before(TrainerCallback):
    """Writes them after the evaluation before the first step. `trainer`: whose `losses` are the last evaluation's."""

    def __init__(self, run: RunDirectory, trainer: Any) -> None:
        self.run = run
        self.trainer = trainer

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            write(self.run, self.trainer.losses)
