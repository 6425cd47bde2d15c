"""Near duplicates are found, and rows that only share a template, an answer or a question's form are not called that."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.data.building import lines, qa, row
from unsloth_ft.data import examine, load, normalise, split
from unsloth_ft.data.signatures import shingles, signatures
from unsloth_ft.data.similar import linked
from unsloth_ft.data.split import groups

ANSWER = (
    "Restart the router, wait two minutes until the light is green, and then connect again with the password on its back. "
    "If that does not help, reset it with a pin and call us between nine and five."
)
WORDS = [f"{first}{second}" for first in ("ba", "ce", "di", "fo", "gu", "ha", "je") for second in ("lan", "mor", "nis", "pet", "rul", "sav", "tok")]


def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *rows: dict, held_out: list[dict] | None = None, code: str = "near-duplicate") -> list[str]:
    """The findings of one kind."""
    monkeypatch.chdir(tmp_path)
    Path("faq.jsonl").write_bytes(lines(*rows))
    Path("eval.jsonl").write_bytes(lines(*held_out or []))
    found = examine("faq.jsonl", eval_paths=["eval.jsonl"] if held_out else ())
    return [str(finding) for finding in found.findings if finding.code == code]


def test_a_row_with_a_few_other_words_is_a_near_duplicate(tmp_path, monkeypatch):
    question = "My internet connection at home has been gone since this morning, what should I do about it?"
    rows = [qa(question, ANSWER), qa("Unlike?", "Other."), qa(question, ANSWER.replace("five", "six")), qa(f"Hello! {question}", ANSWER)]
    found = said(tmp_path, monkeypatch, *rows)
    assert found == ["faq.jsonl:4: nearly the same row as faq.jsonl:1. Keep one of them, or it weighs more."]
    # its third row is another answer to the first one's question, which has a finding of its own
    assert said(tmp_path, monkeypatch, *rows, code="contradiction")[0].startswith("faq.jsonl:3: the question")


def talk(*turns: str) -> dict:
    return {"messages": [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)]}


def test_conversations_that_open_alike_are_different_questions(tmp_path, monkeypatch):
    rows = [talk("Hello!", "Hi.", "Where is my order 17?", "On its way."), talk("Hello!", "Hi.", "How do I restart it?", "Hold the button.")]
    other = talk("Hello!", "Good day.", "Can I pay by invoice?", "Yes, as a company.")
    assert [said(tmp_path, monkeypatch, *rows, held_out=[other], code=code) for code in ("contradiction", "leak")] == [[], []]
    again = talk("Hello!", "Good day.", "Where is my order 17?", "It was lost.")
    assert len(said(tmp_path, monkeypatch, *rows, again, code="contradiction")) == 1  # by the last answer
    assert len(said(tmp_path, monkeypatch, *rows, held_out=[again], code="leak")) == 1


def test_case_and_punctuation_make_no_other_row(tmp_path, monkeypatch):
    rows = [qa("How do I restart it?", ANSWER), qa("how do i RESTART it", ANSWER.replace(",", "")), qa("How do I restart it??", ANSWER.upper())]
    assert said(tmp_path, monkeypatch, *rows[:1], qa("x"), qa(rows[1]["question"], ANSWER)) == [
        "faq.jsonl:3: nearly the same row as faq.jsonl:1. Keep one of them, or it weighs more."
    ]


def test_near_duplicates_are_found_without_spaces_between_words(tmp_path, monkeypatch):
    question, answer = "どうすれば家のインターネット接続を元に戻せますか教えてください", "ルーターを再起動して二分間待ってから裏面に書かれたパスワードでもう一度接続してください。"
    assert len(said(tmp_path, monkeypatch, qa(question, answer), qa(question + "ね", answer + "よ"))) == 1


def templated(number: int) -> list[dict]:
    chance = random.Random(number)
    instruction = (
        "Classify the sentiment of the following review of a restaurant as positive or negative, answer with one word only, "
        "without any explanation, and do not repeat the review in your answer under any circumstances whatsoever. Review:"
    )
    return [qa(f"{instruction} {' '.join(chance.choices(WORDS, k=6))}", chance.choice(("positive", "negative"))) for _ in range(number)]


@pytest.mark.parametrize(
    "rows",
    [
        [qa(question, "Yes.") for question in ("Is water wet?", "Is water blue?", "Is ice water?", "Is water heavy?")],
        [qa(f"What is the capital of {name}?", "It is a large and old city, which has a river.") for name in ("Ruritania", "Freedonia", "Sylvania")],
        [qa("How do I restart it?", ANSWER), qa("The connection is gone, what now?", ANSWER)],
        [qa(f"How much is {number} times {number + 1}?", str(number * (number + 1))) for number in range(40)],
        [{"messages": [{"role": "system", "content": ANSWER * 3}, *({"role": role, "content": f"{role} says {word}"} for role in ("user", "assistant"))]} for word in WORDS],
        templated(40),
        [{**qa("How do I restart it?", ANSWER), "system": f"You are {name}."} for name in ("a pirate", "a teacher")],
    ],
    ids=["short answers", "one word of a question", "one answer to two questions", "sums", "a long system prompt", "a template", "two system prompts"],
)  # fmt: skip
def test_what_only_looks_alike_is_no_near_duplicate(tmp_path, monkeypatch, rows):
    assert said(tmp_path, monkeypatch, *rows) == []


def test_a_near_duplicate_in_a_templates_rows_is_found(tmp_path, monkeypatch):
    rows = templated(40)
    review = f"{rows[3]['question']} and everything else on that evening was as good as we had hoped it would be when we booked"
    rows[3], rows[20] = qa(review, "positive"), qa(f"{review} it.", "positive")
    assert said(tmp_path, monkeypatch, *rows) == ["faq.jsonl:21: nearly the same row as faq.jsonl:4. Keep one of them, or it weighs more."]


def test_nearly_the_same_question_in_the_held_out_rows_is_a_warning(tmp_path, monkeypatch):
    question = "My internet connection at home has been gone since this morning, what should I do about it?"
    found = said(
        tmp_path, monkeypatch, qa("x"), qa(question, ANSWER), held_out=[qa(f"Hello! {question}", "Other."), qa("y"), qa(question)], code="near-leak"
    )
    assert found == [
        "eval.jsonl:1: nearly the same question is in the training data, at faq.jsonl:2: its score may measure memory. Remove one of the two."
    ]


def test_near_duplicates_and_one_question_are_one_group_of_a_split():
    question = "My internet connection at home has been gone since this morning, what should I do about it?"
    given = [row(question, ANSWER, 1), row("Other?", "a", 2), row(f"Hello! {question}", ANSWER, 3), row("other", "b", 4), row(f"hello {question}", "c", 5)]
    assert groups(given, [normalise(one.question) for one in given]) == [0, 1, 0, 1, 0]
    for seed in range(8):
        parts = split([*given, row("Third?", "c", 6)], share=0.4, seed=seed)
        held = {conversation.line for conversation in parts.held_out}
        assert held and (held >= {1, 3, 5} or not held & {1, 3, 5}) and (held >= {2, 4} or not held & {2, 4})


def test_rows_of_which_all_are_alike_are_linked_in_linear_time():
    alike = signatures(shingles([b"one two three four", b"five six seven"] * 20_000))
    assert (linked(alike) == 0).all()


def test_signatures_estimate_how_much_two_texts_share():
    words = [f"w{number}".encode() for number in range(400)]
    whole, part = b" ".join(words), b" ".join(words[:300])
    matrix = signatures(shingles([whole, whole, part, part])).reshape(2, -1, 2, 2)
    agreeing = (matrix[0] == matrix[1]).mean()
    assert agreeing == pytest.approx(298 / 398, abs=0.11)  # two standard deviations of 64 draws


def called(question: str, identifier: str, **arguments: object) -> dict:
    call = {"id": identifier, "type": "function", "function": {"name": "set_alarm", "arguments": arguments}}
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": None, "tool_calls": [call]}]}


def test_rows_that_end_in_a_call_are_compared_by_it(tmp_path, monkeypatch):
    question = "Please set an alarm for the meeting with the people of the other house tomorrow, and make it loud enough"
    early = called(question, "a1", time="seven in the morning", days="monday tuesday wednesday", tone="bell")
    late = called(question, "b2", time="nine in the evening", days="saturday and sunday", tone="horn of a ship")
    nearly = {"messages": [{"role": "user", "content": f"{question}!"}, late["messages"][1]]}
    assert said(tmp_path, monkeypatch, early, nearly) == []
    assert said(tmp_path, monkeypatch, early, late, code="contradiction") == [
        f'faq.jsonl:2: the question "{question[:39]}…" has another answer at faq.jsonl:1. Keep one answer a question.'
    ]
    again = called(f"Hello! {question}", "c3", tone="bell", days="monday tuesday wednesday", time="seven in the morning")
    assert said(tmp_path, monkeypatch, early, again) == ["faq.jsonl:2: nearly the same row as faq.jsonl:1. Keep one of them, or it weighs more."]
    same = called(question, "d4", tone="bell", days="monday tuesday wednesday", time="seven in the morning")
    assert said(tmp_path, monkeypatch, early, same, code="contradiction") == []


def test_one_question_with_other_tools_may_have_another_answer(tmp_path, monkeypatch):
    tools = [{"type": "function", "function": {"name": "set_alarm"}}]
    rows = [{**called("Wake me", "a1", time="seven"), "tools": tools}, qa("Wake me", "I can't.")]
    assert said(tmp_path, monkeypatch, *rows, code="contradiction") == []


def test_rows_of_two_files_with_one_template_are_signed_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    review = f"{templated(40)[3]['question']} and everything else on that evening was as good as we had hoped it would be when we booked"
    alone, rows = [qa(f"What is {word}?", word) for word in WORDS], templated(40)
    Path("a.jsonl").write_bytes(lines(qa(review, "positive"), *alone))
    Path("b.jsonl").write_bytes(lines(*rows[:20], qa(f"{review} it.", "positive"), *rows[20:]))
    found = [str(finding) for finding in examine(["a.jsonl", "b.jsonl"]).findings if finding.code == "near-duplicate"]
    assert found == ["b.jsonl:21: nearly the same row as a.jsonl:1. Keep one of them, or it weighs more."]
    rows = load(["a.jsonl", "b.jsonl"]).conversations
    group = groups(rows, [normalise(one.question) for one in rows])
    assert group[0] == group[len(alone) + 1 + 20] == 0 and len(set(group)) == len(group) - 1


def test_a_split_of_rows_that_are_all_alike_says_so():
    words = [f"word{number}" for number in range(40)]
    alike = [row(" ".join([*words, f"end{line}"]), " ".join([*words, f"last{line}"]), line) for line in (1, 2, 3)]
    assert split(alike, seed=1).warnings == (
        "faq.jsonl: all rows are near duplicates of each other, over any number of steps, so that rows were held out whose near duplicates "
        "are trained on: their score may measure memory. Add other rows, or pass --eval-data FILE with questions to measure on.",
    )
    assert split([*alike, row("Other?", "a", 4)], seed=1).warnings == ()
