"""Duplicates, contradictions and leaks are found and named with both places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.building import lines, qa, row
from unsloth_ft.data import Conversation, Finding, Message, examine, leaks, load, normalise
from unsloth_ft.data.dataset import canonical


def told(findings) -> list[tuple[str, str]]:
    return [(finding.severity, str(finding)) for finding in findings]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is LoRA?", "what is  lora"),
        ("What's it?", "Whats it"),
        ("„Wie?“", "wie"),
        ("Ｗｉｄｅ ﬁ", "wide fi"),
        ("STRASSE", "straße"),
        ("a\u00a0b\u200bc", "a b c"),
        ("GPT-4?", "gpt 4"),
        ("¿Qué es?", "qué es"),
        ("كيف؟", "كيف"),
    ],
)
def test_spellings_of_one_question_are_the_same(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("C#", "C"), ("C++", "C"), ("50%?", "50?"), ("2-2", "2+2"), ("-5", "5"), ("?", "!"), ("😀", "😢"), ("año", "ano"), ("a/b", "ab")],
)
def test_different_questions_stay_different(one, other):
    assert normalise(one) != normalise(other)


def test_normalising_twice_changes_nothing():
    for text in ("What's -5 − 2-2, GPT-4?", "Ǆ ŉ ΐ ﬀ İ", "ﷺ", "…", "x²"):
        assert normalise(normalise(text)) == normalise(text)


def across(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *rows: dict) -> list[tuple[str, str]]:
    """What is found in a file of these rows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_bytes(lines(*rows))
    return told(examine("faq.jsonl").findings)


def test_duplicates_are_listed_once_a_group(tmp_path, monkeypatch):
    given = [qa("a", "b"), qa("c", "d"), qa("a", "b"), qa("a", "b")]
    assert across(tmp_path, monkeypatch, *given) == [
        ("warning", "faq.jsonl:3: the same row as faq.jsonl:1 (also faq.jsonl:4). Remove the copies, or it weighs more.")
    ]


def test_many_duplicates_are_counted(tmp_path, monkeypatch):
    assert across(tmp_path, monkeypatch, *[qa("a", "b")] * 9) == [
        (
            "warning",
            "faq.jsonl:2: the same row as faq.jsonl:1 (also faq.jsonl:3, faq.jsonl:4, faq.jsonl:5, faq.jsonl:6, faq.jsonl:7 and 2 others). "
            "Remove the copies, or it weighs more.",
        )
    ]


def test_one_question_with_two_answers_is_a_warning(tmp_path, monkeypatch):
    given = [qa("Who?", "Me."), qa("who", "You."), qa("Other?", "Me. "), {**qa("Who?", "You."), "system": "pirate"}]
    assert across(tmp_path, monkeypatch, *given) == [
        ("warning", 'faq.jsonl:2: the question "Who?" has another answer at faq.jsonl:1. Keep one answer a question.')
    ]


def test_groups_are_told_in_the_order_of_their_first_rows(tmp_path, monkeypatch):
    given = [qa(f"q{number % 20}", f"a{number}") for number in range(60)]
    found = across(tmp_path, monkeypatch, *given)
    assert [text for _, text in found] == [
        f'faq.jsonl:{number + 20}: the question "q{number - 1}" has another answer at faq.jsonl:{number} (also faq.jsonl:{number + 40}). '
        "Keep one answer a question."
        for number in range(1, 11)
    ]


def test_question_on_both_sides_is_an_error_unless_allowed():
    train = [row("Who?", "Me.", 1), row("b", "c", 2)]
    held_out = [row("x", "y", 1, file="eval.jsonl"), row("who", "Other.", 2, file="eval.jsonl")]
    message = "eval.jsonl:2: the question is also in the training data, at faq.jsonl:1: its score would measure memory"
    assert told(leaks(train, held_out)) == [("error", f"{message}. Remove one of the two, or pass --set data.allow_leak=true.")]
    assert told(leaks(train, held_out, allow_leak=True)) == [("warning", f"{message} (allowed).")]
    assert leaks(train, held_out[:1]) == ()


def test_loading_lists_duplicates_and_contradictions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_bytes(lines(qa(), qa("b", "c")))
    (tmp_path / "b.jsonl").write_bytes(lines(qa(), qa("b", "d")))
    assert told(load(["a.jsonl", "b.jsonl"]).findings) == [
        ("warning", "b.jsonl:1: the same row as a.jsonl:1. Remove the copies, or it weighs more."),
        ("warning", 'b.jsonl:2: the question "b" has another answer at a.jsonl:2. Keep one answer a question.'),
    ]


def test_what_only_some_rows_have_is_in_their_canonical_line_and_in_no_other():
    plain = Conversation((Message("user", "a"), Message("assistant", "b")), "x.jsonl", 1)
    assert canonical(plain) == '{"messages":[["user","a"],["assistant","b"]]}'
    call = Message("assistant", "", tool_calls='[{"function":{"arguments":{},"name":"f"},"type":"function"}]', learned=False)
    told = Conversation((Message("user", "a"), call, Message("tool", "1", tool_call_id="c")), "x.jsonl", 1, tools="[]")
    assert json.loads(canonical(told)) == {
        "messages": [
            ["user", "a"],
            ["assistant", "", {"tool_calls": call.tool_calls, "learned": False}],
            ["tool", "1", {"tool_call_id": "c"}],
        ],
        "tools": "[]",
    }


def test_a_finding_says_its_column_behind_its_line():
    assert str(Finding("a.jsonl", 3, "error", "invalid-json", "no.", column=12, offset=80)) == "a.jsonl:3:12: no."
    assert str(Finding("a.jsonl", None, "error", "damaged", "no.", offset=80)) == "a.jsonl: no."
