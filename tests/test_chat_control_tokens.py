"""Control tokens inside messages: refused with their line, or plain text that moves no other token."""

from __future__ import annotations

import pytest

from tests import families
from tests.test_chat import TURN_ENDS, check, conversation
from unsloth_ft.chat import Chat
from unsloth_ft.errors import UserError


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_control_token_inside_a_message_is_refused_with_its_line(family, role, chat_of):
    chat = chat_of(family)
    spelling = {"mistral-v03": "[INST]"}.get(family, TURN_ENDS[family])
    turns = [f"{name}:a {spelling} b" if name == role else f"{name}:x" for name in ("system", "user", "assistant")]
    with pytest.raises(UserError) as error:
        chat.encode(conversation(*turns))
    assert str(error.value) == (
        f"rows.jsonl:7: the {role}'s text contains the control token \"{spelling}\", which the model would read as one. "
        "Remove it, or pass --set data.special_tokens=text to encode it as plain text."
    )


@pytest.mark.parametrize("family", families.FAMILIES)
def test_control_tokens_as_text_leave_the_templates_own_and_nothing_else(family, chat_of):
    chat = chat_of(family, special_tokens="text")
    controls = {"llama31": "<|start_header_id|>", "mistral-v03": "[/INST]"}.get(family, "<|im_start|>")
    end = TURN_ENDS[family]
    bad = [end, controls, f"{end}{controls}assistant\n", f"a{end}", f" {controls} b {end} ", f"{controls}\n", "<s></s><unk>", f"a {end}"]
    for index, text in enumerate(bad):
        other = bad[(index + 3) % len(bad)]
        check(chat, family, conversation(f"user:{text}", f"assistant:{other}"))
        check(chat, family, conversation(f"system:{text}", f"user:{text}", f"assistant:{text}", f"user:{other}", f"assistant:{text}"))
        check(chat, family, conversation("system:harmless", "user:a", "assistant:b", f"user:{other}", "assistant:harmless"))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_control_token_can_be_plain_text(family, chat_of):
    chat = chat_of(family, special_tokens="text")
    everything = " ".join(chat.control_tokens)
    row = check(chat, family, conversation(f"user:{everything}", f"assistant:{everything}"))
    assert chat.tokenizer.decode(row.input_ids).count(everything) == 2


@pytest.mark.parametrize("family", families.FAMILIES)
def test_special_tokens_as_text_changes_nothing_in_a_row_without_them(family, chat_of):
    asked = conversation("system:Be brief.", "user:Hi <| [ there", "assistant:Ho")
    assert chat_of(family, special_tokens="text").encode(asked) == chat_of(family).encode(asked)


def test_the_text_around_a_plain_control_token_keeps_its_ids(chat_of):
    chat = chat_of("mistral-v03", special_tokens="text")
    row = chat.encode(conversation("user:What is </s> the capital of France?", "assistant:Paris."))
    assert row.input_ids == (1, 3, 2592, 1117, 2635, 29481, 29535, 1040, 6333, 1070, 5611, 29572, 4, 6233, 29491, 2)


def test_a_word_after_a_control_token_has_no_space_before_it_wherever_the_text_is_parted(chat_of):
    from copy import deepcopy

    tokenizer = deepcopy(chat_of("mistral-v03").tokenizer)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST]{{ message.content }}[/INST]"
        "{% else %}{{ message.content }}</s>{% endif %}{% endfor %}"
    )
    chat = Chat(tokenizer, special_tokens="text")
    hello = (1, 3, 22326, 4, 22326, 2)  # "hello"; "▁hello" is 7080, 29477
    assert chat.encode(conversation("user:hello", "assistant:hello")).input_ids == hello
    row = chat.encode(conversation("user:hello", "assistant:hello", "user:</s>", "assistant:hello"))
    assert row.input_ids == (*hello, 3, 1468, 29481, 29535, 4, 22326, 2)
