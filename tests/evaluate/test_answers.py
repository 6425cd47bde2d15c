"""Greedy answers: padding, order, and where they end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.setting import conversations
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.data.conversation import Conversation
from unsloth_ft.evaluate import answers
from unsloth_ft.evaluate.answers import Answer, greedy, questions


@dataclasses.dataclass
class FakeChat:
    """What `greedy` asks of a chat; every id may be made an end."""

    tokenizer: Any
    end_ids: tuple[int, ...]
    padding_id: int = 0
    turn_end: str = "<|im_end|>"
    control_tokens: dict[str, int] = dataclasses.field(default_factory=lambda: {"<|im_end|>": 2})


@pytest.fixture(scope="module")
def chat(family_dir: Callable[[str], Path]) -> Chat:
    return Chat(load_tokenizer(family_dir("smollm2")))


@pytest.fixture(scope="module")
def model(family_dir: Callable[[str], Path]) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(family_dir("smollm2"), dtype=torch.float32).eval()


def prompts(chat: Chat) -> list[list[int]]:
    """Five prompts of 14 to 40 tokens, the long and short ones mixed."""
    texts = [
        "Hi",
        "When does the office in Oslo open on the first day of the year, and when does it close again?",
        "Why?",
        "Name a town in Peru.",
        "a b c d e f g h",
    ]
    return [chat.ids(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n") for text in texts]


def test_left_padding_changes_no_answer_and_the_order_is_kept(model: Any, chat: Chat):
    together = greedy(model, chat, prompts(chat), max_new_tokens=8)
    alone = [greedy(model, chat, [prompt], max_new_tokens=8)[0] for prompt in prompts(chat)]
    assert together == alone
    assert len({answer.ids for answer in alone}) == 5


def test_the_output_layer_s_weight_is_not_copied_for_each_prompt(model: Any, chat: Chat):
    """torch does that where the input is cut out of a larger tensor: 50 prompts of SmolLM2 took 2.8 GB."""
    seen: list[tuple[int, bool]] = []
    handle = model.lm_head.register_forward_hook(lambda head, given, out: seen.append((given[0].shape[1], given[0].is_contiguous())))
    greedy(model, chat, prompts(chat), max_new_tokens=2)
    handle.remove()
    assert seen == [(1, True), (1, True)]
    assert not model.lm_head._forward_pre_hooks  # left as it was


def test_many_small_batches_give_the_same(model: Any, chat: Chat):
    together = greedy(model, chat, prompts(chat), max_new_tokens=4)
    assert greedy(model, chat, prompts(chat), max_new_tokens=4, batch_tokens=60) == together


def test_an_answer_ends_before_the_first_end_token(model: Any, chat: Chat):
    free = greedy(model, chat, prompts(chat), max_new_tokens=8)
    assert [answer.stopped for answer in free] == [False] * 5
    assert [len(answer.ids) for answer in free] == [8] * 5
    end = free[1].ids[3]
    stopped = greedy(model, FakeChat(chat.tokenizer, (end,)), prompts(chat), max_new_tokens=8)
    for before, after in zip(free, stopped):
        cut = before.ids.index(end) if end in before.ids else None
        assert after.ids == before.ids[:cut]
        assert after.stopped == (cut is not None)
    assert stopped[1].stopped and len(stopped[1].ids) <= 3


def test_sampling_settings_of_the_model_have_no_say(model: Any, chat: Chat):
    plain = greedy(model, chat, prompts(chat), max_new_tokens=6)
    config = model.generation_config
    before = config.to_dict()
    config.update(do_sample=True, temperature=5.0, top_p=0.5, top_k=3, repetition_penalty=2.0)
    try:
        assert greedy(model, chat, prompts(chat), max_new_tokens=6) == plain
    finally:
        config.update(**{key: before[key] for key in ("do_sample", "temperature", "top_p", "top_k", "repetition_penalty")})


def test_no_prompt_no_answer(model: Any, chat: Chat):
    assert greedy(model, chat, [], max_new_tokens=4) == []


def test_a_turn_end_in_plain_text_ends_the_answer():
    class Letters:
        def decode(self, ids: Any, skip_special_tokens: bool) -> str:
            return "".join(map(chr, ids))

    chat = FakeChat(Letters(), (0,), turn_end="###", control_tokens={})
    assert answers._answer(list(map(ord, "At nine. ### User: and")), chat) == Answer("At nine.", tuple(map(ord, "At nine. ##")), True)
    assert answers._answer(list(map(ord, "At nine.")), chat) == Answer("At nine.", tuple(map(ord, "At nine.")), False)


def test_questions_are_the_first_with_an_answer_and_not_too_long(chat: Chat):
    rendered = Conversation((), "held.jsonl", 1, text="already rendered")
    asked, ids, expected = questions([rendered, *conversations(6)], chat, limit=3)
    assert [conversation.line for conversation in asked] == [1, 2, 3]
    assert expected == [conversation.answer for conversation in asked]
    assert all(len(prompt) > 10 for prompt in ids)
    shortest = min(map(len, ids))
    asked, ids, _ = questions(conversations(6), chat, limit=6, longest=shortest)
    assert ids and all(len(prompt) <= shortest for prompt in ids)
    assert questions(conversations(6), chat, limit=0) == ([], [], [])
