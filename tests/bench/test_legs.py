"""What each leg does differently, and why; on machines that are literals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unsloth_ft.bench.case import KINDS, Case, Leg, Lengths
from unsloth_ft.bench.legs import Setup, Situation, recipe_of, setup
from unsloth_ft.bench.workload import build
from unsloth_ft.catalog import find
from unsloth_ft.hardware import GIB, Gpu, Hardware
from unsloth_ft.known_models import KNOWN

LAPTOP = Hardware(gpus=(), cpu_name="a CPU", cpu_count=2, cpu_has_bfloat16=True, memory_bytes=16 * GIB)
H100 = replace(LAPTOP, gpus=(Gpu("an H100", 80 * GIB, (9, 0)),))
T4 = replace(LAPTOP, gpus=(Gpu("a T4", 15 * GIB, (7, 5)),))
LLAMA = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]
SMOLLM2 = KNOWN["HuggingFaceTB/SmolLM2-135M-Instruct"]
FULL = Lengths(median=2048, p95=2048)
TRAINING = tuple(kind for kind in KINDS if kind.startswith(("peft", "unsloth")))


def of(kind: str, hardware: Hardware = H100, *, recipe: str = "llama31-8b", **values: Any) -> Setup:
    case = Case(what="a test", recipe=recipe, **values)
    model = LLAMA if recipe == "llama31-8b" else SMOLLM2
    return setup(Leg(kind=kind), Situation(case, find(recipe).recipe, model, hardware, build(case, vocab_size=model.vocab_size)))


def value(made: Setup, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(made, name).value for name in names)


@pytest.mark.parametrize("hardware", [LAPTOP, T4, H100])
@pytest.mark.parametrize("kind", TRAINING)
def test_every_leg_trains_the_case_s_rows_a_step_whatever_its_micro_batch(kind: str, hardware: Hardware):
    for rows in (1, 6, 8):
        made = of(kind, hardware, effective_batch_size=rows)
        assert made.per_device_train_batch_size.value * made.gradient_accumulation_steps.value == rows
        assert all(decision["reason"] for name, decision in made.as_json().items() if name != "plan")


def test_naive_is_what_trl_does_by_itself():
    from trl import SFTConfig

    default = SFTConfig(output_dir="-", use_cpu=True, bf16=False, report_to="none")
    made = of("peft-naive")
    assert value(made, "per_device_train_batch_size", "gradient_checkpointing", "optim", "loss_type", "padding_free") == (
        default.per_device_train_batch_size, default.gradient_checkpointing, default.optim, default.loss_type, default.padding_free,
    )  # fmt: skip


def test_tuned_lays_ragged_rows_end_to_end_and_takes_the_whole_step():
    assert value(of("peft-tuned"), "padding_free", "per_device_train_batch_size", "gradient_checkpointing") == (True, 8, False)


def test_tuned_leaves_rows_of_one_length_as_they_are_and_takes_as_many_as_fit():
    made = of("peft-tuned", lengths=FULL)
    assert value(made, "padding_free", "per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing") == (
        False, 1, 8, False,
    )  # fmt: skip


def test_tuned_checkpoints_only_where_one_row_does_not_fit_without():
    made = of("peft-tuned", T4, lengths=FULL)
    assert value(made, "per_device_train_batch_size", "gradient_checkpointing") == (8, True)
    assert made.gradient_checkpointing.reason == "one row alone would need more than 9.0 GiB of activations"


def test_a_memory_cap_counts_as_a_smaller_card():
    assert of("peft-tuned", lengths=FULL, memory_cap_bytes=15 * GIB).gradient_checkpointing.value is True


def test_notebook_has_the_published_values_and_no_8_bit_optimizer_on_a_cpu():
    assert value(of("unsloth-notebook"), "per_device_train_batch_size", "gradient_accumulation_steps", "optim") == (2, 4, "adamw_8bit")
    assert of("unsloth-notebook").gradient_checkpointing.value == "unsloth"
    assert of("unsloth-notebook").padding_free.value is None
    assert of("unsloth-notebook", LAPTOP).optim.value == "adamw_torch_fused"


def test_the_plan_s_leg_is_the_product_s_plan():
    made = of("unsloth-plan")
    assert made.plan is not None
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "optim", "dtype", "load_in_4bit"):
        assert getattr(made, name) == getattr(made.plan, name)


def test_the_plan_s_leg_takes_the_backend_that_auto_takes_on_the_machine():
    assert (of("unsloth-plan").backend.value, of("unsloth-plan", LAPTOP, recipe="smollm2-135m").backend.value) == ("unsloth", "fused")


def test_unsloth_without_a_gpu_is_at_its_best_with_few_ragged_rows_at_a_time_and_with_many_equal_ones():
    ragged, equal = (of("unsloth-padded", LAPTOP, recipe="smollm2-135m", **more) for more in ({}, {"lengths": Lengths(median=108, p95=108)}))
    assert value(ragged, "per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing") == (2, 4, False)
    assert value(equal, "per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing") == (8, 1, False)
    assert value(of("unsloth-padded", recipe="smollm2-135m"), "per_device_train_batch_size") == (8,)  # on a card


def test_full_lora_and_qlora_differ_in_what_is_trained_and_how_the_base_is_held():
    assert [value(of(kind), "method", "load_in_4bit") for kind in ("peft-full", "peft-lora", "peft-qlora")] == [
        ("full", False), ("lora", False), ("lora", True),
    ]  # fmt: skip


def test_a_card_without_bfloat16_gets_float16_and_a_cpu_without_it_float32():
    assert of("peft-naive", T4).dtype.value == "float16"
    assert of("peft-naive", replace(LAPTOP, cpu_has_bfloat16=False)).dtype.value == "float32"


def test_a_search_for_the_longest_row_checkpoints_and_lets_rows_be_that_long():
    case = Case(what="a test", recipe="llama31-8b", measures="context", effective_batch_size=1, r=32)
    situation = Situation(case, find("llama31-8b").recipe, LLAMA, H100, build(case, vocab_size=LLAMA.vocab_size))
    assert setup(Leg(kind="peft-tuned"), situation).gradient_checkpointing.value is True
    assert (recipe_of(situation).max_seq_length, recipe_of(situation).lora.r) == (131072, 32)
