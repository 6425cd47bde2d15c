"""How each leg trains: its values, each with its reason. What isn't named is the library's own default. No torch.

The baselines are meant to be strong. `peft-naive` is what a tutorial gives; `peft-tuned` is what an expert gets out of TRL and PEFT
without Unsloth. Whoever knows a better one can say it here, in a line.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from unsloth_ft import backends
from unsloth_ft.bench.case import Case, Leg
from unsloth_ft.bench.workload import Workload
from unsloth_ft.hardware import GIB, Hardware
from unsloth_ft.model_facts import ModelFacts
from unsloth_ft.plan import DataFacts, Decision, Plan, resolve, training_dtype
from unsloth_ft.recipe import Recipe
from unsloth_ft.xray import measure

WORTHWHILE_PADDING = 0.1  # share of a padded batch above which laying rows end to end is worth its denser attention mask
# Activation bytes a token and layer without checkpointing: 4 × (10 × hidden + 6 × intermediate). Fitted to the peak of
# SmolLM2-135M on a CPU (bf16 base, float32 adapters on all seven projections): 1.75 MB a token over its 30 layers.
ACTIVATION_HIDDEN, ACTIVATION_INTERMEDIATE, ACTIVATION_BYTES = 10, 6, 4
ACTIVATIONS_SHARE = 0.6  # of the memory; the rest is for weights, optimizer and fragments
TRL_BATCH_SIZE = 8  # per_device_train_batch_size of transformers.TrainingArguments
CPU_PADDED_ROWS = 2  # ragged rows sorted within the step, SmolLM2 on two cores: 4, 2 and 1 at a time gave 135, 146 and 131 tokens/s
NOTEBOOK_BATCH_SIZE = 2  # Unsloth's published notebooks: 2 × 4


@dataclass(frozen=True)
class Setup:
    """What a leg does differently from the others. Learning rate, schedule, seed and rows are the case's, for all of them."""

    backend: Decision[str]
    method: Decision[str]
    """lora or full."""
    dtype: Decision[str]
    load_in_4bit: Decision[bool]
    per_device_train_batch_size: Decision[int]
    gradient_accumulation_steps: Decision[int]
    arrangement: Decision[str]
    """as_given: a step's rows in their order; by_length: sorted within the step, so that micro-batches have little padding."""
    padding_free: Decision[bool | None]
    """None: the library decides."""
    gradient_checkpointing: Decision[str | bool]
    optim: Decision[str]
    loss_type: Decision[str]
    plan: Plan | None = None
    """Of unsloth-plan alone."""

    def as_json(self) -> dict[str, Any]:
        decisions = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "plan"}
        told = {name: {"value": decision.value, "reason": decision.reason} for name, decision in decisions.items()}
        return told | ({"plan": self.plan.as_json()} if self.plan else {})


@dataclass(frozen=True)
class Situation:
    """What a leg's values depend on."""

    case: Case
    recipe: Recipe
    model: ModelFacts
    hardware: Hardware
    workload: Workload

    @property
    def memory_bytes(self) -> int:
        """Of the device, or what the cap leaves of it."""
        there = self.hardware.gpu.memory_bytes if self.hardware.gpu else self.hardware.memory_bytes
        return min(there, self.case.memory_cap_bytes or there)


def setup(leg: Leg, situation: Situation) -> Setup:
    """The leg's values for this case, model and machine."""
    makers = {
        "peft-naive": naive,
        "peft-tuned": tuned,
        "unsloth-notebook": notebook,
        "unsloth-plan": planned,
        "unsloth-flat": flat,
        "unsloth-padded": padded,
        "peft-full": full,
        "peft-lora": lora,
        "peft-qlora": qlora,
    }
    return makers[leg.kind](situation)


def naive(situation: Situation) -> Setup:
    """TRL's SFTTrainer with a LoraConfig, as its documentation shows it."""
    micro, accumulation = micro_batches(situation, TRL_BATCH_SIZE, "TRL's default")
    return Setup(
        backend=Decision("peft", "vanilla"),
        method=Decision("lora", "the case's"),
        dtype=dtype(situation),
        load_in_4bit=four_bit(situation),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        arrangement=Decision("as_given", "TRL's default: random batches, padded to their longest row"),
        padding_free=Decision(False, "TRL's default"),
        gradient_checkpointing=Decision(True, "TRL's default"),
        optim=Decision("adamw_torch_fused", "transformers' default"),
        loss_type=Decision("chunked_nll", "TRL's default from 1.7 on"),
    )


