"""The proof: the same held-out rows with the adapter switched off and on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from unsloth_ft.backends import Backend, third_party
from unsloth_ft.chat import Chat, Row
from unsloth_ft.data.conversation import Conversation
from unsloth_ft.evaluate.answers import Answer, greedy, questions
from unsloth_ft.evaluate.losses import RowLoss, row_losses, total
from unsloth_ft.evaluate.metrics import Interval, bootstrap, exact_match, token_f1
from unsloth_ft.plan import Plan
from unsloth_ft.recipe import Recipe

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True)
class Scores:
    """One side of the comparison.

    Loss in nats a token; F1, exact match and `stopped` are means from 0 to 1, None when no answer was asked for.
    """

    loss: float
    perplexity: float
    token_f1: float | None
    exact_match: float | None
    stopped: float | None


@dataclass(frozen=True)
class Pair:
    """One held-out question, answered before and after."""

    where: str
    question: str
    expected: str
    before: str
    after: str
    f1_before: float
    f1_after: float


@dataclass(frozen=True)
class Prompt:
    """A question as ids, and the ids of the tuned model's greedy answer: what an export has to repeat."""

    where: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """Before against after on the same rows; the verdict is the loss interval's."""

    rows: int
    learned_tokens: int
    answers: int
    before: Scores
    after: Scores
    loss_difference: Interval
    verdict: str
    pairs: tuple[Pair, ...]
    prompts: tuple[Prompt, ...]

    def as_json(self, *, side_by_side: int | None = None) -> dict[str, Any]:
        """For run.json: without the ids, and with so many answers side by side."""
        values = asdict(self)
        del values["prompts"]
        values["pairs"] = values["pairs"][:side_by_side]
        return values


def compare(
    model: PeftModel,
    backend: Backend,
    *,
    recipe: Recipe,
    plan: Plan,
    conversations: Sequence[Conversation],
    rows: Sequence[Row],
    chat: Chat,
    losses_before: Sequence[RowLoss] | None = None,
) -> Comparison:
    """Losses and greedy answers of the base (adapter off) and of the tuned model (adapter on).

    `losses_before`: the base's, where they are known already (`before`); None: they are computed.
    """
    from unsloth_ft.train.loop import answer_tokens, autocast_dtype, evaluation_tokens

    asked, prompts, expected = questions(conversations, chat, limit=recipe.evaluate.answers, longest=plan.max_seq_length.value)

    def losses() -> list[RowLoss]:
        return row_losses(
            model,
            rows,
            batch_tokens=evaluation_tokens(plan),
            padding_free=plan.padding_free.value,
            padding_id=chat.padding_id,
            autocast=autocast_dtype(plan),
        )

    def answers() -> list[Answer]:
        return greedy(model, chat, prompts, max_new_tokens=recipe.evaluate.max_new_tokens, batch_tokens=answer_tokens(plan))

    with third_party(), backend.inference(model):
        with model.disable_adapter():
            losses_before = losses() if losses_before is None else losses_before
            answers_before = answers()
        losses_after, answers_after = losses(), answers()
    difference = bootstrap(losses_before, losses_after, samples=recipe.evaluate.bootstrap_samples, seed=recipe.train.seed)
    pairs = tuple(
        Pair(
            where=conversation.where,
            question=_question(conversation),
            expected=wanted,
            before=before.text,
            after=after.text,
            f1_before=token_f1(before.text, wanted),
            f1_after=token_f1(after.text, wanted),
        )
        for conversation, wanted, before, after in zip(asked, expected, answers_before, answers_after)
    )
    return Comparison(
        rows=len(rows),
        learned_tokens=sum(loss.tokens for loss in losses_after),
        answers=len(pairs),
        before=scores(losses_before, answers_before, expected),
        after=scores(losses_after, answers_after, expected),
        loss_difference=difference,
        verdict=verdict(difference),
        pairs=pairs,
        prompts=tuple(
            Prompt(conversation.where, tuple(ids), answer.ids) for conversation, ids, answer in zip(asked, prompts, answers_after)
        ),
    )


def _question(conversation: Conversation) -> str:
    """What stands before the last answer, or ''."""
    last = max(index for index, message in enumerate(conversation.messages) if message.role == "assistant")
    return conversation.messages[last - 1].content if last else ""


def scores(losses: Sequence[RowLoss], answers: Sequence[Answer], expected: Sequence[str]) -> Scores:
    """Means over the rows and answers of one side."""
    loss = total(losses)
    pairs = list(zip(answers, expected))

    def mean(values: list[float]) -> float | None:
        return sum(values) / len(values) if values else None

    return Scores(
        loss=loss,
        perplexity=math.exp(min(loss, 700.0)),  # exp overflows a float at 709.8
        token_f1=mean([token_f1(answer.text, wanted) for answer, wanted in pairs]),
        exact_match=mean([exact_match(answer.text, wanted) for answer, wanted in pairs]),
        stopped=mean([float(answer.stopped) for answer, _ in pairs]),
    )


def verdict(difference: Interval) -> str:
    """better or worse when the interval of the difference in loss excludes 0, else no change."""
    if not difference.excludes_zero:
        return "no change"
    return "better" if difference.value < 0 else "worse"
