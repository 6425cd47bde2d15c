"""What a step of a plan is made of: rows a forward pass, padded, end to end or packed."""

from __future__ import annotations

import pytest

from tests.test_plan import CPU, H200, LLAMA, PEFT, RTX_4090, UNSLOTH, plan, refusal, said
from unsloth_ft import cards
from unsloth_ft.hardware import Hardware
from unsloth_ft.plan import Decision
from unsloth_ft.plan_padding import padded_tokens, started_tokens

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
    assert round(h100) == 4830
    assert h100 / t4 == pytest.approx(989.5 / 65)


def test_packed_sequences_are_what_steps_and_epochs_count():
    found = plan("train.packing=true", "max_seq_length=100", backend=PEFT, rows=300, lengths=(60, 40, 50) * 100)
    assert said(found.packing) == (True, "recipe; rows are packed, best fit, into sequences of at most max_seq_length")
    assert said(found.max_steps) == (76, "4 epochs of 19 steps")  # 100 × (60 + 40) and 50 × (50 + 50), 8 a step
