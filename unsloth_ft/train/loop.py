"""Trains the adapter, from the newest whole checkpoint where there is one, and returns how it went."""

from __future__ import annotations

import copy
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from unsloth_ft.backends import Backend, third_party
from unsloth_ft.chat import Chat, Row
from unsloth_ft.disk import sync
from unsloth_ft.errors import MachineError
from unsloth_ft.plan import Plan
from unsloth_ft.recipe import Recipe
from unsloth_ft.record import RunDirectory

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
    start_up_seconds: float | None
    """From the command's begin to the first step, without the evaluation before it; None where no step was left to do."""
    seconds_in: dict[str, float]
    """By part, from the trainer's begin to its end (timing.PARTS); of this call alone where a run was resumed."""
    peak_memory_bytes: int
    peak_allocated_bytes: int
    """Of this call; 0 where no step was left to do. On a card what tensors took, without what the allocator kept."""
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
    began: float | None = None,
) -> Training:
    """Trains, evaluates as the plan says, and leaves the best adapter in the model. `began`: time.perf_counter() of the command's begin.

    Raises GateError when loss or gradient is no number, MachineError when memory or disk is full, Interrupted on a signal.
    """
    from unsloth_ft.train import checkpoints, memory, progress, recovery
    from unsloth_ft.train.timing import Timing

    memory.reset_peak(plan)
    started = time.perf_counter()
    checkpoint = _checkpoint_to_go_on_from(run, console)
    metrics, timing = progress.Metrics(run.metrics_file), Timing(began=started if began is None else began)
    state = _finished(checkpoint, recipe, plan)
    if state is None:
        make = partial(make_trainer, model, backend, recipe=recipe, rows=rows, held_out=held_out, chat=chat, run=run)
        watching = (metrics, progress.EarlyStopping(recipe.train.early_stopping_patience), timing)
        trainer = _train_to_the_end(
            make, watching, plan=recovery.as_recorded(plan, run), checkpoint=checkpoint, run=run, console=console
        )
        state, in_model = trainer.state, trainer.state.global_step
    else:
        metrics.restore(state.global_step)
        in_model = None
    evaluations = {line["step"]: line["eval_loss"] for line in state.log_history if "eval_loss" in line}
    best_step = _best_step(evaluations, state.global_step, run)
    if best_step != in_model:
        load_adapter_weights(model, run.checkpoints / f"checkpoint-{best_step}")
    parameters = list(model.parameters())
    return Training(
        steps=state.global_step,
        epochs=round(state.epoch or 0.0, 4),
        best_step=best_step,
        best_eval_loss=evaluations[best_step],
        first_eval_loss=evaluations.get(0),
        stopped_early=state.global_step < plan.max_steps.value,
        resumed_from_step=checkpoints.step_of(checkpoint) if checkpoint else 0,
        tokens=metrics.total_tokens,
        tokens_per_second=round(metrics.total_tokens / metrics.total_seconds, 1) if metrics.total_seconds else 0.0,
        seconds=round(time.perf_counter() - started, 2),
        start_up_seconds=timing.start_up_seconds,
        seconds_in=timing.as_json(),
        peak_memory_bytes=memory.peak_memory_bytes(plan),
        peak_allocated_bytes=0 if in_model is None else memory.peak_allocated_bytes(plan),
        trainable_parameters=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        all_parameters=sum(parameter.numel() for parameter in parameters),
    )


def _checkpoint_to_go_on_from(run: RunDirectory, console: Console) -> Path | None:
    """The newest whole checkpoint. Damaged ones are removed and said."""
    from unsloth_ft.train import checkpoints

    shutil.rmtree(run.checkpoints / checkpoints.STAGING, ignore_errors=True)
    newest, damaged = checkpoints.newest_whole(run.checkpoints)
    for name in damaged:
        shutil.rmtree(run.checkpoints / name)
        message = f"{name} was damaged or incomplete and is removed; training goes on from {newest.name if newest else 'the beginning'}"
        run.warn(message)
        console.print(f"[yellow]{message}[/]", highlight=False)
    return newest


def _finished(checkpoint: Path | None, recipe: Recipe, plan: Plan) -> Any:
    """The trainer's state when this checkpoint is a training's end, else None. Resumed there, transformers would do one step too many."""
    from transformers import TrainerState

    from unsloth_ft.train.progress import is_exhausted

    if checkpoint is None:
        return None
    state = TrainerState.load_from_json(os.fspath(checkpoint / "trainer_state.json"))
    ended = state.global_step >= plan.max_steps.value or is_exhausted(state.log_history, recipe.train.early_stopping_patience)
    return state if ended else None


def make_trainer(
    model: PeftModel,
    backend: Backend,
    *,
    recipe: Recipe,
    plan: Plan,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    chat: Chat,
    run: RunDirectory,
    resumed: bool,
) -> Any:
    """The trainer of this run, silent and ready. `resumed`: the held-out rows aren't scored before the first step."""
    from transformers import PrinterCallback
    from transformers.trainer_callback import ProgressCallback

    from unsloth_ft.train.trainer import Trainer

    with third_party():
        trainer = Trainer(
            model=model,
            args=arguments(recipe, plan, backend, run, resumed=resumed),
            # A copy: TRL gives a tokenizer without a pad token another one, and ours goes into the adapter's folder as it is.
            processing_class=copy.deepcopy(chat.tokenizer),
            backend=backend,
            rows=rows,
            held_out=held_out,
            padding_free=plan.padding_free.value,
            packed_length=plan.max_seq_length.value if plan.packing.value else None,
            padding_id=chat.padding_id,
            evaluation_tokens=evaluation_tokens(plan),
            autocast=autocast_dtype(plan),
        )
    trainer.checkpoints_kept = recipe.train.save_total_limit
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def _train_to_the_end(
    make: Callable[..., Any], watching: tuple[Any, ...], *, plan: Plan, checkpoint: Path | None, run: RunDirectory, console: Console
) -> Any:
    """The trainer at the end of the run. A step that memory ran out in is done again with fewer rows at once.

    `make(plan=…, resumed=…)` makes a trainer. Raises MachineError when one row at once is too much.
    """
    from unsloth_ft.train import memory, recovery

    while True:
        trainer = make(plan=plan, resumed=checkpoint is not None)
        said = _train(trainer, watching, run=run, checkpoint=checkpoint, console=console)
        if said is None:
            return trainer
        smaller = recovery.smaller(plan) if trainer.in_step else None
        if smaller is None:
            raise MachineError(memory.out_of_memory(plan, said))
        checkpoint, plan = recovery.state_before(trainer), smaller
        recovery.write_down(run, plan, step=trainer.state.global_step + 1, said=said, console=console)
        recovery.release(trainer)


