"""Trains the adapter, from the newest whole checkpoint where there is one, and returns how it went."""

from __future__ import annotations

import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from unsloth_ft.backends import Backend, third_party
from unsloth_ft.chat import Chat, Row
from unsloth_ft.errors import GateError, MachineError
from unsloth_ft.plan import Plan
from unsloth_ft.recipe import Recipe
from unsloth_ft.record import RunDirectory, sync_folder

if TYPE_CHECKING:
    from peft import PeftModel


class Interrupted(KeyboardInterrupt):
    """A signal ended the run after a whole step; its checkpoint is written. Exit code 128 + signal."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"interrupted after step {step}; a checkpoint is written, and the same command goes on from it")
        self.signal_number = signal_number


@dataclass(frozen=True)
class Training:
    """How a training went. Losses are in nats a token; tokens are real ones, without padding."""

    steps: int
    epochs: float
    best_step: int
    best_eval_loss: float
    first_eval_loss: float | None
    stopped_early: bool
    resumed_from_step: int
    tokens: int
    tokens_per_second: float
    seconds: float
    peak_memory_bytes: int
    trainable_parameters: int
    all_parameters: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def train(
    model: PeftModel,
    backend: Backend,
    *,
    recipe: Recipe,
    plan: Plan,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    chat: Chat,
    run: RunDirectory,
    console: Console,
) -> Training:
    """Trains, evaluates as the plan says, and leaves the best adapter in the model.

    Raises GateError when loss or gradient is no number, MachineError when memory or disk is full, Interrupted on a signal.
    """
    import torch
    from transformers import EarlyStoppingCallback, PrinterCallback
    from transformers.trainer_callback import ProgressCallback

    from unsloth_ft.train import checkpoints, progress
    from unsloth_ft.train.trainer import Trainer

    checkpoint, damaged = checkpoints.newest_whole(run.checkpoints)
    for name in damaged:
        run.warn(f"{name} is damaged or incomplete; it was removed")
        console.print(f"[yellow]{name} is damaged or incomplete; it is removed, and the one before is used[/]")
        shutil.rmtree(run.checkpoints / name)
    with third_party():
        trainer = Trainer(
            model=model,
            args=arguments(recipe, plan, backend, run),
            processing_class=chat.tokenizer,
            rows=rows,
            held_out=held_out,
            padding_id=chat.padding_id,
            autocast=autocast_dtype(plan),
        )
    trainer.checkpoints_kept = recipe.train.save_total_limit
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    metrics = progress.Metrics(run.metrics_file, trainer)
    bar = progress.Bar(console, metrics)
    trainer.add_callback(metrics)
    trainer.add_callback(bar)
    trainer.add_callback(progress.LastStep())
    if recipe.train.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(recipe.train.early_stopping_patience))
    started = time.perf_counter()
    with ExitStack() as stack:
        interruption = stack.enter_context(progress.Interruption())
        trainer.add_callback(interruption)
        stack.enter_context(third_party())
        stack.callback(bar.close)
        try:
            trainer.train(resume_from_checkpoint=os.fspath(checkpoint) if checkpoint else None)
        except torch.OutOfMemoryError as error:
            raise MachineError(out_of_memory(plan, str(error))) from None
        except OSError as error:
            raise MachineError(f"a checkpoint can't be written: {error.strerror or error}. Free some space and run the same command again.") from None
    state = trainer.state
    if interruption.received is not None and state.global_step < state.max_steps:
        raise Interrupted(interruption.received, state.global_step)
    best_step = state.best_global_step or state.global_step
    if best_step != state.global_step:
        load_adapter_weights(model, run.checkpoints / f"checkpoint-{best_step}")
    evaluations = [(line["step"], line["eval_loss"]) for line in state.log_history if "eval_loss" in line]
    best_loss = state.best_metric if state.best_metric is not None else evaluations[-1][1]
    if not math.isfinite(best_loss):
        raise GateError(f"the eval loss is {best_loss}; the run is kept as it is in {run.name}.")
    parameters = list(model.parameters())
    return Training(
        steps=state.global_step,
        epochs=round(state.epoch or 0.0, 4),
        best_step=best_step,
        best_eval_loss=best_loss,
        first_eval_loss=next((loss for step, loss in evaluations if step == 0), None),
        stopped_early=state.global_step < state.max_steps,
        resumed_from_step=checkpoints.step_of(checkpoint) if checkpoint else 0,
        tokens=metrics.total_tokens,
        tokens_per_second=round(metrics.total_tokens / metrics.total_seconds, 1) if metrics.total_seconds else 0.0,
        seconds=round(time.perf_counter() - started, 2),
        peak_memory_bytes=peak_memory_bytes(plan),
        trainable_parameters=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        all_parameters=sum(parameter.numel() for parameter in parameters),
    )


def arguments(recipe: Recipe, plan: Plan, backend: Backend, run: RunDirectory) -> Any:
    """SFTConfig for this plan. What isn't named here is TRL's default."""
    from trl import SFTConfig

    from unsloth_ft.plan import steps_of_warmup

    train = recipe.train
    return SFTConfig(
        output_dir=os.fspath(run.checkpoints),
        max_steps=plan.max_steps.value,
        per_device_train_batch_size=plan.per_device_train_batch_size.value,
        gradient_accumulation_steps=plan.gradient_accumulation_steps.value,
        per_device_eval_batch_size=plan.per_device_eval_batch_size.value,
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.lr_scheduler_type,
        warmup_steps=steps_of_warmup(train.warmup_steps, plan.max_steps.value),
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        optim=plan.optim.value,
        bf16=plan.dtype.value == "bfloat16",
        fp16=plan.dtype.value == "float16",
        use_cpu=plan.device.value == "cpu",
        seed=train.seed,
        data_seed=train.seed,
        logging_steps=train.logging_steps,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=plan.eval_steps.value,
        # Step 0: the curve's beginning, and the proof that the evaluation fits into memory before training is paid for.
        eval_on_start=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        save_strategy="steps",
        save_steps=plan.save_steps.value,
        save_total_limit=None,
        report_to=train.report_to,
        run_name=run.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        max_length=None,
        packing=False,
        padding_free=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=0,
        dataloader_pin_memory=plan.device.value == "cuda",
        **backend.training_defaults(plan),
    )


def autocast_dtype(plan: Plan) -> Any:
    """The torch dtype of mixed precision, or None for float32."""
    import torch

    return None if plan.dtype.value == "float32" else getattr(torch, plan.dtype.value)


def load_adapter_weights(model: PeftModel, folder: Path) -> None:
    """Puts a checkpoint's adapter weights into the model."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))


