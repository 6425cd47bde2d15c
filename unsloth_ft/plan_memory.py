"""What fits, and what of that is fastest: base in 16 or 4 bits, checkpointing, micro-batch and optimizer, chosen by the memory table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from unsloth_ft.errors import MachineError
from unsloth_ft.hardware import GIB, Hardware
from unsloth_ft.memory import estimate
from unsloth_ft.memory_fit import checkpointing_name, first_layers
from unsloth_ft.memory_values import Batch, Estimate, Work
from unsloth_ft.recipe import Recipe

# Of a card, what a process can have: an RTX 4090 says 23.6 GiB to CUDA and 24.0 to its driver, and a desktop takes some.
USABLE_OF_CARD = 0.95
USABLE_OF_HOST = 0.8  # the system, its file cache and other programs need some
# A forward and backward pass costs as much as so many tokens before its first one: 0.3 s on an H200 with an 8B model, whose 1,300 tokens of
# 8 FAQ rows took no longer than one row; on a CPU a pass of few tokens is nearly as efficient as a long one.
PASS_TOKENS = {"cuda": 1024, "cpu": 32}
RECOMPUTED = 1.41  # checkpointing's step against one without: 97 and 137 tokens/s of vanilla PEFT on a CPU, 291 and 412 fused
SELECTIVE = ("fused", "peft")  # backends that can checkpoint some layers alone
DEQUANTIZED = 1.25  # a step on an NF4 base against a 16-bit one
ANSWER_TOKENS = 16_384  # prompt and answer tokens of one batch that is generated: the KV cache of an 8B model takes 2 GiB then
LENGTH_STEP = 64  # tokens
CARD_SIZES = (6, 8, 12, 16, 24, 32, 40, 48, 80, 96, 141, 192)  # GiB, as cards are sold


@dataclass(frozen=True)
class Fitting:
    """The work that was chosen, what it takes, and what there is for it. `warning`: what was set by hand doesn't fit."""

    work: Work
    estimate: Estimate
    available_bytes: int
    where: str
    """The card or memory that it has to fit into."""
    warning: str = ""

    @property
    def fits(self) -> bool:
        return self.estimate.needed_bytes <= self.available_bytes

    def as_json(self) -> dict[str, Any]:
        batch = self.work.training
        return {
            "available_bytes": self.available_bytes,
            "where": self.where,
            "fits": self.fits,
            "micro_batch": {"rows": batch.rows, "longest": batch.longest, "tokens": batch.tokens},
            "load_in_4bit": self.work.load_in_4bit,
            "checkpointing": checkpointing_name(self.work.gradient_checkpointing),
            "basis": self.estimate.basis,
            "phases": [
                {
                    "name": phase.name,
                    "on_host": phase.on_host,
                    "bytes": phase.bytes,
                    "needed_bytes": phase.needed_bytes,
                    "bound": round(phase.bound, 2),
                    "parts": {part.name: part.bytes for part in phase.parts},
                }
                for phase in self.estimate.phases
            ],
        }


@dataclass(frozen=True)
class Question:
    """What is asked for, before memory decides the rest."""

    recipe: Recipe
    hardware: Hardware
    work: Work
    """With everything that memory doesn't decide; the rest in it is not used."""
    rows: int
    """Rows an optimizer step."""
    micro_batches: tuple[int, ...]
    """Rows a forward pass that come into question, the largest first."""
    training_batch: Callable[[int], Batch]
    """Rows a forward pass -> the largest batch of so many."""
    evaluation_batch: Callable[[int], Batch]
    """The same for an evaluation."""
    longest: int
    """Tokens of the longest row that is trained."""
    answers: int
    """Questions that are answered, before and after."""

    @property
    def by_hand(self) -> bool:
        train = self.recipe.train
        return any(value is not None for value in (train.per_device_train_batch_size, train.gradient_checkpointing, train.optim))


def available(hardware: Hardware) -> tuple[int, str]:
    """(bytes a run can have, of what), on the card or, without one, of the host. A card that doesn't say has the host's memory."""
    gpu = hardware.gpu
    if gpu and gpu.memory_bytes:
        return int(USABLE_OF_CARD * gpu.memory_bytes), f"{gpu.name}, {gpu.memory_bytes / GIB:.0f} GiB"
    return int(USABLE_OF_HOST * hardware.memory_bytes), f"{hardware.memory_bytes / GIB:.0f} GiB of memory"