def tuned(situation: Situation) -> Setup:
    """The best that TRL and PEFT do without Unsloth, found by trying (CONTRIBUTING.md says what was tried)."""
    share = situation.workload.padding_share()
    flat = share > WORTHWHILE_PADDING
    rows, checkpointing = largest_micro_batch(situation, flat=flat)
    micro, accumulation = micro_batches(situation, rows, "as many rows as memory holds")
    return Setup(
        backend=Decision("peft", "vanilla"),
        method=Decision("lora", "the case's"),
        dtype=dtype(situation),
        load_in_4bit=four_bit(situation),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        arrangement=Decision("by_length", "micro-batches of like lengths waste least"),
        padding_free=Decision(flat, f"{share:.0%} of a padded step would be padding"),
        gradient_checkpointing=checkpointing,
        optim=Decision("adamw_torch_fused", "one kernel for all weights"),
        loss_type=Decision("chunked_nll", "logits of learned tokens only, in chunks"),
    )


def notebook(situation: Situation) -> Setup:
    """Unsloth's published notebooks, Llama3.1_(8B)-Alpaca and its likes."""
    micro, accumulation = micro_batches(situation, NOTEBOOK_BATCH_SIZE, "the notebook's")
    on_gpu = situation.hardware.gpu is not None
    return Setup(
        backend=Decision("unsloth", "the notebook's"),
        method=Decision("lora", "the case's"),
        dtype=dtype(situation),
        load_in_4bit=four_bit(situation),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        arrangement=Decision("as_given", "the notebook's"),
        padding_free=Decision(None, "Unsloth decides"),
        gradient_checkpointing=Decision("unsloth", "the notebook's"),
        optim=Decision("adamw_8bit", "the notebook's") if on_gpu else Decision("adamw_torch_fused", "no GPU for the notebook's adamw_8bit"),
        loss_type=Decision("nll", "lets Unsloth put its own in"),
    )


def planned(situation: Situation) -> Setup:
    """What `unsloth-ft run` does with these rows: the backend that `auto` chooses here, and every value from the plan."""
    plan = product_plan(situation)
    micro, accumulation = plan.per_device_train_batch_size, plan.gradient_accumulation_steps
    if micro.value * accumulation.value != situation.case.effective_batch_size:
        micro, accumulation = micro_batches(situation, micro.value, "the plan's; the case says how many rows a step has")
    return Setup(
        backend=plan.backend,
        method=Decision("lora", "the case's"),
        dtype=plan.dtype,
        load_in_4bit=plan.load_in_4bit,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        arrangement=Decision("as_given", "without padding nothing is won by an order")
        if plan.padding_free.value
        else Decision("by_length", "the product groups rows by length"),
        padding_free=plan.padding_free,
        gradient_checkpointing=plan.gradient_checkpointing,
        optim=plan.optim,
        loss_type=Decision("nll", "lets Unsloth put its own in") if plan.backend.value == "unsloth" else Decision("own", "the backend's"),
        plan=plan,
    )


def product_plan(situation: Situation) -> Plan:
    """The plan of `unsloth-ft run` for the case's rows."""
    facts = measure(situation.workload.rows, situation.workload.rows[:1])
    backend = backends.choose("auto", situation.hardware, situation.model.architecture)
    return resolve(recipe_of(situation), facts, situation.model, situation.hardware, backend)


def flat(situation: Situation) -> Setup:
    """What Unsloth reaches when memory is free: no checkpointing, rows laid end to end, as many as memory holds."""
    return _roomy(situation, Decision(True, "no padding is computed"))


def padded(situation: Situation) -> Setup:
    """As unsloth-flat with padded batches, for which Unsloth compiles its blocks; without a GPU this is Unsloth at its best."""
    made = _roomy(situation, Decision(False, "padded batches run the compiled blocks"))
    if situation.hardware.gpu or situation.workload.padding_share() <= WORTHWHILE_PADDING:
        return made
    micro, accumulation = micro_batches(situation, CPU_PADDED_ROWS, "without a GPU what padding costs counts, not how many rows go at once")
    return _changed(made, per_device_train_batch_size=micro, gradient_accumulation_steps=accumulation)


def _roomy(situation: Situation, padding_free: Decision[bool | None]) -> Setup:
    rows, checkpointing = largest_micro_batch(situation, flat=padding_free.value is True)
    micro, accumulation = micro_batches(situation, rows, "as many rows as memory holds")
    if checkpointing.value:
        checkpointing = Decision("unsloth", checkpointing.reason)
    return _changed(
        notebook(situation),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        arrangement=Decision("by_length", "micro-batches of like lengths waste least"),
        padding_free=padding_free,
        gradient_checkpointing=checkpointing,
        optim=Decision("adamw_torch_fused", "one kernel for all weights"),
    )


