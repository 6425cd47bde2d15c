"""Tokens as a reader sees them: together they are the row's text, whatever the tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unsloth_ft import xray
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.data import Conversation, Message
from unsloth_ft.xray_tokens import runs, tokens

FAMILIES = ("llama31", "mistral-v03", "qwen3", "smollm2")
ANSWER = "Größe: 😀👩‍👩‍👧\n\n  def f():\n\treturn 你好  # �"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokens_together_are_the_text_of_the_row(family: str, family_dir: Callable[[str], Path]):
    tokenizer = load_tokenizer(family_dir(family))
    row = Chat(tokenizer).encode(Conversation((Message("user", " Wie?  "), Message("assistant", ANSWER)), "faq.jsonl", 1))
    found = tokens(row, tokenizer)
    assert "".join(piece.text for piece in found) == tokenizer.decode(list(row.input_ids), clean_up_tokenization_spaces=False)
    assert tuple(index for piece in found for index in piece.ids) == row.input_ids
    together = tuple(runs(found))
    assert "".join(piece.text for piece in together if piece.learned) == "".join(
        text for text, learned in xray.pieces(row, tokenizer) if learned
    )
    assert all("�" not in piece.text for piece in found if len(piece.ids) > 1 and piece.text != "�")


def test_a_control_token_is_a_piece_of_its_own_and_the_turn_end_is_learned(family_dir: Callable[[str], Path]):
    tokenizer = load_tokenizer(family_dir("smollm2"))
    messages = (Message("system", "s"), Message("user", "Who?"), Message("assistant", "Me."))
    row = Chat(tokenizer).encode(Conversation(messages, "faq.jsonl", 1))
    assert [(piece.text, piece.learned, piece.control) for piece in runs(tokens(row, tokenizer))] == [
        ("<|im_start|>", False, True), ("system\ns", False, False), ("<|im_end|>", False, True), ("\n", False, False),
        ("<|im_start|>", False, True), ("user\nWho?", False, False), ("<|im_end|>", False, True), ("\n", False, False),
        ("<|im_start|>", False, True), ("assistant\n", False, False), ("Me.", True, False), ("<|im_end|>", True, True), ("\n", False, False),
    ]  # fmt: skip
