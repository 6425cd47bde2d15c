"""A leg's model and trainer, made as its setup says. Import it after the backend: Unsloth exchanges trl.SFTTrainer."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig, SFTTrainer

from unsloth_ft.bench.case import Case
from unsloth_ft.bench.legs import Setup
from unsloth_ft.bench.workload import Workload
from unsloth_ft.chat import Row
from unsloth_ft.record import RunDirectory

Labelled = tuple[Sequence[int], Sequence[int]]  # a row's ids and labels


@dataclass
class Seen:
    """What the trainer was given and did in the step at hand."""

    collated: deque[list[Labelled]] = field(default_factory=deque)
    """Micro-batches between collator and model: the loader is one ahead."""
    rows: list[Labelled] = field(default_factory=list)
    computed_tokens: int = 0
    loss: Any = 0.0
    """Sum over the micro-batches, on the device: the step's mean loss a learned token."""

    def clear(self) -> None:
        """Begins another step."""
        self.rows = []
        self.computed_tokens, self.loss = 0, 0.0


class Watched:
    """A trainer that takes the rows as they come and writes down what it was given; in front of whatever SFTTrainer it stands on."""

    seen: Seen

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        self.seen.rows += self.seen.collated.popleft()
        self.seen.computed_tokens += inputs["input_ids"].numel()
        loss = super().training_step(model, inputs, *args, **kwargs)
        self.seen.loss = self.seen.loss + loss.detach()
        return loss


@dataclass(frozen=True)
class Collator:
    """The leg's own collator, which also tells what it was given."""

    inner: Callable[[list[dict[str, Any]]], dict[str, Any]]
    seen: Seen

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        self.seen.collated.append([(example["input_ids"], example["labels"]) for example in examples])
        return self.inner(examples)


class Pauses(TrainerCallback):
    """Calls `step_ended` after each step, with the device idle; the trainer stops when it answers False."""

    def __init__(self, step_ended: Callable[[], bool], begun: Callable[[], None]) -> None:
        self.step_ended = step_ended
        self.begun = begun

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begun()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.step_ended():
            control.should_training_stop = True


def arranged(workload: Workload, arrangement: str) -> list[Row]:
    """The rows as the leg feeds them: a step's rows stay in their step."""
    steps = [workload.step(number) for number in range(workload.steps)]
    if arrangement == "by_length":
        steps = [tuple(sorted(step, key=lambda row: -len(row.input_ids))) for step in steps]
    return [row for step in steps for row in step]


def make_trainer(
    model: Any,
    tokenizer: Any,
    setup: Setup,
    case: Case,
    rows: Sequence[Row],
    *,
    others: Sequence[Row] = (),
    times: int,
    scratch: Path,
    lora: Any,
) -> Any:
    """The leg's trainer over its rows, `times` times in a row. `others`: rows of the data set behind them, to which no step comes.

    `lora`: a peft.LoraConfig when TRL itself adds the adapter.
    """
    seen = Seen()
    if setup.plan is not None:
        trainer = _product(model, tokenizer, setup, case, rows, times=times, scratch=scratch, others=others)
    else:
        kind = type("WatchedSFTTrainer", (Watched, SFTTrainer), {})
        fed = [*list(rows) * times, *others]
        dataset = Dataset.from_dict({"input_ids": [row.input_ids for row in fed], "labels": [row.labels for row in fed]})
        trainer = kind(
            model=model,
            args=arguments(setup, case, len(rows) * times, scratch),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora,
        )
    trainer.seen = seen
    trainer.data_collator = Collator(trainer.data_collator, seen)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def arguments(setup: Setup, case: Case, rows: int, scratch: Path) -> SFTConfig:
    """SFTConfig: the leg's values, and those that all legs share."""
    chosen = {} if setup.padding_free.value is None else {"padding_free": setup.padding_free.value}
    checkpointing = setup.gradient_checkpointing.value
    return SFTConfig(
        output_dir=str(scratch),
        max_steps=rows // case.effective_batch_size,
        per_device_train_batch_size=setup.per_device_train_batch_size.value,
        gradient_accumulation_steps=setup.gradient_accumulation_steps.value,
        learning_rate=case.learning_rate,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim=setup.optim.value,
        loss_type=setup.loss_type.value,
        # Unsloth switches its own on in get_peft_model, and wants the trainer's off.
        gradient_checkpointing=checkpointing is True,
        bf16=setup.dtype.value == "bfloat16",
        fp16=setup.dtype.value == "float16",
        use_cpu=not torch.cuda.is_available(),
        seed=case.seed,
        data_seed=case.seed,
        logging_steps=10**9,  # reading the loss waits for the device; the clock does it once a step, for all legs alike
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        max_length=None,
        dataset_kwargs=None if prepared_by_unsloth(setup) else {"skip_prepare_dataset": True},
        dataloader_pin_memory=torch.cuda.is_available(),
        **chosen,
    )