def lora(situation: Situation) -> Setup:
    return _changed(tuned(situation), load_in_4bit=Decision(False, "LoRA: a 16-bit base"))


def qlora(situation: Situation) -> Setup:
    return _changed(tuned(situation), load_in_4bit=Decision(True, "QLoRA: a base in NF4"))


def full(situation: Situation) -> Setup:
    """All weights, in float32 under mixed precision: bfloat16 weights would swallow most updates."""
    return _changed(tuned(situation), load_in_4bit=Decision(False, "all weights are trained"), method=Decision("full", "no adapter"))


def recipe_of(situation: Situation) -> Recipe:
    """The recipe with the case's rank, rate, quantization and steps."""
    case, recipe = situation.case, situation.recipe
    longest = max(8, *(len(row.input_ids) for row in situation.workload.rows))
    if case.measures == "context":
        longest = min(case.most_tokens, situation.model.max_position_embeddings)
    lora_values = recipe.lora.model_copy(update={"r": case.r or recipe.lora.r})
    steps = case.warm_up_steps + case.steps
    train = recipe.train.model_copy(
        update={
            "learning_rate": case.learning_rate,
            "lr_scheduler_type": "constant",
            "warmup_steps": 0,
            "seed": case.seed,
            "max_steps": steps,
            "effective_batch_size": case.effective_batch_size,
        }
    )
    return recipe.model_copy(
        update={"lora": lora_values, "train": train, "load_in_4bit": four_bit(situation).value, "max_seq_length": longest}
    )


def dtype(situation: Situation) -> Decision[str]:
    """The same for every leg, and that of the product."""
    return training_dtype(situation.recipe.dtype, situation.hardware)


def four_bit(situation: Situation) -> Decision[bool]:
    asked = situation.case.load_in_4bit
    return Decision(bool(situation.recipe.load_in_4bit), "recipe") if asked is None else Decision(asked, "the case's")


def micro_batches(situation: Situation, wanted: int, reason: str) -> tuple[Decision[int], Decision[int]]:
    """(rows a forward pass, passes a step): the largest divisor of the step's rows that is not above what was wanted."""
    rows = situation.case.effective_batch_size
    micro = max(size for size in range(1, min(wanted, rows) + 1) if rows % size == 0)
    return Decision(micro, reason), Decision(rows // micro, f"{rows} rows a step")


def largest_micro_batch(situation: Situation, *, flat: bool) -> tuple[int, Decision[str | bool]]:
    """(rows, checkpointing): the most rows whose activations fit without checkpointing, or all of a step with it."""
    model, workload = situation.model, situation.workload
    if situation.case.measures == "context":
        return 1, Decision(True, "the longest row is asked for, and checkpointing is what makes it longer")
    a_layer = ACTIVATION_BYTES * (ACTIVATION_HIDDEN * model.hidden_size + ACTIVATION_INTERMEDIATE * model.intermediate_size)
    a_token = model.num_hidden_layers * a_layer
    room = situation.memory_bytes * ACTIVATIONS_SHARE
    for rows in range(workload.effective_batch_size, 0, -1):
        tokens = most_tokens(workload, rows, flat=flat)
        if workload.effective_batch_size % rows == 0 and tokens * a_token <= room:
            needed, there = tokens * a_token / GIB, situation.memory_bytes / GIB
            return rows, Decision(False, f"activations of {tokens:,} tokens need about {needed:.1f} of {there:.0f} GiB")
    return workload.effective_batch_size, Decision(True, f"one row alone would need more than {room / GIB:.1f} GiB of activations")


def most_tokens(workload: Workload, rows: int, *, flat: bool) -> int:
    """Tokens of the largest micro-batch of so many rows, a step's rows sorted by length."""
    most = 0
    for number in range(workload.steps):
        lengths = sorted((len(row.input_ids) for row in workload.step(number)), reverse=True)
        for at in range(0, len(lengths), rows):
            part = lengths[at : at + rows]
            most = max(most, sum(part) if flat else max(part) * len(part))
    return most


def _changed(setup: Setup, **decisions: Decision[Any]) -> Setup:
    return Setup(**{field.name: decisions.get(field.name, getattr(setup, field.name)) for field in fields(setup)})
