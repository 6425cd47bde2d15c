"""TRL's SFTTrainer with our rows, our eval loss, our checkpoints, and a stop at the first loss that is no number.

Import it after the backend: Unsloth exchanges trl.SFTTrainer.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from trl import SFTTrainer

from unsloth_ft.chat import Row
from unsloth_ft.errors import GateError
from unsloth_ft.evaluate.losses import row_losses, total
from unsloth_ft.train import checkpoints
from unsloth_ft.train.batches import LengthSampler, collate, dataset


class Trainer(SFTTrainer):
    """One loop for both backends. `rows` and `held_out` are tokenized already; nothing is rendered or cut here."""

    def __init__(self, *, rows: Sequence[Row], held_out: Sequence[Row], padding_id: int, autocast: torch.dtype | None, **kwargs: Any) -> None:
        self.rows = rows
        self.held_out = held_out
        self.padding_id = padding_id
        self.autocast = autocast
        self.checkpoints_kept = 2
        self.batch_rows: list[Row] = []
        self.step_tokens = 0
        super().__init__(
            train_dataset=dataset(rows),
            eval_dataset=dataset(held_out),
            data_collator=partial(collate, padding_id=padding_id),
            **kwargs,
        )
        self.add_callback(_GradientGuard(self))

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthSampler:
        lengths = [len(row.input_ids) for row in self.rows]
        return LengthSampler(lengths, batch_size=self.args.per_device_train_batch_size, seed=self.args.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        index = inputs.pop("index").tolist()
        self.batch_rows += [self.rows[at] for at in index]
        self.step_tokens += sum(len(self.rows[at].input_ids) for at in index)
        loss = super().training_step(model, inputs, *args, **kwargs)
        # transformers would log such a loss as 0.0 and train on (logging_nan_inf_filter).
        if not torch.isfinite(loss):
            raise GateError(f"training diverged at step {self.state.global_step + 1}: the loss is {loss.item()}. {self.batch_lines()}")
        return loss

    def batch_lines(self) -> str:
        """The rows of the step at hand, and what to do about a step that failed on them."""
        lines = ", ".join(row.where for row in self.batch_rows[:16])
        return (
            f"The rows of that step: {lines}. The last good checkpoint is kept. "
            f"Look at those rows, or lower the rate: --set train.learning_rate={self.args.learning_rate / 2:g}."
        )

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """The eval loss a token, by the same function as the proof before and after. No logits are kept."""
        training = self.model.training
        losses = row_losses(
            self.model, self.held_out, batch_size=self.args.per_device_eval_batch_size, padding_id=self.padding_id, autocast=self.autocast
        )
        self.model.train(training)
        metrics = {f"{metric_key_prefix}_loss": total(losses)}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _get_output_dir(self, trial: Any) -> str:
        return os.path.join(self.args.output_dir, checkpoints.STAGING)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        staging = folder / checkpoints.STAGING
        shutil.rmtree(staging, ignore_errors=True)
        super()._save_checkpoint(model, trial)
        name = f"checkpoint-{self.state.global_step}"
        checkpoints.seal(staging / name, folder / name)
        shutil.rmtree(staging, ignore_errors=True)
        # transformers' own save_total_limit would remove the old checkpoint before the new one is whole.
        checkpoints.rotate(folder, keep=self.checkpoints_kept, best_step=self.state.best_global_step)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The model card is made from run.json, after the proof."""


class _GradientGuard(TrainerCallback):
    """Stops before the optimizer step when a gradient is no number: the weights stay as they were."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        gradients = [parameter.grad for parameter in kwargs["model"].parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).item()
        # A float16 run scales its loss and skips a step that overflows; that is the scaler's business.
        if not math.isfinite(norm) and not args.fp16:
            raise GateError(f"training diverged at step {state.global_step + 1}: the gradient's norm is {norm}. {self.trainer.batch_lines()}")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.batch_rows.clear()
