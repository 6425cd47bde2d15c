"""Every value of a run, decided from recipe, data and machine; each carries its reason.

No torch: a plan for a card you don't own costs milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial

from unsloth_ft import plan_steps
from unsloth_ft.data import sequence_length
from unsloth_ft.errors import UserError
from unsloth_ft.hardware import GIB, Gpu, Hardware
from unsloth_ft.memory import estimate
from unsloth_ft.memory_correction import Correction
from unsloth_ft.memory_fit import first_layers
from unsloth_ft.memory_values import TRAINING, Batch, Work
from unsloth_ft.model_facts import ModelFacts
from unsloth_ft.order import largest_micro_batch_tokens, packed_sequences
from unsloth_ft.plan_memory import Fitting, Question, choose
from unsloth_ft.plan_padding import with_unsloth
from unsloth_ft.plan_values import DataFacts, Decision
from unsloth_ft.recipe import Recipe

COUNTED_ROWS = 10_000  # up to here the order of every epoch is looked at, which takes 0.1 s an epoch


@dataclass(frozen=True)
class Plan:
    """All decisions of a run; a field's name is the upstream name."""

    backend: Decision[str]
    device: Decision[str]
    dtype: Decision[str]
    load_in_4bit: Decision[bool]
    max_seq_length: Decision[int]
    num_train_epochs: Decision[float]
    max_steps: Decision[int]
    per_device_train_batch_size: Decision[int]
    gradient_accumulation_steps: Decision[int]
    padding_free: Decision[bool]
    packing: Decision[bool]
    per_device_eval_batch_size: Decision[int]
    learning_rate: Decision[float]
    lr_scheduler_type: Decision[str]
    optim: Decision[str]
    gradient_checkpointing: Decision[str | bool | int]
    eval_steps: Decision[int]
    save_steps: Decision[int]
    fitting: Fitting | None = None
    """What it takes of memory; None for a run that is read back."""

    def __iter__(self) -> Iterator[tuple[str, Decision]]:
        return ((field.name, getattr(self, field.name)) for field in fields(self) if field.name != "fitting")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before the run begins."""
        if self.fitting is None:
            return ()
        model = self.fitting.work.model
        as_llama = f"{model.architecture or 'a model without an architecture in its config.json'}: memory and time are counted as those of a Llama of its sizes"
        return tuple(filter(None, (self.fitting.warning, "" if model.is_counted else as_llama)))

    def as_json(self) -> dict[str, dict[str, object]]:
        return {name: {"value": decision.value, "reason": decision.reason} for name, decision in self}


def resolve(
    recipe: Recipe,
    data: DataFacts,
    model: ModelFacts,
    hardware: Hardware,
    backend: Decision[str],
    *,
    corrections: tuple[Correction, ...] = (),
) -> Plan:
    """The plan for this recipe, this data and this machine. `corrections`: what was measured of memory on it.

    Raises UserError for what can't be done at all, MachineError when memory is too small whatever is done.
    """
    train = recipe.train
    dtype = training_dtype(recipe.dtype, hardware)
    length = max_seq_length(recipe, data, model)
    padding_free = _padding_free(recipe, data, model, hardware.gpu, backend.value)
    packing = _packing(recipe, padding_free)
    batched = _packed(data, length.value) if packing.value else data
    question = _question(
        recipe, batched, model, hardware, backend=backend.value, dtype=dtype.value, length=length.value, padding_free=padding_free.value
    )
    fitting = choose(replace(question, work=replace(question.work, corrections=corrections)))
    micro_batch, accumulation = _batch(recipe, batched, fitting)
    steps_per_epoch = max(1, math.ceil(batched.train_rows / (micro_batch.value * accumulation.value)))
    epochs = plan_steps.epochs(recipe, data)
    steps = plan_steps.max_steps(recipe, epochs.value, steps_per_epoch)
    eval_steps = plan_steps.eval_steps(train.eval_steps, train.save_steps, steps_per_epoch, steps.value)
    return Plan(
        backend=backend,
        device=Decision("cuda", hardware.summary) if hardware.gpu else Decision("cpu", hardware.summary),
        dtype=dtype,
        load_in_4bit=_load_in_4bit(recipe, fitting),
        max_seq_length=length,
        num_train_epochs=plan_steps.epochs_of(steps.value, steps_per_epoch, recipe) if train.max_steps > 0 else epochs,
        max_steps=steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        padding_free=padding_free,
        packing=packing,
        per_device_eval_batch_size=_eval_batch(recipe, micro_batch.value),
        learning_rate=Decision(train.learning_rate, "recipe; peak, after the warm-up"),
        lr_scheduler_type=Decision(train.lr_scheduler_type, f"recipe; {plan_steps.warmup(train.warmup_steps, steps.value)}"),
        optim=_optim(recipe, fitting),
        gradient_checkpointing=_checkpointing(recipe, fitting),
        eval_steps=eval_steps,
        save_steps=plan_steps.save_steps(train.save_steps, eval_steps.value, steps.value),
        fitting=fitting,
    )


def training_dtype(asked: str | None, hardware: Hardware) -> Decision[str]:
    """What the machine trains in. `asked`: the recipe's; None: what the machine does best. Raises UserError for what it can't."""
    gpu = hardware.gpu
    if asked == "bfloat16" and gpu and gpu.compute_capability < (8, 0):
        raise UserError(f"dtype is bfloat16, but {gpu.name} is {gpu.sm}; bfloat16 needs SM 8.0. Leave dtype out, or set float16.")
    if asked == "float16" and not gpu:
        raise UserError(
            "dtype is float16, but there is no GPU, and torch trains float16 on a GPU only. Leave dtype out, or set bfloat16 or float32."
        )
    if asked == "bfloat16" and not gpu and not hardware.cpu_has_bfloat16:
        return Decision("bfloat16", "recipe; slow, this CPU has no bfloat16 instructions")
    if asked:
        return Decision(asked, "recipe")
    if gpu:
        if gpu.compute_capability >= (8, 0):
            return Decision("bfloat16", f"{gpu.sm} has it")
        return Decision("float16", f"{gpu.name} is {gpu.sm}; bfloat16 needs SM 8.0")
    if hardware.cpu_has_bfloat16:
        return Decision("bfloat16", "this CPU has bfloat16 instructions")
    return Decision("float32", "this CPU has no bfloat16 instructions")


def _question(
    recipe: Recipe, data: DataFacts, model: ModelFacts, hardware: Hardware, *, backend: str, dtype: str, length: int, padding_free: bool
) -> Question:
    """What memory has to decide."""
    longest, rows = min(data.length_max, length), rows_of_a_step(recipe, data)
    answered = min(recipe.evaluate.answers, data.held_out_rows)
    width = min(longest, length) + recipe.evaluate.max_new_tokens
    work = Work(
        model=model,
        backend=backend,
        device="cuda" if hardware.gpu else "cpu",
        dtype=dtype,
        load_in_4bit=False,
        r=recipe.lora.r,
        target_modules=recipe.lora.target_modules,
        optim="adamw_torch_fused",
        gradient_checkpointing=False,
        training=Batch.padded(1, longest),
        evaluation=Batch.padded(1, longest),
        answers=Batch.padded(min(answered, 1), width),
    )
    return Question(
        recipe=recipe,
        hardware=hardware,
        work=work,
        rows=rows,
        micro_batches=_micro_batches(recipe, data, rows),
        training_batch=partial(_largest_batch, recipe, data, rows, longest, padding_free),
        evaluation_batch=partial(_evaluation_batch, data, longest, length),
        longest=longest,
        answers=answered,
    )


def _largest_batch(recipe: Recipe, data: DataFacts, rows: int, longest: int, padding_free: bool, size: int) -> Batch:
    """The largest forward pass of `size` rows. Laid end to end it is known exactly; padded, all are as wide as the longest."""
    padded = Batch.padded(size, longest)
    if not padding_free or len(data.lengths) != data.train_rows:
        return padded
    lengths = [min(length, longest) for length in data.lengths]
    if len(lengths) > COUNTED_ROWS or rows % size:
        tokens = sum(sorted(lengths)[-size:])  # as if the longest rows of all met
    else:
        epochs = math.ceil(plan_steps.epochs(recipe, data).value)
        tokens = largest_micro_batch_tokens(lengths, batch_size=rows, micro_batch_size=size, seed=recipe.train.seed, epochs=epochs)
    return Batch(size, longest, tokens, tokens)


def _evaluation_batch(data: DataFacts, longest: int, max_seq_length: int, size: int) -> Batch:
    """Held-out rows, as many as have the tokens of `size` rows of max_seq_length (train/loop.py), or all of them."""
    tokens = max(longest, min(size * max_seq_length, max(1, data.held_out_rows) * longest))
    return Batch(-(-tokens // longest), longest, tokens, tokens)


def _load_in_4bit(recipe: Recipe, fitting: Fitting) -> Decision[bool]:
    if recipe.load_in_4bit:
        return Decision(True, "recipe; QLoRA: the frozen base is held in NF4")
    if recipe.load_in_4bit is False:
        return Decision(False, "recipe; LoRA on a 16-bit base")
    if fitting.work.load_in_4bit:
        return Decision(True, f"QLoRA: a 16-bit base would need checkpointing, or more than {_room(fitting)}")
    return Decision(False, f"LoRA: a 16-bit base fits into {_room(fitting)}, and is faster")


def _room(fitting: Fitting) -> str:
    return f"the {fitting.available_bytes / GIB:.1f} GiB that can be had of {fitting.where}"


def _peak(fitting: Fitting) -> str:
    return f"{fitting.estimate.phase(TRAINING).bytes / GIB:.1f} of {fitting.available_bytes / GIB:.1f} GiB"


def max_seq_length(recipe: Recipe, data: DataFacts, model: ModelFacts) -> Decision[int]:
    """Longest row in tokens. Raises UserError for more than the model has positions."""
    cap = model.max_position_embeddings
    if recipe.max_seq_length:
        if recipe.max_seq_length > cap:
            raise UserError(f"max_seq_length is {recipe.max_seq_length}, but the model has {cap} positions; expected at most {cap}.")
        return Decision(recipe.max_seq_length, "recipe")
    return Decision(*sequence_length.recommended(data.length_p95, cap))


def _packed(data: DataFacts, max_seq_length: int) -> DataFacts:
    """The data as packed sequences, each of which a batch counts as one row. A row that is yet to be cut counts as full."""
    lengths = [min(length, max_seq_length) for length in data.lengths]
    return replace(data, train_rows=packed_sequences(lengths, max_seq_length=max_seq_length), length_max=max_seq_length)


def rows_of_a_step(recipe: Recipe, data: DataFacts) -> int:
    """The effective batch size: the recipe's, or the product of what is set by hand; never more than there are rows."""
    train = recipe.train
    micro, accumulation = train.per_device_train_batch_size, train.gradient_accumulation_steps
    asked = micro * accumulation if micro and accumulation else train.effective_batch_size
    return min(asked, data.train_rows)


