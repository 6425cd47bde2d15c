"""The proof as a whole, on a tiny model: the control run, a good adapter and a harmful one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.setting import Setting, conversations, setting
from unsloth_ft import backends
from unsloth_ft.backends import Backend
from unsloth_ft.data.conversation import Conversation, Message
from unsloth_ft.evaluate.compare import Comparison, _question, compare


@pytest.fixture(scope="module")
def backend() -> Backend:
    return backends.activate("peft")


def prove(run: Setting, model: Any, backend: Backend) -> Comparison:
    return compare(
        model, backend, recipe=run.recipe, plan=run.plan, conversations=run.held_out_conversations, rows=run.held_out, chat=run.chat
    )


def test_a_run_that_learns_nothing_is_no_change_to_the_last_bit(family_dir: Callable[[str], Path], backend: Backend, tmp_path: Path):
    run = setting(family_dir("smollm2"), "train.learning_rate=0", "train.max_steps=2", "train.eval_steps=2", held_out=6)
    model = run.model(backend)
    training = run.train(model, backend, tmp_path)
    found = prove(run, model, backend)
    assert (found.loss_difference.value, found.loss_difference.low, found.loss_difference.high) == (0.0, 0.0, 0.0)
    assert found.verdict == "no change"
    assert found.before == found.after
    assert training.best_eval_loss == training.first_eval_loss == found.before.loss


def test_a_run_that_learns_is_better_and_scrambled_answers_are_worse(family_dir: Callable[[str], Path], backend: Backend, tmp_path: Path):
    """The harmful adapter is the good one with its sign turned round: it unlearns exactly what was learned."""
    run = setting(family_dir("smollm2"), "train.max_steps=4", "train.eval_steps=4", held_out=6)
    model = run.model(backend)
    training = run.train(model, backend, tmp_path)
    good = prove(run, model, backend)
    assert good.verdict == "better"
    assert good.after.loss == pytest.approx(training.best_eval_loss, rel=1e-6)
    assert good.loss_difference.value == pytest.approx(good.after.loss - good.before.loss)
    assert good.loss_difference.low <= good.loss_difference.value <= good.loss_difference.high < 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.neg_()
    harmful = prove(run, model, backend)
    assert harmful.verdict == "worse"
    assert harmful.before == good.before
    check_shape(good, run)


def check_shape(found: Comparison, run: Setting) -> None:
    """Rows, tokens and pairs are those of the held-out set."""
    assert found.rows == 6
    assert found.learned_tokens == sum(row.learned for row in run.held_out)
    assert [pair.where for pair in found.pairs] == ["held_out.jsonl:101", "held_out.jsonl:102"]
    assert found.pairs[0].expected == run.held_out_conversations[0].answer
    assert found.pairs[0].question == run.held_out_conversations[0].question
    assert found.prompts[0].prompt_ids == tuple(run.chat.prompt(run.held_out_conversations[0])[0])
    assert len(found.as_json(side_by_side=1)["pairs"]) == 1
    assert "prompts" not in found.as_json()


def test_the_question_is_what_stands_before_the_last_answer():
    turns = (Message("user", "one"), Message("assistant", "1"), Message("user", "two"), Message("assistant", "2"))
    assert _question(Conversation(turns, "f", 1)) == "two"
    assert _question(Conversation(turns[:3], "f", 1)) == "one"
    assert _question(Conversation(turns[1:2], "f", 1)) == ""
    assert _question(conversations(1)[0]) == "When does the office in Oslo open on day 0?"
