"""What is wrong inside a row's texts is found and named; what only looks like it passes without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.building import row
from tests.data.texts import ANSWER, BAD_TEXTS, GOOD_TEXTS, JWT, KEYS, NOTES
from unsloth_ft.data import Conversation, Message, load
from unsloth_ft.data.inspection import inspect
from unsloth_ft.data.shift_jis import is_shift_jis


def found(question: str, answer: str) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.code, str(finding)) for finding in inspect(row(question, answer, 7))]


@pytest.mark.parametrize(("answer", "code", "message"), BAD_TEXTS, ids=[f"{code}-{place}" for place, (_, code, _) in enumerate(BAD_TEXTS)])
def test_what_is_wrong_in_an_answer_is_said_with_its_place(answer, code, message):
    severity = "note" if code in NOTES else "warning"
    assert found("What is it?", answer) == [(severity, code, f"faq.jsonl:7: message 2 (assistant) holds {message}")]


@pytest.mark.parametrize(
    ("answer", "severity", "code", "message"),
    [
        ("As an AI language model, I can't.", "warning", "ai-boilerplate", 'says "As an AI language model, I" of itself, as other chat models do; expected an answer. Rewrite it, or remove the row.'),
        ("I'm sorry, but as an AI language model I don't know.", "warning", "ai-boilerplate", 'says "as an AI language model I" of itself, as other chat models do; expected an answer. Rewrite it, or remove the row.'),
        ("As a language model, I have no taste.", "warning", "ai-boilerplate", 'says "As a language model, I" of itself, as other chat models do; expected an answer. Rewrite it, or remove the row.'),
        ("As of my last knowledge update, it is 3.", "warning", "ai-boilerplate", 'says "As of my last knowledge update" of itself, as other chat models do; expected an answer. Rewrite it, or remove the row.'),
        ("So:\n```python\nprint(1)", "warning", "unclosed-code", "opens a code block and doesn't close it; expected ``` after it. Close it, or write the whole answer."),
        ("Als KI-Sprachmodell kann ich das nicht.", "warning", "ai-boilerplate", 'says "Als KI-Sprachmodell kann ich" of itself, as other chat models do; expected an answer. Rewrite it, or remove the row.'),
        ("I'm sorry, but I can't assist with that.", "note", "refusal", 'is a refusal, "I\'m sorry, but I can\'t assist with that."; expected an answer. Remove the row, unless the model should refuse this.'),
        ("N/A", "warning", "placeholder", f'is only "N/A"; {ANSWER}'),
        ("...", "warning", "placeholder", f'is only "..."; {ANSWER}'),
        ("what is the answer", "warning", "repeats-question", f"only repeats the question; {ANSWER}"),
    ],
)  # fmt: skip
def test_an_answer_that_teaches_nothing_is_named(answer, severity, code, message):
    assert found("What is the answer?", answer) == [(severity, code, f"faq.jsonl:7: message 2 (assistant) {message}")]


@pytest.mark.parametrize("text", GOOD_TEXTS)
def test_what_only_looks_wrong_passes_without_a_word(text):
    assert found("What is it?", text) == []
    assert found(text, "That is what it is.") == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [("Hello!", "Hello!"), ("What is 6 times 7?", "42"), ("Write filler text.", "Lorem ipsum dolor sit amet."), ("And?", "Yes.")],
)
def test_a_short_or_asked_for_answer_is_no_mistake(question, answer):
    assert found(question, answer) == []


def test_a_secret_is_never_repeated_whole():
    for key in (*KEYS.values(), JWT):
        assert key not in str(found("What is it?", f"It is {key} indeed."))


def test_each_kind_is_said_once_a_message():
    findings = inspect(row("a\u200bb\u200bc", "d\u200be\x00\x07", 7))
    assert [(finding.code, finding.message[:20]) for finding in findings] == [
        ("zero-width", "message 1 (user) hol"),
        ("control-character", "message 2 (assistant"),
        ("zero-width", "message 2 (assistant"),
    ]


def test_a_rendered_text_may_hold_control_tokens_and_nothing_else():
    rendered = Conversation((), "faq.jsonl", 7, text="<|im_start|>user\nHi<|im_end|>\u200b")
    assert [finding.code for finding in inspect(rendered)] == ["zero-width"]


def test_a_secret_in_a_tool_call_is_found():
    call = Message("assistant", "", tool_calls=json.dumps([{"function": {"arguments": {"token": KEYS["github"]}, "name": "x"}}]))
    findings = list(inspect(Conversation((Message("user", "Go"), call), "faq.jsonl", 7)))
    assert [(finding.code, finding.message.partition(",")[0]) for finding in findings] == [
        ("secret", "a tool call of message 2 holds what looks like a GitHub token")
    ]


def test_the_examples_are_clean():
    folder = Path(__file__).parents[2] / "examples"
    conversations = load(sorted(folder.glob("*.jsonl"))).conversations
    assert len(conversations) >= 250
    assert [str(finding) for conversation in conversations for finding in inspect(conversation)] == []


@pytest.mark.parametrize(
    "piece",
    ["+1", "tel 01", "eyJ-", "a.", "http://a:", "-----BEGIN ", "-----BEGIN RSA PRIVATE" + " KEY-----\nAaa: x ", "a@a.", "DE89 ", "4111 ", "</s> ", "[insert ", "Ã¤", "\u2067", "\U000e0041", "👨\u200d"],
)  # fmt: skip
def test_a_text_made_to_be_slow_is_not(piece):
    """What is linear takes 0.1 s; a pattern that tries twice would take hours here, and the suite's time limit would tell."""
    texts = (piece * (100_000 // len(piece)), piece + "1" * 100_000, piece + " 1" * 50_000)
    assert all(len(found("What is it?", text)) <= 3 for text in texts)


@pytest.mark.parametrize("text", ["質問,回答", "アルゴリズムについて教えてください", "東京"])
def test_japanese_in_shift_jis_is_told_from_western_text(text):
    assert is_shift_jis(text.encode("cp932"))


@pytest.mark.parametrize("text", ["éléments", "Größe für Äpfel", "“Hello”", "été", "ÄÖÜ", "naïve", "‘a’ – ‘b’", "œuvre"])
def test_western_text_is_not_taken_for_japanese(text):
    assert not is_shift_jis(text.encode("cp1252"))