def _train(trainer: Any, watching: tuple[Any, ...], *, run: RunDirectory, checkpoint: Path | None, console: Console) -> str | None:
    """The loop itself, with what watches it: metrics, early stopping, timing. What was said when memory ran out, or None."""
    from unsloth_ft.train import memory, progress, recovery
    from unsloth_ft.train.before import Before

    metrics, *others = watching
    metrics.trainer = trainer
    trainer.on_smaller_evaluation = partial(recovery.say, run, console)
    bar = progress.Bar(console, metrics)
    interruption = progress.Interruption()
    # Metrics after the two that ask for a checkpoint: it ends a line there.
    for callback in (progress.LastStep(), interruption, metrics, bar, Before(run, trainer), *others):
        trainer.add_callback(callback)
    with ExitStack() as stack:
        stack.enter_context(interruption)
        stack.enter_context(third_party())
        stack.callback(bar.close)
        try:
            trainer.train(resume_from_checkpoint=os.fspath(checkpoint) if checkpoint else None)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
            # Its text alone: the error holds on to all that the step had in memory.
            return str(error)
    if interruption.received is not None:
        raise Interrupted(interruption.received, trainer.state.global_step)
    return None

def _best_step(evaluations: dict[int, float], last_step: int, run: RunDirectory) -> int:
    """The step with the lowest eval loss, the first of equals, among those whose weights are there."""
    from unsloth_ft.train import checkpoints

    steps = [step for step in evaluations if step > 0]
    best = min(steps, key=lambda step: evaluations[step])
    there = [step for step in steps if step == last_step or checkpoints.is_whole(run.checkpoints / f"checkpoint-{step}")]
    if best not in there:
        left = min(there, key=lambda step: evaluations[step])
        run.warn(
            f"the best checkpoint (step {best}, eval loss {evaluations[best]:.4f}) was damaged; "
            f"step {left} ({evaluations[left]:.4f}) is used"
        )
        return left
    return best


def arguments(recipe: Recipe, plan: Plan, backend: Backend, run: RunDirectory, *, resumed: bool = False) -> Any:
    """SFTConfig for this plan. What isn't named here is TRL's default."""
    from trl import SFTConfig

    from unsloth_ft.plan_steps import steps_of_warmup

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
        eval_on_start=not resumed,
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
        # Rows are packed and laid end to end by our own sampler and collator, which TRL takes only with its own switched off.
        packing=False,
        padding_free=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=0,
        dataloader_pin_memory=plan.device.value == "cuda",
        **backend.training_defaults(plan),
    )


def evaluation_tokens(plan: Plan) -> int:
    """Tokens of an evaluation's forward pass: what per_device_eval_batch_size rows of the greatest length have."""
    return plan.per_device_eval_batch_size.value * plan.max_seq_length.value


def answer_tokens(plan: Plan) -> int:
    """Tokens of a batch of answers: what the plan found room for; of a run that is read back, what fits nearly everywhere."""
    from unsloth_ft.plan_memory import ANSWER_TOKENS

    return plan.fitting.work.answers.tokens if plan.fitting and plan.fitting.work.answers.rows else ANSWER_TOKENS


def autocast_dtype(plan: Plan) -> Any:
    """The torch dtype of mixed precision, or None for float32."""
    import torch

    return None if plan.dtype.value == "float32" else getattr(torch, plan.dtype.value)


def load_adapter_weights(model: PeftModel, folder: Path) -> None:
    """Puts a checkpoint's adapter weights into the model."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    from unsloth_ft.train.checkpoints import WEIGHTS

    set_peft_model_state_dict(model, load_file(folder / WEIGHTS))


def save_adapter(model: PeftModel, chat: Chat, base_model: str, run: RunDirectory) -> Path:
    """adapter/: the files PEFT reads, and the tokenizer; whole or not there. The base is named by its id, not by a path."""
    from safetensors import SafetensorError

    from unsloth_ft.train.checkpoints import sync_files

    staging = run.path / ".adapter"
    shutil.rmtree(staging, ignore_errors=True)
    config = model.peft_config["default"]
    before = config.base_model_name_or_path
    config.base_model_name_or_path = base_model
    try:
        # "auto" would ask the hub whether the base has this vocabulary.
        model.save_pretrained(staging, safe_serialization=True, save_embedding_layers=False)
        chat.tokenizer.save_pretrained(staging)
        sync_files(staging)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise MachineError(
            f"the adapter can't be written ({reason}). Its checkpoint is whole; free some space and run the same command again."
        ) from None
    finally:
        config.base_model_name_or_path = before
    if run.adapter.exists():
        shutil.rmtree(run.adapter)
    os.replace(staging, run.adapter)
    sync(run.path)
    return run.adapter
