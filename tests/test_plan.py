"""The plan is decided from three values, and each decision says why; no torch is needed for any of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from unsloth_ft import cards, catalog
from unsloth_ft.errors import UserError
from unsloth_ft.hardware import GIB, Gpu, Hardware
from unsloth_ft.known_models import KNOWN
from unsloth_ft.model_facts import ModelFacts
from unsloth_ft.plan import DataFacts, Decision, Plan, resolve
from unsloth_ft.plan_padding import padded_tokens, started_tokens
from unsloth_ft.plan_steps import steps_of_warmup
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


# Epochs and steps


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [(1, 5), (149, 5), (150, 4), (499, 4), (500, 3), (999, 3), (1000, 3), (3000, 3), (3001, 2), (10_000, 2), (10_001, 1), (1_000_000, 1)],
)
def test_the_epochs_go_by_the_rows(rows: int, epochs: int):
    assert said(plan(rows=rows).num_train_epochs) == (float(epochs), f"{rows:,} training rows; early stopping may end it sooner")


def test_epochs_that_are_asked_for_are_taken_and_may_be_a_part():
    found = plan("train.num_train_epochs=0.5", rows=80)
    assert (said(found.num_train_epochs), said(found.max_steps)) == ((0.5, "recipe"), (5, "0.5 epochs of 10 steps"))


def test_max_steps_outdoes_the_epochs_and_says_so():
    found = plan("train.max_steps=30", rows=80)
    assert (said(found.max_steps), said(found.num_train_epochs)) == ((30, "asked for"), (3.0, "max_steps 30, an epoch has 10"))
    found = plan("train.max_steps=5", "train.num_train_epochs=2", rows=80)
    assert said(found.num_train_epochs) == (0.5, "max_steps 5, an epoch has 10; the recipe's num_train_epochs 2 is not used")


def test_an_epoch_has_a_step_for_a_part_of_a_batch_too():
    assert [plan("train.num_train_epochs=1", rows=rows).max_steps.value for rows in (8, 9, 16, 17)] == [1, 2, 2, 3]


# Batches


def test_fewer_rows_than_a_forward_pass_make_one_batch():
    found = plan("train.per_device_train_batch_size=8", "train.gradient_accumulation_steps=1", rows=3)
    assert said(found.per_device_train_batch_size) == (3, "only 3 training rows; the recipe says 8")
    assert said(found.gradient_accumulation_steps) == (1, "recipe; effective batch size 3")
    assert said(found.max_steps) == (5, "5 epochs of 1 step")


def test_fewer_rows_than_a_step_make_fewer_forward_passes():
    found = plan("train.per_device_train_batch_size=2", "train.gradient_accumulation_steps=4", rows=5)
    assert said(found.per_device_train_batch_size) == (2, "recipe")
    assert said(found.gradient_accumulation_steps) == (3, "only 5 training rows; the recipe says 4")
    assert found.max_steps.value == 5


def test_fewer_rows_than_the_effective_batch_size_are_one_step():
    found = plan(rows=5)
    assert (found.per_device_train_batch_size.value, said(found.gradient_accumulation_steps)) == (
        5,
        (1, "effective batch size 5; only 5 training rows"),
    )


@pytest.mark.parametrize(
    ("settings", "micro_batch", "accumulation"),
    [
        (("train.per_device_train_batch_size=2",), 2, (4, "effective batch size 8")),
        (("train.per_device_train_batch_size=3",), 3, (3, "effective batch size 9; 8 rows don't divide by 3")),
        (("train.gradient_accumulation_steps=4",), 2, (4, "recipe; effective batch size 8")),
        (("train.per_device_train_batch_size=2", "train.gradient_accumulation_steps=4"), 2, (4, "recipe; effective batch size 8")),
        (("train.per_device_train_batch_size=4", "train.gradient_accumulation_steps=4"), 4, (4, "recipe; effective batch size 16")),
        (
            ("train.per_device_train_batch_size=4", "train.gradient_accumulation_steps=4", "train.effective_batch_size=32"),
            4,
            (4, "recipe; effective batch size 16; the recipe's effective_batch_size 32 is not used"),
        ),
    ],
)
def test_what_is_set_by_hand_of_the_batch_is_obeyed(settings: tuple[str, ...], micro_batch: int, accumulation: tuple[int, str]):
    found = plan(*settings)
    assert (found.per_device_train_batch_size.value, said(found.gradient_accumulation_steps)) == (micro_batch, accumulation)


def test_the_evaluation_batch_is_the_training_batch_unless_asked_for():
    assert plan("train.per_device_train_batch_size=4").per_device_eval_batch_size.value == 4
    assert said(plan("train.per_device_eval_batch_size=16").per_device_eval_batch_size) == (16, "recipe")


# Evaluation and saving


@pytest.mark.parametrize(("steps", "every", "count"), [(1, 1, 1), (3, 1, 3), (10, 1, 10), (11, 2, 6), (25, 3, 9), (100, 10, 10)])
def test_within_one_epoch_there_are_up_to_ten_evaluations(steps: int, every: int, count: int):
    found = plan(f"train.max_steps={steps}", rows=8000)
    assert said(found.eval_steps) == (every, f"evaluations in {steps} steps: {count}")
    assert said(found.save_steps) == (every, "with each evaluation")


def test_steps_between_evaluations_that_are_asked_for_are_taken_up_to_the_last_step():
    assert said(plan("train.eval_steps=50").eval_steps) == (50, "recipe")
    assert said(plan("train.eval_steps=500").eval_steps) == (228, "the run's last step; the recipe says 500")


def test_saving_more_often_than_evaluating_wants_a_divisor():
    found = plan("train.eval_steps=50", "train.save_steps=10")
    assert (found.eval_steps.value, said(found.save_steps)) == (50, (10, "recipe"))
    assert refusal("train.eval_steps=50", "train.save_steps=20") == (
        "train.save_steps is 20, evaluations come every 50 steps; expected a divisor of 50, so that the best checkpoint is kept."
    )


@pytest.mark.parametrize(("save", "every"), [(10, 50), (25, 50), (57, 57), (60, 60), (100, 100)])
def test_when_only_the_saving_is_asked_for_the_evaluations_fit_it(save: int, every: int):
    found = plan(f"train.save_steps={save}")
    assert said(found.eval_steps) == (every, "a multiple of save_steps, about once an epoch")
    assert said(found.save_steps) == (save, "recipe")


def test_saving_less_often_than_there_are_steps_is_said():
    assert said(plan("train.save_steps=1000", "train.max_steps=20").save_steps) == (
        20,
        "with each evaluation; the recipe says 1000, the run has 20 steps",
    )


# Warm-up


@pytest.mark.parametrize(
    ("warmup_steps", "max_steps", "steps"),
    [(0.05, 100, 5), (0.05, 101, 6), (0.05, 1, 1), (0, 100, 0), (0.0, 1, 0), (1, 100, 1), (10, 100, 10), (0.999, 10, 10)],
)
def test_the_warm_up_is_a_share_below_1_and_a_number_from_1(warmup_steps: float, max_steps: int, steps: int):
    assert steps_of_warmup(warmup_steps, max_steps) == steps


def test_a_run_without_warm_up_or_without_anything_else_says_so():
    assert plan("train.warmup_steps=0").lr_scheduler_type.reason == "recipe; no warm-up"
    assert plan("train.warmup_steps=300").lr_scheduler_type.reason == "recipe; warm-up 300 of 228 steps, so the peak is never reached"


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


def test_an_optimizer_that_is_asked_for_is_taken():
    assert said(plan("train.optim=adamw_8bit").optim) == ("adamw_8bit", "recipe")


def test_packed_sequences_are_what_steps_and_epochs_count():
    found = plan("train.packing=true", "max_seq_length=100", backend=PEFT, rows=300, lengths=(60, 40, 50) * 100)
    assert said(found.packing) == (True, "recipe; rows are packed, best fit, into sequences of at most max_seq_length")
    assert said(found.max_steps) == (76, "4 epochs of 19 steps")  # 100 × (60 + 40) and 50 × (50 + 50), 8 a step


# What is refused


def test_packing_needs_rows_end_to_end():
    assert refusal("train.packing=true", "train.padding_free=false") == (
        "train.packing is true, but padding_free is False (recipe); packed rows have to be laid end to end. Leave one of them out."
    )


# Rows end to end or padded

EVEN = (300,) * 450
RAGGED = tuple(20 + 13 * at for at in range(48))  # two steps of 24 rows are too few to sort among: 1 - 15,624 / (24 × (631 + 618))


@pytest.mark.parametrize(
    ("hardware", "lengths", "padding_free", "reason"),
    [
        (H200, EVEN, False, "Unsloth compiles its blocks for padded batches alone; rows of like length share a step, 0% of it padding"),
        (RTX_4090, RAGGED, True, "48% of padded steps of like lengths would be padding; attention stays within each row"),
    ],
)
def test_with_unsloth_on_a_card_rows_are_padded_where_sorting_leaves_little_padding(
    hardware: Hardware, lengths: tuple[int, ...], padding_free: bool, reason: str
):
    found = plan("train.effective_batch_size=24", rows=len(lengths), lengths=lengths, hardware=hardware).padding_free
    assert said(found) == (padding_free, reason)


@pytest.mark.parametrize(("hardware", "backend"), [(CPU, UNSLOTH), (RTX_4090, PEFT)])
def test_elsewhere_nothing_is_padded(hardware: Hardware, backend: Decision[str]):
    assert plan(hardware=hardware, backend=backend).padding_free.value is True


def test_packed_rows_are_laid_end_to_end_whatever_compiles():
    assert plan("train.packing=true", lengths=EVEN, hardware=H200).padding_free.value is True


def test_padding_is_counted_over_steps_of_like_lengths():
    assert padded_tokens([10, 20, 30, 40], batch_size=2, seed=0) in (2 * 20 + 2 * 40, 2 * 30 + 2 * 40, 2 * 40 + 2 * 20)


def test_a_slow_card_computes_fewer_tokens_while_a_pass_is_started():
    h100, t4 = (started_tokens(LLAMA, cards.find(name)) for name in ("h100", "t4"))
    assert round(h100) == 5520
    assert h100 / t4 == pytest.approx(989.5 / 65)
