"""The plan is decided from three values, and each decision says why; no torch is needed for any of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from unsloth_ft import catalog
from unsloth_ft.errors import UserError
from unsloth_ft.hardware import GIB, Gpu, Hardware
from unsloth_ft.known_models import KNOWN
from unsloth_ft.model_facts import ModelFacts
from unsloth_ft.plan import DataFacts, Decision, Plan, resolve
from unsloth_ft.recipe import Recipe

CPU = Hardware(gpus=(), cpu_name="EPYC 9V74", cpu_count=2, cpu_has_bfloat16=True, memory_bytes=24 * GIB)
OLD_CPU = replace(CPU, cpu_name="Core i5-8250U", cpu_count=8, cpu_has_bfloat16=False, memory_bytes=8 * GIB)
T4 = replace(CPU, gpus=(Gpu("Tesla T4", 16 * GIB, (7, 5)),))
RTX_4090 = replace(CPU, gpus=(Gpu("NVIDIA GeForce RTX 4090", 24 * GIB, (8, 9)),))
H200 = replace(CPU, gpus=(Gpu("NVIDIA H200", 141 * GIB, (9, 0)),))
TWO_4090 = replace(RTX_4090, gpus=RTX_4090.gpus * 2)

LLAMA = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]
SMALL = KNOWN["HuggingFaceTB/SmolLM2-135M-Instruct"]
FAQ = DataFacts(train_rows=450, held_out_rows=50, length_p50=90, length_p95=402, length_max=611)
UNSLOTH, PEFT = Decision("unsloth", "2026.10.9 on CUDA"), Decision("peft", "asked for")


def recipe(*settings: str, name: str = "llama31-8b") -> Recipe:
    return catalog.override(catalog.find(name).recipe, settings)


def plan(
    *settings: str, rows: int = 450, hardware: Hardware = RTX_4090, model: ModelFacts = LLAMA, backend: Decision[str] = UNSLOTH, **data: Any
) -> Plan:
    facts = replace(FAQ, train_rows=rows, **data)
    return resolve(recipe(*settings), facts, model, hardware, backend)


def said(decision: Decision) -> tuple[object, str]:
    return decision.value, decision.reason


def refusal(*settings: str, **parts) -> str:
    with pytest.raises(UserError) as error:
        plan(*settings, **parts)
    return str(error.value)


# Whole plans: every value and its reason

CARD_PLANS = {
    "T4": (
        T4,
        "Tesla T4 (16 GiB, SM 7.5)",
        ("float16", "Tesla T4 is SM 7.5; bfloat16 needs SM 8.0"),
        (8, "a whole step in one forward pass; the training step takes 7.9 of 15.2 GiB"),
        ("unsloth", "Unsloth's, offloading; without it the same step would take 24.5 of 15.2 GiB"),
    ),
    "RTX 4090": (
        RTX_4090,
        "NVIDIA GeForce RTX 4090 (24 GiB, SM 8.9)",
        ("bfloat16", "SM 8.9 has it"),
        (4, "the fastest that fits; the training step takes 16.4 of 22.8 GiB"),
        (False, "the training step fits without it: 16.4 of 22.8 GiB"),
    ),
    "H200": (
        H200,
        "NVIDIA H200 (141 GiB, SM 9.0)",
        ("bfloat16", "SM 9.0 has it"),
        (8, "a whole step in one forward pass; the training step takes 25.2 of 133.9 GiB"),
        (False, "the training step fits without it: 25.2 of 133.9 GiB"),
    ),
}


@pytest.mark.parametrize(("hardware", "device", "dtype", "micro_batch", "checkpointing"), CARD_PLANS.values(), ids=CARD_PLANS)
def test_the_whole_plan_of_an_8b_qlora_run_on_a_card(
    hardware: Hardware, device: str, dtype: tuple[str, str], micro_batch: tuple[int, str], checkpointing: tuple[str | bool, str]
):
    assert {name: said(decision) for name, decision in plan(hardware=hardware)} == {
        "backend": ("unsloth", "2026.10.9 on CUDA"),
        "device": ("cuda", device),
        "dtype": dtype,
        "load_in_4bit": (True, "recipe; QLoRA: the frozen base is held in NF4"),
        "max_seq_length": (512, "p95 of your rows is 402; ×1.2, rounded up"),
        "num_train_epochs": (4.0, "450 training rows; early stopping may end it sooner"),
        "max_steps": (228, "4 epochs of 57 steps"),
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": (8 // micro_batch[0], "effective batch size 8"),
        "padding_free": (False, "Unsloth compiles its blocks for padded batches alone; rows of like length share a step"),
        "packing": (False, "recipe; each row by itself"),
        "per_device_eval_batch_size": (micro_batch[0], "as in training; it keeps no activations, so it needs less"),
        "learning_rate": (2e-4, "recipe; peak, after the warm-up"),
        "lr_scheduler_type": ("cosine", "recipe; warm-up 12 of 228 steps"),
        "optim": ("adamw_torch_fused", "one kernel for all weights; its state takes 0.31 GiB"),
        "gradient_checkpointing": checkpointing,
        "eval_steps": (57, "once an epoch"),
        "save_steps": (57, "with each evaluation"),
    }


CPU_PLANS = {
    "with bfloat16": (
        CPU,
        "no GPU; EPYC 9V74, 2 cores, 24 GiB",
        ("bfloat16", "this CPU has bfloat16 instructions"),
        "2.2 of 19.2 GiB",
    ),
    "without bfloat16": (
        OLD_CPU,
        "no GPU; Core i5-8250U, 8 cores, 8 GiB",
        ("float32", "this CPU has no bfloat16 instructions"),
        "2.4 of 6.4 GiB",
    ),
}


@pytest.mark.parametrize(("hardware", "device", "dtype", "peak"), CPU_PLANS.values(), ids=CPU_PLANS)
def test_the_whole_plan_of_a_small_lora_run_without_a_gpu(hardware: Hardware, device: str, dtype: tuple[str, str], peak: str):
    facts = DataFacts(train_rows=180, held_out_rows=20, length_p50=60, length_p95=100, length_max=130)
    found = resolve(recipe(name="smollm2-135m"), facts, SMALL, hardware, PEFT)
    assert {name: said(decision) for name, decision in found} == {
        "backend": ("peft", "asked for"),
        "device": ("cpu", device),
        "dtype": dtype,
        "load_in_4bit": (False, "recipe; LoRA on a 16-bit base"),
        "max_seq_length": (128, "p95 of your rows is 100; ×1.2, rounded up"),
        "num_train_epochs": (4.0, "180 training rows; early stopping may end it sooner"),
        "max_steps": (92, "4 epochs of 23 steps"),
        "per_device_train_batch_size": (8, f"a whole step in one forward pass; the training step takes {peak}"),
        "gradient_accumulation_steps": (1, "effective batch size 8"),
        "padding_free": (True, "rows are laid end to end; attention stays within each"),
        "packing": (False, "recipe; each row by itself"),
        "per_device_eval_batch_size": (8, "as in training; it keeps no activations, so it needs less"),
        "learning_rate": (2e-3, "recipe; peak, after the warm-up"),
        "lr_scheduler_type": ("cosine", "recipe; warm-up 5 of 92 steps"),
        "optim": ("adamw_torch_fused", "one kernel for all weights; its state takes 0.04 GiB"),
        "gradient_checkpointing": (False, f"the training step fits without it: {peak}"),
        "eval_steps": (23, "once an epoch"),
        "save_steps": (23, "with each evaluation"),
    }


def test_a_plan_as_json_is_each_value_with_its_reason():
    found = json.loads(json.dumps(plan().as_json()))
    assert found["max_seq_length"] == {"value": 512, "reason": "p95 of your rows is 402; ×1.2, rounded up"}
    assert list(found) == [name for name, _ in plan()]


def test_a_plan_imports_neither_torch_nor_transformers():
    code = (
        "import sys; import tests.test_plan as t; t.plan(hardware=t.H200);"
        "print(sorted({'torch', 'transformers', 'unsloth', 'peft', 'trl', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# dtype


def test_bfloat16_on_a_t4_is_refused():
    assert refusal("dtype=bfloat16", hardware=T4) == (
        "dtype is bfloat16, but Tesla T4 is SM 7.5; bfloat16 needs SM 8.0. Leave dtype out, or set float16."
    )


def test_float16_without_a_gpu_is_refused():
    assert refusal("dtype=float16", hardware=CPU, backend=PEFT) == (
        "dtype is float16, but there is no GPU, and torch trains float16 on a GPU only. Leave dtype out, or set bfloat16 or float32."
    )


@pytest.mark.parametrize(
    ("asked", "hardware", "reason"),
    [
        ("float32", T4, "recipe"),
        ("float16", T4, "recipe"),
        ("float16", H200, "recipe"),
        ("bfloat16", H200, "recipe"),
        ("bfloat16", CPU, "recipe"),
        ("bfloat16", OLD_CPU, "recipe; slow, this CPU has no bfloat16 instructions"),
    ],
)
def test_a_dtype_that_is_asked_for_is_taken(asked: str, hardware: Hardware, reason: str):
    roomy = replace(hardware, memory_bytes=64 * GIB, gpus=tuple(replace(gpu, memory_bytes=64 * GIB) for gpu in hardware.gpus))
    assert said(plan(f"dtype={asked}", hardware=roomy).dtype) == (asked, reason)


def test_compute_capability_8_0_is_the_first_with_bfloat16():
    cards = {sm: plan(hardware=replace(CPU, gpus=(Gpu("card", 24 * GIB, sm),))).dtype.value for sm in ((7, 0), (7, 5), (8, 0), (8, 6), (12, 0))}
    assert cards == {(7, 0): "float16", (7, 5): "float16", (8, 0): "bfloat16", (8, 6): "bfloat16", (12, 0): "bfloat16"}


# Device


def test_of_two_cards_the_first_is_used_and_said():
    assert said(plan(hardware=TWO_4090).device) == (
        "cuda",
        "NVIDIA GeForce RTX 4090 (24 GiB, SM 8.9); the first of 2 cards, CUDA_VISIBLE_DEVICES names another",
    )


# Length


@pytest.mark.parametrize(
    ("p95", "length"),
    [(1, 64), (53, 64), (54, 128), (106, 128), (107, 192), (402, 512), (1706, 2048), (1707, 2112)],
)
def test_the_length_is_p95_times_1_2_rounded_up_to_64(p95: int, length: int):
    assert said(plan(length_p95=p95).max_seq_length) == (length, f"p95 of your rows is {p95}; ×1.2, rounded up")


def test_the_length_ends_at_the_models_positions():
    model = replace(LLAMA, max_position_embeddings=500)
    assert said(plan(model=model).max_seq_length) == (500, "the model's limit; p95 of your rows is 402")


def test_a_length_that_is_asked_for_is_taken_up_to_the_models_positions():
    assert said(plan("max_seq_length=131072").max_seq_length) == (131072, "recipe")
    assert refusal("max_seq_length=131073") == "max_seq_length is 131073, but the model has 131072 positions; expected at most 131072."


# Memory


def test_checkpointing_is_done_only_where_the_step_does_not_fit_without_it():
    def small(gibibytes: int) -> Plan:
        hardware = replace(CPU, memory_bytes=gibibytes * GIB)
        return plan("max_seq_length=8192", length_max=8192, hardware=hardware, model=SMALL, backend=PEFT)

    assert said(small(24).gradient_checkpointing) == (False, "the training step fits without it: 8.7 of 19.2 GiB")
    assert said(small(24).per_device_train_batch_size) == (1, "the fastest that fits; the training step takes 8.7 of 19.2 GiB")
    assert said(small(12).gradient_checkpointing) == (12, "of 30 layers the first 12, as few as fit; without it the same step would take 8.7 of 9.6 GiB")
    assert said(small(3).gradient_checkpointing) == (True, "transformers'; without it the same step would take 8.7 of 2.4 GiB")


def test_on_a_card_each_backend_has_its_own_checkpointing():
    assert plan(hardware=T4).gradient_checkpointing.value == "unsloth"
    assert plan(hardware=T4, backend=PEFT).gradient_checkpointing.value == 27
    assert plan("lora.r=128", hardware=replace(CPU, gpus=(Gpu("a card", 12 * GIB, (8, 6)),)), backend=PEFT).gradient_checkpointing.value is True


def test_checkpointing_that_is_asked_for_is_taken_as_far_as_the_backend_has_it():
    assert said(plan("train.gradient_checkpointing=false").gradient_checkpointing) == (False, "recipe")
    assert said(plan("train.gradient_checkpointing=unsloth").gradient_checkpointing) == ("unsloth", "recipe")
    assert said(plan("train.gradient_checkpointing=unsloth", backend=PEFT).gradient_checkpointing) == (
        True,
        'the peft backend has no "unsloth" checkpointing; transformers\' own',
    )


@pytest.mark.parametrize(
    ("architecture", "warnings"),
    [
        ("LlamaForCausalLM", ()),
        ("GemmaForCausalLM", ("GemmaForCausalLM: memory and time are counted as those of a Llama of its sizes",)),
        ("", ("a model without an architecture in its config.json: memory and time are counted as those of a Llama of its sizes",)),
    ],
)
def test_an_architecture_that_is_not_known_is_said_to_be_counted_as_a_llama(architecture: str, warnings: tuple[str, ...]):
    assert plan(model=replace(LLAMA, architecture=architecture)).warnings == warnings


def test_an_optimizer_that_is_asked_for_is_taken():
    assert said(plan("train.optim=adamw_8bit").optim) == ("adamw_8bit", "recipe")
