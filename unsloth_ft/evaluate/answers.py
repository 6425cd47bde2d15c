"""Greedy answers of a model to the held-out questions, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from unsloth_ft.chat import Chat
from unsloth_ft.data.conversation import Conversation
from unsloth_ft.plan_memory import ANSWER_TOKENS

if TYPE_CHECKING:
    from torch.nn import Module

@dataclass(frozen=True)
class Answer:
    """A greedy answer; `stopped` says that the model ended it by itself."""

    text: str
    ids: tuple[int, ...]
    stopped: bool


@torch.no_grad()
def greedy(
    model: Module, chat: Chat, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_tokens: int = ANSWER_TOKENS
) -> list[Answer]:
    """Answers in the order of the prompts. Prompts are padded on the left, so that every answer begins at the end.

    `batch_tokens`: prompt and answer tokens at a time, padding among them, but never less than one answer.
    """
    device = next(model.parameters()).device
    answers: list[Answer | None] = [None] * len(prompts)
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    while by_length:
        longest = len(prompts[by_length[-1]]) + max_new_tokens
        count = max(1, batch_tokens // longest)
        indices, by_length = by_length[-count:], by_length[:-count]
        width = max(len(prompts[at]) for at in indices)
        ids = torch.tensor([[chat.padding_id] * (width - len(prompts[at])) + list(prompts[at]) for at in indices], device=device)
        mask = torch.tensor([[0] * (width - len(prompts[at])) + [1] * len(prompts[at]) for at in indices], device=device)
        with _contiguous_before(model.get_output_embeddings()):
            written = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,
                temperature=None,
                top_p=None,
                top_k=None,
                use_cache=True,
                pad_token_id=chat.padding_id,
                eos_token_id=list(chat.end_ids) or None,
            )
        for at, row in zip(indices, written[:, width:].tolist()):
            answers[at] = _answer(row, chat)
    return [answer for answer in answers if answer is not None]


@contextmanager
def _contiguous_before(head: Module) -> Iterator[None]:
    """Lays the head's input out anew, which transformers cuts from the prompt's last position.

    torch multiplies what it can't see as one matrix row by row, each with a copy of the weight: 50 prompts of SmolLM2 took 2.8 GB and
    5.2 of 12.8 s for their first token.
    """
    handle = head.register_forward_pre_hook(lambda module, arguments: (arguments[0].contiguous(), *arguments[1:]))
    try:
        yield
    finally:
        handle.remove()


def questions(
    conversations: Sequence[Conversation], chat: Chat, *, limit: int, longest: int | None = None
) -> tuple[list[Conversation], list[list[int]], list[str]]:
    """(conversations, prompt ids, expected answers) of the first `limit` rows that have an answer to ask for.

    A prompt of more than `longest` tokens is passed over: nothing that long was trained on, nor planned memory for.
    """
    asked: list[Conversation] = []
    prompts: list[list[int]] = []
    expected: list[str] = []
    for conversation in conversations:
        if len(asked) == limit:
            break
        if conversation.text is not None:
            continue
        ids, answer = chat.prompt(conversation)
        if longest is None or len(ids) <= longest:
            asked.append(conversation)
            prompts.append(ids)
            expected.append(answer)
    return asked, prompts, expected


def _answer(ids: list[int], chat: Chat) -> Answer:
    end = next((at for at, index in enumerate(ids) if index in chat.end_ids), None)
    kept = ids if end is None else ids[:end]
    text = chat.tokenizer.decode(kept, skip_special_tokens=True)
    stopped = end is not None
    if chat.turn_end not in chat.control_tokens and chat.turn_end in text:
        # A template whose turns end in plain text: the runtime's stop string cuts there.
        text, stopped = text.split(chat.turn_end)[0], True
        while kept and chat.turn_end in chat.tokenizer.decode(kept, skip_special_tokens=True):
            kept = kept[:-1]
    return Answer(text.strip(), tuple(kept), stopped)