def choose(question: Question) -> Fitting:
    """The fastest that fits; what is set by hand is obeyed, with a warning where it doesn't fit.

    Where nothing fits for certain, but the estimate without its bound does, what takes least is tried, with a warning.
    Raises MachineError when nothing fits, with the nearest things that would.
    """
    room, where = available(question.hardware)
    question = replace(question, work=replace(question.work, room_bytes=room))
    ordered = sorted(candidates(question), key=lambda work: cost(work, question.rows))
    for work in ordered:
        found = Fitting(work, estimate(work), room, where)
        if found.fits:
            return _with_answers(found, question)
    least = min((Fitting(work, estimate(work), room, where) for work in ordered), key=lambda one: (one.estimate.needed_bytes, one.work.training.tokens))
    if question.by_hand:
        return replace(least, warning=f"{_too_much(least)}, as it is set by hand. {_ways_out(question, least)}")
    if least.estimate.expected_bytes <= room:
        return replace(least, warning=f"this may not fit: {_may_not_fit(least)}. --probe tries it. {_ways_out(question, least)}")
    raise MachineError(f"{_too_much(least)}, with all that saves memory. {_ways_out(question, least)}")


def _with_answers(fitting: Fitting, question: Question) -> Fitting:
    """With as many answers at once as fit besides, at most ANSWER_TOKENS."""
    wanted, width = question.answers, fitting.work.answers.longest
    for rows in range(min(wanted, max(1, ANSWER_TOKENS // max(1, width))), 1, -1):
        work = replace(fitting.work, answers=Batch.padded(rows, width))
        more = replace(fitting, work=work, estimate=estimate(work))
        if more.fits:
            return more
    return fitting


def candidates(question: Question) -> Iterator[Work]:
    """Every combination of what is left open."""
    train = question.recipe.train
    four_bit = question.recipe.load_in_4bit
    for load_in_4bit in (False, True) if four_bit is None else (four_bit,):
        for way in checkpointings(question):
            for optim in optimizers(question.recipe, question.work.device):
                for size in question.micro_batches:
                    work = replace(
                        question.work,
                        load_in_4bit=load_in_4bit,
                        gradient_checkpointing=way,
                        optim=optim,
                        training=question.training_batch(size),
                        evaluation=question.evaluation_batch(train.per_device_eval_batch_size or size),
                    )
                    yield work
                    if way is False and train.gradient_checkpointing is None:
                        yield from fewest_layers(work)


def checkpointings(question: Question) -> tuple[str | bool | int, ...]:
    """What comes into question: the recipe's, as far as the backend has it, or none and the backend's own."""
    asked, work = question.recipe.train.gradient_checkpointing, question.work
    if asked is None:
        return (False, work.own_checkpointing)
    first = first_layers(asked)
    if first is not None:
        return (first if work.backend in SELECTIVE and first < work.model.num_hidden_layers else work.own_checkpointing,)
    return (True if asked == "unsloth" and work.backend != "unsloth" else asked,)


def fewest_layers(work: Work) -> Iterator[Work]:
    """The same with as few layers checkpointed as fit, from the first; nothing where none has to be, all have to, or the backend can't."""
    layers = work.model.num_hidden_layers

    def too_much(first: int) -> bool:
        return estimate(replace(work, gradient_checkpointing=first or False)).needed_bytes > work.room_bytes

    if work.backend in SELECTIVE and too_much(0) and not too_much(layers - 1):
        yield replace(work, gradient_checkpointing=1 + _most(too_much, layers - 2))


def optimizers(recipe: Recipe, device: str) -> tuple[str, ...]:
    """The recipe's, or torch's fused AdamW and, on a card, the one whose states are a quarter."""
    if recipe.train.optim:
        return (recipe.train.optim,)
    return ("adamw_torch_fused", "paged_adamw_8bit") if device == "cuda" else ("adamw_torch_fused",)


def cost(work: Work, rows: int) -> float:
    """Time of an optimizer step in tokens of a pass without checkpointing on a 16-bit base; the smaller of equal optimizers' first."""
    passes = math.ceil(rows / work.training.rows)
    factor = recomputed(work) * (DEQUANTIZED if work.load_in_4bit else 1)
    preferred = 0 if work.optim == "adamw_torch_fused" else 1
    return passes * (PASS_TOKENS[work.device] + factor * work.training.tokens) + preferred


def recomputed(work: Work) -> float:
    """What checkpointing multiplies a step's time by."""
    return 1 + (RECOMPUTED - 1) * work.checkpointed_layers / work.model.num_hidden_layers


def smaller_micro_batch(size: int, rows: int) -> int:
    """The next smaller one that divides a step's rows; of more than one row."""
    return max(part for part in range(1, size) if rows % part == 0)


def next_tries(work: Work, rows: int) -> Iterator[tuple[str, int]]:
    """(flags, peak bytes) of what to try when memory ran out, each on top of the one before: the same result first.

    A smaller micro-batch at the same effective batch size, then checkpointing, then a base in 4 bits, then shorter rows.
    """
    flags, size = "", work.training.rows
    while size > 1:
        size = smaller_micro_batch(size, rows)
        work = work.with_micro_batch(size)
        flags = f"--set train.per_device_train_batch_size={size} --set train.gradient_accumulation_steps={rows // size}"
        yield flags, estimate(work).peak.bytes
    if work.checkpointed_layers < work.model.num_hidden_layers:
        flags, work = f"{flags} {_checkpointing_flag(work)}".strip(), replace(work, gradient_checkpointing=work.own_checkpointing)
        yield flags, estimate(work).peak.bytes
    if not work.load_in_4bit:
        work = replace(work, load_in_4bit=True)
        flags = f"{flags} --set load_in_4bit=true".strip()
        yield flags, estimate(work).peak.bytes
    shorter = max(LENGTH_STEP, work.training.longest // 2)
    row = Batch.padded(1, shorter)
    yield f"{flags} --set max_seq_length={shorter}".strip(), estimate(replace(work, training=row, evaluation=row)).peak.bytes


def longest_that_fits(work: Work, room: int, *, most: int) -> int:
    """Tokens of the longest row that fits alone, a multiple of LENGTH_STEP; 0: none does."""
    return LENGTH_STEP * _most(lambda steps: _fits(work, Batch.padded(1, steps * LENGTH_STEP), room), most // LENGTH_STEP)


def most_rows_that_fit(work: Work, room: int, *, longest: int, most: int) -> int:
    """Rows of that length that fit into one forward pass; 0: not one."""
    return _most(lambda rows: _fits(work, Batch.padded(rows, longest), room), most)


def _fits(work: Work, batch: Batch, room: int) -> bool:
    """Whether training and evaluation of that batch do, without any answer."""
    return estimate(replace(work, training=batch, evaluation=batch, answers=Batch(0, 0, 0, 0))).needed_bytes <= room


def _most(holds: Callable[[int], bool], limit: int) -> int:
    """The largest number up to the limit that holds, of which all smaller ones do; 0: none."""
    holding, failing = 0, limit + 1
    while failing - holding > 1:
        middle = (holding + failing) // 2
        holding, failing = (middle, failing) if holds(middle) else (holding, middle)
    return holding


def _checkpointing_flag(work: Work) -> str:
    return f"--set train.gradient_checkpointing={'unsloth' if work.own_checkpointing == 'unsloth' else 'true'}"


def _too_much(least: Fitting) -> str:
    peak, work = least.estimate.peak, least.work
    return (
        f"this needs about {least.estimate.needed_bytes / GIB:.1f} GiB in the {peak.name} ({work.training.rows} × "
        f"{work.training.longest} tokens, checkpointing {checkpointing_name(work.gradient_checkpointing)}, "
        f"{'4-bit' if work.load_in_4bit else '16-bit'} base), and {least.available_bytes / GIB:.1f} GiB of {least.where} can be had"
    )


def _may_not_fit(least: Fitting) -> str:
    low, high = least.estimate.expected_bytes / GIB, least.estimate.needed_bytes / GIB
    return f"the {least.estimate.peak.name} takes about {low:.1f} GiB, up to {high:.1f}, and {least.available_bytes / GIB:.1f} can be had"


def _ways_out(question: Question, least: Fitting) -> str:
    """The nearest things that would fit, each by itself."""
    work, room = replace(least.work, training=question.training_batch(1)), least.available_bytes
    ways = []
    for wanted, changed in _savings(question, work):
        if estimate(changed).needed_bytes <= room:
            ways.append(wanted)
    shorter = longest_that_fits(work, room, most=question.longest)
    if 0 < shorter < question.longest:
        ways.append(f"--set max_seq_length={shorter}")
    need = least.estimate.needed_bytes
    card = next((size for size in CARD_SIZES if USABLE_OF_CARD * size * GIB >= need), None)
    if work.device == "cuda":
        ways.append(f"a card of {card} GiB" if card else "a smaller model")
    else:
        ways.append(f"{math.ceil(need / USABLE_OF_HOST / GIB)} GiB of memory")
    return f"What would fit: {', or '.join(ways)}."


def _savings(question: Question, work: Work) -> Iterator[tuple[str, Work]]:
    """(what to set, the work with it) for each thing that saves memory and isn't done yet, one row at a time."""
    smaller = "--set train.per_device_train_batch_size=1"
    if question.training_batch(1).rows < question.micro_batches[-1]:
        yield smaller, work
    if work.checkpointed_layers < work.model.num_hidden_layers:
        yield _checkpointing_flag(work), replace(work, gradient_checkpointing=work.own_checkpointing)
    if not work.load_in_4bit:
        yield "--set load_in_4bit=true", replace(work, load_in_4bit=True)
