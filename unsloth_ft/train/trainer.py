"""TRL's SFTTrainer with our rows, our eval loss, our checkpoints, and a stop at the first loss that is no number.

Import it after the backend: Unsloth exchanges trl.SFTTrainer.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import TrainerCallback
from trl import SFTTrainer

from unsloth_ft import order
from unsloth_ft.backends import Backend
from unsloth_ft.chat import Row
from unsloth_ft.errors import GateError, MachineError
from unsloth_ft.evaluate.losses import RowLoss, row_losses, total
from unsloth_ft.hardware import disk_free_bytes
from unsloth_ft.outlook import CHECKPOINT_BYTES
from unsloth_ft.token_rows import lengths_of
from unsloth_ft.train import checkpoints, memory
from unsloth_ft.train.batches import EpochSampler, Example, Examples, collate, flat
from unsloth_ft.train.recovery import Randomness

SHOWN_LINES = 16


class Trainer(SFTTrainer):
    """One loop for all backends. `rows` and `held_out` are tokenized already; nothing is rendered or cut here.

    `padding_free` lays a micro-batch's rows end to end; `packed_length` besides packs them, best fit, into sequences of so many
    tokens, each of which counts as one row. `step_tokens` counts the step's real tokens; `micro_batches` holds its (rows, loss);
    `losses` are the held-out rows' of the last evaluation. `in_step`: a step has begun, and its update hasn't; `randomness`: of the moment
    the last step ended.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        rows: Sequence[Row],
        held_out: Sequence[Row],
        padding_free: bool,
        packed_length: int | None,
        padding_id: int,
        evaluation_tokens: int,
        autocast: torch.dtype | None,
        **kwargs: Any,
    ) -> None:
        self.backend = backend
        self.rows = rows
        self.held_out = held_out
        self.end_to_end = padding_free  # `padding_free` is TRL's own, of its own collator
        self.packed_length = packed_length
        self.padding_id = padding_id
        self.evaluation_tokens = evaluation_tokens
        self.autocast = autocast
        self.checkpoints_kept = 2
        self.on_smaller_evaluation: Callable[[str], None] = lambda message: None
        self.micro_batches: list[tuple[list[Row], torch.Tensor]] = []
        self.step_tokens = 0
        self.losses: list[RowLoss] = []
        self.in_step = False
        self.randomness = Randomness.now()
        trained = [(parameter, parameter.data) for parameter in kwargs["model"].parameters() if parameter.requires_grad]
        super().__init__(
            # TRL takes nothing but a datasets.Dataset, and looks at its first row.
            train_dataset=Dataset.from_list([Examples(rows)[0]]),
            eval_dataset=Dataset.from_list([Examples(held_out)[0]]),
            data_collator=partial(_batch, collator=flat if padding_free else partial(collate, padding_id=padding_id)),
            **kwargs,
        )
        self.train_dataset = Examples(rows)
        # TRL rounds the adapters of a 4-bit base to bfloat16, where small rates stop learning; they stay as the backend made them.
        for parameter, values in trained:
            parameter.data = values
        self.add_callback(_Guard(self))

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return EpochSampler(self._order)

    def _order(self, epoch: int) -> Sequence[Any]:
        lengths = lengths_of(self.rows)
        micro_batch_size = self.args.per_device_train_batch_size
        batch_size = micro_batch_size * self.args.gradient_accumulation_steps
        if not self.end_to_end:
            return order.by_length(lengths, batch_size=batch_size, seed=self.args.seed, epoch=epoch)
        return order.sequences(
            lengths,
            max_seq_length=self.packed_length,
            batch_size=batch_size,
            micro_batch_size=micro_batch_size,
            seed=self.args.seed,
            epoch=epoch,
        )

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        rows = [self.rows[at] for at in inputs.pop("index")]
        self.step_tokens += sum(len(row.input_ids) for row in rows)
        loss = super().training_step(model, inputs, *args, **kwargs)
        self.micro_batches.append((rows, loss.detach()))
        return loss

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        """The backend's own loss where it has one, else TRL's way. `num_items_in_batch`: learned tokens of the whole step."""
        loss = self.backend.loss(model, inputs, num_items_in_batch)
        return super().compute_loss(model, inputs, *args, num_items_in_batch=num_items_in_batch, **kwargs) if loss is None else loss

    def refuse_divergence(self, *, check_gradients: bool) -> None:
        """Raises GateError when a loss or gradient of the step at hand is no number. One wait for the device a step."""
        # transformers would log such a loss as 0.0 and train on (logging_nan_inf_filter).
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None] if check_gradients else []
        norm = torch.nn.utils.get_total_norm(gradients)
        *losses, norm = torch.stack([*[loss.float() for _, loss in self.micro_batches], norm.float().to(self.args.device)]).tolist()
        for (rows, _), loss in zip(self.micro_batches, losses):
            if not math.isfinite(loss):
                raise GateError(self._diverged(f"the loss is {loss}", rows))
        if not math.isfinite(norm):
            raise GateError(self._diverged(f"the gradient's norm is {norm}", [row for rows, _ in self.micro_batches for row in rows]))

    def _diverged(self, what: str, rows: Sequence[Row]) -> str:
        return (
            f"training diverged at step {self.state.global_step + 1}: {what}. The rows: {_lines(rows)}. "
            "Weights and checkpoints are as they were before that step. "
            f"Look at those rows, or lower the rate: --set train.learning_rate={self.args.learning_rate / 2:g}."
        )

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """The eval loss a token, by the same function as the proof before and after. No logits are kept.

        Raises GateError when it is no number.
        """
        training = self.model.training
        self.losses = losses = self._losses(
            padding_free=self.end_to_end,
            padding_id=self.padding_id,
            autocast=self.autocast,
        )
        loss = total(losses)
        if not math.isfinite(loss):
            bad = [row for row, found in zip(self.held_out, losses) if not math.isfinite(found.nll)]
            cause = (
                "before any training: the base model's own weights, or its dtype, give it"
                if self.state.global_step == 0
                else "checkpoints are kept"
            )
            raise GateError(f"the eval loss is {loss} at step {self.state.global_step}, {cause}. The held-out rows: {_lines(bad)}.")
        metrics = {f"{metric_key_prefix}_loss": loss}
        self.log(dict(metrics))  # still in evaluation mode, else TRL mixes the training's averages in
        self.model.train(training)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _losses(self, **settings: Any) -> list[RowLoss]:
        """With as many tokens at once as fit, which is halved where memory runs out. Raises MachineError when a single row doesn't."""
        longest = max(lengths_of(self.held_out))
        while True:
            try:
                return row_losses(self.model, self.held_out, batch_tokens=self.evaluation_tokens, **settings)
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
                said = memory.shortened(str(error))
            if self.evaluation_tokens <= longest:
                raise MachineError(f"out of memory in an evaluation of one row of {longest} tokens ({said}). Lower max_seq_length.")
            memory.free()
            self.evaluation_tokens = max(longest, self.evaluation_tokens // 2)
            self.on_smaller_evaluation(
                f"memory ran out in the evaluation at step {self.state.global_step} ({said}); it is done with {self.evaluation_tokens:,} tokens at a time"
            )

    def _get_output_dir(self, trial: Any) -> str:
        return os.path.join(self.args.output_dir, checkpoints.STAGING)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        staging = folder / checkpoints.STAGING
        shutil.rmtree(staging, ignore_errors=True)
        name = f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            checkpoints.seal(staging / name, folder / name)
        except (OSError, RuntimeError, SafetensorError) as error:  # a full disk has a different face in each library
            shutil.rmtree(staging, ignore_errors=True)
            raise MachineError(self._not_written(name, error)) from None
        shutil.rmtree(staging, ignore_errors=True)
        # transformers' own save_total_limit would remove the old checkpoint before the new one is whole.
        checkpoints.rotate(folder, keep=self.checkpoints_kept, best_step=self.state.best_global_step)

    def _not_written(self, name: str, error: Exception) -> str:
        needed = CHECKPOINT_BYTES * sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error).splitlines()[0]
        free = disk_free_bytes(Path(self.args.output_dir))
        return (
            f"{name} can't be written ({reason}): it needs about {needed / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free. "
            "The checkpoint before is whole; free some space and run the same command again."
        )

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The adapter alone: no tokenizer in every checkpoint, no pickle of the arguments (they hold access tokens).

        "auto" would ask the hub at each checkpoint whether the base has this vocabulary.
        """
        self.model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict, save_embedding_layers=False)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The model card is made from run.json, after the proof."""


class _Guard(TrainerCallback):
    """Stops before the optimizer step when a loss or gradient is no number: the weights stay as they were."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.micro_batches.clear()
        self.trainer.step_tokens = 0
        self.trainer.in_step = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.randomness = Randomness.now()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.in_step = False
        # A float16 run scales its loss and skips a step whose gradient overflows; that is the scaler's business.
        self.trainer.refuse_divergence(check_gradients=not args.fp16)


def _batch(examples: Sequence[Example | list[Example]], *, collator: Callable[[list[Example]], dict[str, Any]]) -> dict[str, Any]:
    """The model's inputs, and the rows' numbers: these stay on the host, where reading them costs no wait for the device."""
    rows = [row for one in examples for row in (one if isinstance(one, list) else [one])]
    return {**collator(rows), "index": [row["index"] for row in rows]}


def _lines(rows: Sequence[Row]) -> str:
    more = f" and {len(rows) - SHOWN_LINES} more" if len(rows) > SHOWN_LINES else ""
    return ", ".join(row.where for row in rows[:SHOWN_LINES]) + more
