"""The losses before training, computed once: for the curve's first point, and for the proof."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.setting import Setting, setting
from unsloth_ft import backends
from unsloth_ft.evaluate.compare import Comparison, compare
from unsloth_ft.evaluate.losses import RowLoss, row_losses, total
from unsloth_ft.record import RunDirectory
from unsloth_ft.train import before
from unsloth_ft.train.loop import autocast_dtype, evaluation_tokens

LOSSES = [RowLoss(12.345678901234567, 3), RowLoss(0.1, 7)]


def base_losses(run: Setting, model: Any) -> list[RowLoss]:
    """With the adapter switched off."""
    with model.disable_adapter():
        return row_losses(
            model,
            run.held_out,
            batch_tokens=evaluation_tokens(run.plan),
            padding_free=run.plan.padding_free.value,
            padding_id=run.chat.padding_id,
            autocast=autocast_dtype(run.plan),
        )


def proved(run: Setting, model: Any, backend: Any, losses: list[RowLoss] | None) -> Comparison:
    return compare(
        model,
        backend,
        recipe=run.recipe,
        plan=run.plan,
        conversations=run.held_out_conversations,
        rows=run.held_out,
        chat=run.chat,
        losses_before=losses,
    )


@pytest.mark.parametrize(("name", "tolerance"), [("peft", 0.0), ("fused", 1e-6)])
def test_what_training_keeps_are_the_losses_of_the_base(family_dir: Callable[[str], Path], tmp_path: Path, name: str, tolerance: float):
    """PEFT's to the last bit; the fused layers round otherwise than the stock ones, which run where the adapter is off."""
    backend = backends.activate(name)
    run = setting(family_dir("smollm2"), "train.max_steps=2", "train.eval_steps=1", backend=name, held_out=6)
    model = run.model(backend)
    training = run.train(model, backend, tmp_path)
    kept = before.read(RunDirectory(tmp_path), rows=6, loss=training.first_eval_loss)
    assert kept is not None and total(kept) == training.first_eval_loss
    expected = base_losses(run, model)
    assert [loss.tokens for loss in kept] == [loss.tokens for loss in expected]
    assert [loss.nll for loss in kept] == pytest.approx([loss.nll for loss in expected], rel=tolerance, abs=0)
    reused, computed = proved(run, model, backend, kept), proved(run, model, backend, None)
    assert reused.before.loss == training.first_eval_loss
    assert reused.after == computed.after and reused.pairs == computed.pairs
    if not tolerance:
        assert reused == computed


def test_fused_layers_that_learned_nothing_are_no_change_to_the_last_bit(family_dir: Callable[[str], Path], tmp_path: Path):
    """Both sides are computed by the same kernels; the base with its adapter off would run transformers' own."""
    backend = backends.activate("fused")
    run = setting(family_dir("smollm2"), "train.learning_rate=0", "train.max_steps=1", backend="fused", held_out=6)
    model = run.model(backend)
    training = run.train(model, backend, tmp_path)
    found = proved(run, model, backend, before.read(RunDirectory(tmp_path), rows=6, loss=training.first_eval_loss))
    assert (found.loss_difference.value, found.loss_difference.low, found.loss_difference.high) == (0.0, 0.0, 0.0)


def test_what_is_kept_comes_back_to_the_last_bit(tmp_path: Path):
    before.write(RunDirectory(tmp_path), LOSSES)
    assert before.read(RunDirectory(tmp_path), rows=2, loss=total(LOSSES)) == LOSSES


@pytest.mark.parametrize(
    "text",
    ["", '{"nll": 12.345678901234567, "tokens": 3}\n', '{"nll": 12.3', '["nll"]\n["tokens"]\n', '{"nll": 1.0, "tokens": 3}\n{"nll": null, "tokens": 7}\n'],
    ids=["empty", "a row short", "torn", "other JSON", "no number"],
)
def test_a_damaged_file_is_none(tmp_path: Path, text: str):
    run = RunDirectory(tmp_path)
    run.evaluation.mkdir()
    before.file(run).write_text(text, encoding="utf-8")
    assert before.read(run, rows=2, loss=total(LOSSES)) is None


def test_losses_of_another_evaluation_are_not_taken(tmp_path: Path):
    run = RunDirectory(tmp_path)
    before.write(run, LOSSES)
    assert before.read(run, rows=2, loss=total(LOSSES) + 1e-12) is None
    assert before.read(run, rows=2, loss=None) is None
    assert before.read(run, rows=3, loss=total(LOSSES)) is None