def save_adapter(model: PeftModel, chat: Chat, base_model: str, run: RunDirectory) -> Path:
    """adapter/: the files PEFT reads, and the tokenizer; whole or not there. The base is named by its id, not by a path."""
    staging = run.path / ".adapter"
    shutil.rmtree(staging, ignore_errors=True)
    config = model.peft_config["default"]
    before = config.base_model_name_or_path
    config.base_model_name_or_path = base_model
    try:
        # "auto" would ask the hub whether the base has this vocabulary.
        model.save_pretrained(staging, safe_serialization=True, save_embedding_layers=False)
    except OSError as error:
        raise MachineError(f"the adapter can't be written: {error.strerror or error}. Free some space and run the same command again.") from None
    finally:
        config.base_model_name_or_path = before
    chat.tokenizer.save_pretrained(staging)
    if run.adapter.exists():
        shutil.rmtree(run.adapter)
    os.replace(staging, run.adapter)
    sync_folder(run.path)
    return run.adapter


def out_of_memory(plan: Plan, message: str) -> str:
    size, accumulation = plan.per_device_train_batch_size.value, plan.gradient_accumulation_steps.value
    if size > 1:
        way_out = f"--set train.per_device_train_batch_size={max(1, size // 2)} --set train.gradient_accumulation_steps={accumulation * 2}"
    else:
        way_out = f"--set max_seq_length={max(64, plan.max_seq_length.value // 2)}, --set load_in_4bit=true or --set train.gradient_checkpointing=true"
    return f"out of memory while training ({message.splitlines()[0][:160]}). Same result with less memory: {way_out}."


def peak_memory_bytes(plan: Plan) -> int:
    """The device's peak of reserved memory; without a GPU this process's peak resident memory."""
    if plan.device.value == "cuda":
        import torch

        return torch.cuda.max_memory_reserved()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