def _micro_batches(recipe: Recipe, data: DataFacts, rows: int) -> tuple[int, ...]:
    """Rows a forward pass that come into question, the largest first: what is set by hand, or every divisor of a step's rows."""
    micro, accumulation = recipe.train.per_device_train_batch_size, recipe.train.gradient_accumulation_steps
    if micro:
        return (min(micro, data.train_rows),)
    if accumulation:
        return (max(1, rows // accumulation),)
    return tuple(size for size in range(rows, 0, -1) if rows % size == 0)


def _batch(recipe: Recipe, data: DataFacts, fitting: Fitting) -> tuple[Decision[int], Decision[int]]:
    """(rows a forward pass, forward passes a step). What is set by hand is obeyed, as far as there are rows for it."""
    asked, rows, micro = recipe.train.per_device_train_batch_size, rows_of_a_step(recipe, data), fitting.work.training.rows
    if asked:
        reason = "recipe" if asked == micro else f"only {data.train_rows} training rows; the recipe says {asked}"
    elif recipe.train.gradient_accumulation_steps:
        reason = f"{rows} rows a step in {recipe.train.gradient_accumulation_steps} forward passes, as the recipe says"
    elif micro == rows:
        reason = f"a whole step in one forward pass; the training step takes {_peak(fitting)}"
    else:
        reason = f"the fastest that fits; the training step takes {_peak(fitting)}"
    return Decision(micro, reason), _accumulation(recipe, data, micro)


def _accumulation(recipe: Recipe, data: DataFacts, micro: int) -> Decision[int]:
    asked, rows = recipe.train.gradient_accumulation_steps, rows_of_a_step(recipe, data)
    needed = math.ceil(rows / micro)
    if asked and needed >= asked:
        unused = recipe.train.effective_batch_size
        instead = f"; the recipe's effective_batch_size {unused} is not used" if unused not in (micro * asked, 8) else ""
        return Decision(asked, f"recipe; effective batch size {micro * asked}{instead}")
    if asked:
        reason = f"only {data.train_rows} training rows; the recipe says {asked}"
        return Decision(needed, "one batch is all there is" if needed == 1 else reason)
    if needed * micro != recipe.train.effective_batch_size:
        few = data.train_rows < recipe.train.effective_batch_size
        why = f"only {data.train_rows} training rows" if few else f"{recipe.train.effective_batch_size} rows don't divide by {micro}"
        return Decision(needed, f"effective batch size {needed * micro}; {why}")
    return Decision(needed, f"effective batch size {needed * micro}")


def _padding_free(recipe: Recipe, data: DataFacts, model: ModelFacts, gpu: Gpu | None, backend: str) -> Decision[bool]:
    if recipe.train.padding_free is not None:
        return Decision(recipe.train.padding_free, "recipe")
    if recipe.train.packing or backend != "unsloth" or gpu is None:
        return Decision(True, "rows are laid end to end; attention stays within each")
    lengths = data.lengths if len(data.lengths) == data.train_rows else ()
    return Decision(*with_unsloth(lengths, batch_size=rows_of_a_step(recipe, data), seed=recipe.train.seed, model=model, gpu=gpu))


def _packing(recipe: Recipe, padding_free: Decision[bool]) -> Decision[bool]:
    if not recipe.train.packing:
        return Decision(False, "recipe; each row by itself")
    if not padding_free.value:
        raise UserError(
            f"train.packing is true, but padding_free is {padding_free}; packed rows have to be laid end to end. Leave one of them out."
        )
    return Decision(True, "recipe; rows are packed, best fit, into sequences of at most max_seq_length")


def _eval_batch(recipe: Recipe, micro_batch: int) -> Decision[int]:
    asked = recipe.train.per_device_eval_batch_size
    if asked:
        return Decision(asked, "recipe")
    return Decision(micro_batch, "as in training; it keeps no activations, so it needs less")


def _optim(recipe: Recipe, fitting: Fitting) -> Decision[str]:
    if recipe.train.optim:
        return Decision(recipe.train.optim, "recipe")
    if fitting.work.optim == "paged_adamw_8bit":
        return Decision("paged_adamw_8bit", "a quarter of AdamW's memory, paged to the host when the card is full (QLoRA)")
    state = next(part.bytes for part in fitting.estimate.phase(TRAINING).parts if part.name == "optimizer state")
    return Decision("adamw_torch_fused", f"one kernel for all weights; its state takes {state / GIB:.2f} GiB")


def _checkpointing(recipe: Recipe, fitting: Fitting) -> Decision[str | bool | int]:
    asked, work = recipe.train.gradient_checkpointing, fitting.work
    chosen, layers = work.gradient_checkpointing, work.model.num_hidden_layers
    if asked == "unsloth" and chosen is True:
        return Decision(True, f'the {work.backend} backend has no "unsloth" checkpointing; transformers\' own')
    first = first_layers(asked) if asked is not None else None
    if first is not None and chosen != first:
        why = f"the model has {layers} layers" if first >= layers else f"the {work.backend} backend checkpoints all layers or none"
        return Decision(chosen, f"{why}; the recipe says {first}")
    if asked is not None:
        return Decision(asked, "recipe" if first is None else f"recipe; the first {first} of {layers} layers")
    if not chosen:
        return Decision(False, f"the training step fits without it: {_peak(fitting)}")
    without = estimate(replace(work, gradient_checkpointing=False)).phase(TRAINING).bytes
    kind = "Unsloth's, offloading" if chosen == "unsloth" else "transformers'" if chosen is True else f"of {layers} layers the first {chosen}, as few as fit"
    return Decision(chosen, f"{kind}; without it the same step would take {without / GIB:.1f} of {fitting.available_bytes / GIB:.1f} GiB")
