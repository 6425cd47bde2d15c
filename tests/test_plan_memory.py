"""What fits is chosen fastest first; what is set by hand is obeyed; what can't fit is refused with the way out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.test_plan import CPU, FAQ, LLAMA, PEFT, RTX_4090, SMALL, T4, UNSLOTH, plan, recipe
from unsloth_ft.errors import MachineError
from unsloth_ft.hardware import GIB, Gpu
from unsloth_ft.memory import estimate
from unsloth_ft.order import largest_micro_batch_tokens
from unsloth_ft.plan import Decision, Plan, resolve
from unsloth_ft.plan_memory import cost, longest_that_fits, most_rows_that_fit, next_tries


FUSED = Decision("fused", "no GPU")


def card(gibibytes: float) -> object:
    return replace(CPU, gpus=(Gpu("a card", int(gibibytes * GIB), (8, 6)),))


def shape(found: Plan) -> tuple:
    return found.per_device_train_batch_size.value, found.gradient_checkpointing.value, found.optim.value


def test_with_more_memory_the_plan_never_gets_slower():
    plans = [plan(hardware=card(size)) for size in (10, 12, 16, 20, 24, 32, 48, 80)]
    costs = [cost(found.fitting.work, 8) for found in plans]
    assert costs == sorted(costs, reverse=True) and costs[0] > costs[-1]
    assert shape(plans[-1]) == (8, False, "adamw_torch_fused")
    assert all(found.fitting.fits for found in plans)


def test_what_is_chosen_fits_with_the_bound_on_top():
    found = plan().fitting
    assert found.estimate.needed_bytes <= found.available_bytes < 24 * GIB
    for phase in found.estimate.phases:
        assert phase.expected_bytes <= phase.needed_bytes <= int((1 + phase.bound) * phase.bytes)


def test_a_card_that_is_too_small_is_refused_before_anything_is_loaded_with_what_would_fit():
    with pytest.raises(MachineError) as error:
        plan(hardware=card(6), length_max=4096, length_p95=3000)
    said = str(error.value)
    assert said.startswith("this needs about ") and "of a card, 6 GiB can be had, with all that saves memory. What would fit: " in said
    assert said.endswith("a card of 12 GiB.") or said.endswith("a card of 16 GiB.")


def test_what_may_fit_and_may_not_is_tried_with_a_warning():
    found = plan("lora.r=128", hardware=card(11))
    assert shape(found) == (1, "unsloth", "paged_adamw_8bit")
    (warning,) = found.warnings
    assert warning.startswith("this may not fit: the training step takes about 9.5 GiB, up to 10.9, and 10.4 can be had. --probe tries it.")


def test_a_16_bit_base_that_does_not_fit_is_told_of_the_4_bit_one():
    with pytest.raises(MachineError, match=r"What would fit: --set load_in_4bit=true, or .*a card of \d+ GiB\.$"):
        plan("load_in_4bit=false", hardware=T4)


def test_a_recipe_that_leaves_the_base_open_gets_16_bit_where_it_fits_and_else_4_bit():
    small, large = (
        resolve(recipe().model_copy(update={"load_in_4bit": None}), FAQ, LLAMA, card(size), UNSLOTH) for size in (12, 80)
    )
    assert small.load_in_4bit.value is True and small.load_in_4bit.reason.startswith("QLoRA: a 16-bit base would need ")
    assert large.load_in_4bit.value is False
    assert large.load_in_4bit.reason == "LoRA: a 16-bit base fits into the 76.0 GiB that can be had of a card, 80 GiB, and is faster"


def test_what_is_set_by_hand_is_obeyed_and_warned_of_when_it_does_not_fit():
    found = plan("train.gradient_checkpointing=false", "train.per_device_train_batch_size=8", hardware=T4)
    assert shape(found)[:2] == (8, False)
    (warning,) = found.warnings
    ways = "--set train.per_device_train_batch_size=1, or --set train.gradient_checkpointing=unsloth, or a card of 32 GiB."
    assert warning.endswith(f", as it is set by hand. What would fit: {ways}")
    assert plan("train.gradient_checkpointing=false", hardware=replace(CPU, gpus=(Gpu("an H200", 141 * GIB, (9, 0)),))).warnings == ()


def without_gpu(gibibytes: int, *settings: str, backend: Decision[str] = FUSED) -> Plan:
    hardware = replace(CPU, memory_bytes=gibibytes * GIB)
    return plan("max_seq_length=4096", "load_in_4bit=false", *settings, length_max=4096, hardware=hardware, model=SMALL, backend=backend)


@pytest.mark.parametrize("backend", [FUSED, PEFT], ids=lambda decision: decision.value)
def test_as_few_layers_are_checkpointed_as_fit(backend: Decision[str]):
    found = without_gpu(8, backend=backend)
    first, fitting = found.gradient_checkpointing.value, found.fitting
    assert 1 <= first < 30 and fitting.fits
    assert found.gradient_checkpointing.reason.startswith(f"of 30 layers the first {first}, as few as fit; without it the same step would take ")
    assert not estimate(replace(fitting.work, gradient_checkpointing=first - 1 or False)).needed_bytes <= fitting.available_bytes
    assert fitting.as_json()["checkpointing"] == f"first {first} layers"


def test_more_memory_never_means_more_checkpointed_layers():
    found = [without_gpu(size).fitting.work for size in range(6, 17)]
    assert [cost(work, 8) for work in found] == sorted((cost(work, 8) for work in found), reverse=True)
    ones = [work.checkpointed_layers for work in found if work.training.rows == 1]
    assert ones == sorted(ones, reverse=True) and ones[0] > 0 == ones[-1]


def test_on_a_card_unsloth_checkpoints_all_layers_or_none():
    assert {type(plan(hardware=card(size)).gradient_checkpointing.value) for size in (10, 12, 16, 20, 24, 80)} == {bool, str}


@pytest.mark.parametrize(
    ("asked", "backend", "said"),
    [
        (7, FUSED, (7, "recipe; the first 7 of 30 layers")),
        (1, PEFT, (1, "recipe; the first 1 of 30 layers")),
        (30, FUSED, (True, "the model has 30 layers; the recipe says 30")),
        (7, Decision("unsloth", "on the CPU"), (True, "the unsloth backend checkpoints all layers or none; the recipe says 7")),
    ],
)
def test_a_number_of_layers_that_is_set_by_hand_is_obeyed_as_far_as_there_are(asked: int, backend: Decision[str], said: tuple):
    found = without_gpu(24, f"train.gradient_checkpointing={asked}", backend=backend).gradient_checkpointing
    assert (found.value, found.reason) == said and type(found.value) is type(said[0])


def test_when_memory_ran_out_with_some_layers_checkpointed_all_are_next():
    flags = [flags for flags, _ in next_tries(without_gpu(24, "train.gradient_checkpointing=7").fitting.work, 8)]
    assert any("train.gradient_checkpointing=true" in each for each in flags)


def test_an_optimizer_in_8_bits_is_taken_only_where_memory_needs_it():
    chosen = {size: plan("lora.r=128", hardware=card(size)).optim.value for size in (13, 80)}
    assert chosen == {13: "paged_adamw_8bit", 80: "adamw_torch_fused"}


def test_rows_laid_end_to_end_count_as_the_largest_batch_that_the_run_will_see():
    lengths = tuple(20 + 7 * number % 300 for number in range(450))
    found = plan("train.padding_free=true", lengths=lengths, length_max=max(lengths))
    tokens = largest_micro_batch_tokens(lengths, batch_size=8, micro_batch_size=8, seed=3407, epochs=4)
    assert found.fitting.work.training.tokens == tokens < 8 * max(lengths)
    padded = plan("train.padding_free=false", lengths=lengths, length_max=max(lengths))
    assert padded.fitting.work.training.tokens == 8 * max(lengths)


def test_of_very_many_rows_the_longest_are_taken_as_if_they_met():
    lengths = (50,) * 19_990 + (400,) * 10
    assert plan("train.padding_free=true", rows=20_000, lengths=lengths, length_max=400).fitting.work.training.tokens == 4 * 400


def test_the_longest_row_and_the_most_rows_that_fit_are_the_last_that_do():
    work, room = plan(hardware=RTX_4090).fitting.work, 20 * GIB
    longest = longest_that_fits(work, room, most=131072)
    rows = most_rows_that_fit(work, room, longest=512, most=256)
    assert 0 < longest < 131072 and longest % 64 == 0
    assert 0 < rows < 256
    assert longest_that_fits(work, room + 2 * GIB, most=131072) > longest
    assert longest_that_fits(work, 2 * GIB, most=131072) == 0
    assert most_rows_that_fit(work, 2 * GIB, longest=512, most=256) == 0


def test_what_to_try_next_takes_less_each_time():
    tries = list(next_tries(plan(hardware=replace(CPU, gpus=(Gpu("an H200", 141 * GIB, (9, 0)),))).fitting.work, 8))
    assert [flags.split("--set ")[-1] for flags, _ in tries] == [
        "train.gradient_accumulation_steps=2", "train.gradient_accumulation_steps=4", "train.gradient_accumulation_steps=8",
        "train.gradient_checkpointing=unsloth", "max_seq_length=256",
    ]  # fmt: skip
    sizes = [size for _, size in tries]
    assert sizes == sorted(sizes, reverse=True)


def test_answers_come_in_batches_that_fit():
    roomy, tight = (plan(hardware=card(size)).fitting for size in (80, 10))
    assert roomy.work.answers.rows > tight.work.answers.rows >= 1
    assert tight.fits


def test_a_card_that_does_not_say_its_memory_has_the_hosts():
    shared = replace(CPU, gpus=(Gpu("a board", 0, (8, 7)),), memory_bytes=64 * GIB)
    assert plan(hardware=shared).fitting.where == "64 GiB of memory"


def test_without_a_gpu_the_program_is_part_of_it():
    found = plan(model=SMALL, hardware=CPU, backend=PEFT).fitting
    assert found.where == "24 GiB of memory"
    assert found.estimate.phase("training step").parts[0].name == "program and libraries"
