"""Many conversations at once give what each gives alone: rows, errors and their order."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import families
from tests.test_chat import ANSWERS, conversation
from unsloth_ft import chat as chat_module
from unsloth_ft import chat_ids
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.chat_ids import Encoder
from unsloth_ft.chat_row import Tokenized
from unsloth_ft.data.conversation import Conversation
from unsloth_ft.errors import UserError

REFUSED = ("user:Hi", "assistant:a <|im_end|> b", "user:[INST] <|eot_id|></s>", "assistant:x")  # control tokens, of every family


def conversations(count: int) -> list[Conversation]:
    """Of one to three exchanges, some with a system message; every tenth is refused by all, every eleventh is plain text."""
    generator = random.Random(5)
    found = []
    for line in range(1, count + 1):
        turns = ["system:" + generator.choice(["Be brief.", "你好"])] if generator.random() < 0.3 else []
        for _ in range(generator.randint(1, 3)):
            turns += [f"user:{generator.choice(list(ANSWERS.values()))}?", f"assistant:{generator.choice(list(ANSWERS.values()))}x"]
        turns = list(REFUSED) if line % 10 == 0 else turns
        whole = Conversation((), "rows.jsonl", line, text=f"Once upon a time, {line}")
        found.append(whole if line % 11 == 0 else conversation(*turns, line=line))
    return found


def told(found: Tokenized | UserError) -> Tokenized | str:
    return str(found) if isinstance(found, UserError) else found


@pytest.mark.parametrize("special_tokens", ["refuse", "text"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_together_is_one_by_one(
    family: str, special_tokens: str, family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    asked = conversations(60)
    chat = Chat(load_tokenizer(family_dir(family)), special_tokens=special_tokens)
    alone = [told(found) for one in asked for found in chat.tokenize_all([one])]
    monkeypatch.setattr(chat_module, "TOGETHER", 7)
    together = [told(found) for found in Chat(chat.tokenizer, special_tokens=special_tokens).tokenize_all(asked)]
    assert together == alone
    refused = [found for found in together if isinstance(found, str)]
    assert len(refused) == (6 if special_tokens == "refuse" else 0)
    assert all(f"rows.jsonl:{line}: " in "\n".join(refused) for line in (10, 20, 30, 40, 50, 60) if refused)


@pytest.mark.parametrize("special_tokens", ["refuse", "text"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_what_control_tokens_tell_of_a_row_is_what_the_places_of_its_tokens_tell(
    family: str, special_tokens: str, family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    generator = random.Random(11)
    texts = list(ANSWERS.values())
    asked = conversations(60)
    asked += [
        conversation(f"user:{generator.choice(texts)}", f"assistant:{one}", f"user:{one}", f"assistant:{generator.choice(texts)}", line=line)
        for line, one in enumerate(texts * 3, 61)
    ]
    chat = Chat(load_tokenizer(family_dir(family)), special_tokens=special_tokens)
    told_by: list[bool] = []
    counted = Encoder.counted

    def watched(*given: Any, **named: Any) -> list[int] | None:
        found = counted(*given, **named)
        told_by.append(found is not None)
        return found

    monkeypatch.setattr(Encoder, "counted", watched)
    by_control_tokens = [told(found) for found in chat.tokenize_all(asked)]
    assert sum(told_by) > 50  # not where an answer's new lines would be one token with the prompt's last
    monkeypatch.setattr(Encoder, "counted", lambda *_, **__: None)
    assert [told(found) for found in Chat(chat.tokenizer, special_tokens=special_tokens).tokenize_all(asked)] == by_control_tokens


def test_few_long_conversations_are_as_many_as_many_short_ones(family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    asked = [conversation("user:Hi", f"assistant:{'word ' * (40 if line == 3 else 1)}x", line=line) for line in range(1, 7)]
    read: list[int] = []
    chat = Chat(load_tokenizer(family_dir("smollm2")))
    alone = [told(found) for one in asked for found in chat.tokenize_all([one])]
    monkeypatch.setattr(chat_module, "CHARACTERS_TOGETHER", 60)
    encoder, whole = chat._encoder, Encoder.whole
    monkeypatch.setattr(encoder, "whole", lambda texts: read.append(len(texts)) or whole(encoder, texts))
    assert [told(found) for found in chat.tokenize_all(asked)] == alone
    assert read == [3, 3]


def test_short_texts_of_users_are_not_remembered_without_end(family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chat_ids, "KEPT_ALONE", 8)
    encoder = Encoder(load_tokenizer(family_dir("smollm2")))
    for number in range(50):
        text = f"What of {number}?"
        assert encoder._alone_ids(text, 0, len(text)) == encoder.encode(text)[0].ids
    assert len(encoder._alone) <= 9