def prepared_by_unsloth(setup: Setup) -> bool:
    """Unsloth lays rows end to end only where it prepares the data set itself, and sees that no row is too long."""
    return setup.backend.value == "unsloth" and setup.padding_free.value is not False


def _product(
    model: Any, tokenizer: Any, setup: Setup, case: Case, rows: Sequence[Row], *, others: Sequence[Row], times: int, scratch: Path
) -> Any:
    """The trainer of `unsloth-ft run`, with its own arguments; without evaluations and checkpoints, which nobody else has here."""
    from unsloth_ft.backends import activate
    from unsloth_ft.recipe import Recipe, Train
    from unsloth_ft.train.loop import arguments as product_arguments
    from unsloth_ft.train.loop import autocast_dtype, evaluation_tokens
    from unsloth_ft.train.trainer import Trainer

    recipe = Recipe(model="-", train=Train(learning_rate=case.learning_rate, lr_scheduler_type="constant", warmup_steps=0, seed=case.seed))
    backend = activate(setup.backend.value)
    args = product_arguments(recipe, setup.plan, backend, RunDirectory(scratch))
    args.max_steps = len(rows) * times // case.effective_batch_size
    args.per_device_train_batch_size = setup.per_device_train_batch_size.value
    args.gradient_accumulation_steps = setup.gradient_accumulation_steps.value
    args.eval_strategy = args.save_strategy = "no"
    args.eval_on_start = False
    args.logging_steps = 10**9
    padding_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    kind = type("WatchedTrainer", (Watched, Trainer), {})
    return kind(
        model=model, args=args, processing_class=tokenizer, backend=backend, rows=[*list(rows) * times, *others], held_out=rows[:1],
        padding_free=setup.plan.padding_free.value, packed_length=None, padding_id=padding_id,
        evaluation_tokens=evaluation_tokens(setup.plan), autocast=autocast_dtype(setup.plan),
    )  # fmt: skip


def start_adapters(model: Any, seed: int) -> dict[str, torch.Tensor]:
    """Gives every leg the same new adapter, and returns the weights that are trained, as they stand at the start.

    A as PEFT draws it (Kaiming uniform, a = √5), from a generator of the weight's own name, because the backends draw in
    different orders; B zero.
    """
    start = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if "lora_A" in name:
            generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(f"{seed}/{_place(name)}".encode()).digest()[:6], "big"))
            drawn = torch.empty(parameter.shape, dtype=torch.float32)
            torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(drawn)
        elif "lora_B" in name:
            parameter.data.zero_()
        start[name] = parameter.detach().clone().cpu()
    return start


def _place(name: str) -> str:
    """A weight's name from its layer on; what stands before depends on who wrapped the model."""
    return name[name.index("layers.") :]


def back_to_start(trainer: Any, start: dict[str, torch.Tensor]) -> None:
    """Forgets all training: the weights of the start, an optimizer without state."""
    for name, parameter in trainer.model.named_parameters():
        if name in start:
            parameter.data.copy_(start[name])
    trainer.optimizer.optimizer.state.clear()
