"""Columns under other names: the refusal names the options that map them, and with those options the same command works."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.cli.calling import call
from tests.data.building import lines
from unsloth_ft.data import load
from unsloth_ft.data.column_words import ANSWERS, QUESTIONS, best, folded
from unsloth_ft.data.foreign import foreign
from unsloth_ft.data.proposal import proposed

TURNS = [{"speaker": "user", "says": "Who?"}, {"speaker": "assistant", "says": "Me."}]
CHAT = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]

# (row, what is proposed): a dict of standard names to columns
PROPOSALS = [
    ({"Frage": "Who?", "Antwort": "Me."}, {"question": "Frage", "answer": "Antwort"}),
    ({"question": "Who?", "Antwort": "Me."}, {"answer": "Antwort"}),
    ({"id": "7", "Pregunta": "Who?", "Respuesta": "Me.", "tags": "x"}, {"question": "Pregunta", "answer": "Respuesta"}),
    ({"question": "Who?", "réponse": "Me."}, {"answer": "réponse"}),
    ({"domanda": "Who?", "risposta": "Me."}, {"question": "domanda", "answer": "risposta"}),
    ({"Вопрос": "Who?", "Ответ": "Me."}, {"question": "Вопрос", "answer": "Ответ"}),
    ({"问题": "Who?", "标准答案": "Me."}, {"question": "问题", "answer": "标准答案"}),
    ({"質問": "Who?", "回答": "Me."}, {"question": "質問", "answer": "回答"}),
    ({"질문": "Who?", "답변": "Me."}, {"question": "질문", "answer": "답변"}),
    ({"السؤال": "Who?", "الإجابة": "Me."}, {"question": "السؤال", "answer": "الإجابة"}),
    ({"câu hỏi": "Who?", "câu trả lời": "Me."}, {"question": "câu hỏi", "answer": "câu trả lời"}),
    ({"q": "Who?", "a": "Me."}, {"question": "q", "answer": "a"}),
    ({"QUESTION": "Who?", "Answer": "Me."}, {"question": "QUESTION", "answer": "Answer"}),
    ({"quesion": "Who?", "anwser": "Me."}, {"question": "quesion", "answer": "anwser"}),
    ({"userQuestion": "Who?", "best_answer": "Me."}, {"question": "userQuestion", "answer": "best_answer"}),
    ({"input": "Who?", "output": "Me."}, {"instruction": "input"}),
    ({"input": "Who?", "target": "Me."}, {"question": "input", "answer": "target"}),
    ({"context": "Who?", "response": "Me."}, {"question": "context", "answer": "response"}),
    ({"instruction": "Who?", "response": "Me."}, {"output": "response"}),
    ({"prompt": "Who?", "response": "Me."}, {"completion": "response"}),
    ({"user": "Who?", "assistant": "Me."}, {"question": "user", "answer": "assistant"}),
    ({"prompt": "Who?", "chosen": "Me."}, {"completion": "chosen"}),
    ({"prompt": "Who?", "chosen": "Me.", "rejected": "You."}, {"completion": "chosen"}),
    ({"chosen": CHAT, "rejected": CHAT}, {"messages": "chosen"}),
    ({"Thema": "Who?", "Antwort": "Me."}, {"question": "Thema", "answer": "Antwort"}),
    ({"dialog": CHAT}, {"messages": "dialog"}),
    ({"rows": CHAT, "id": 7}, {"messages": "rows"}),
    ({"dialog": TURNS}, {"messages": "dialog", "role": "speaker", "content": "says"}),
    ({" question": "Who?", "answer ": "Me."}, {"question": "question", "answer": "answer"}),
    ({"\ufefffrage": "Who?", "antwort\u200b": "Me."}, {"question": "frage", "answer": "antwort"}),
    ({"the 'question'": "Who?", "=answer=": "Me."}, {"question": "the 'question'", "answer": "=answer="}),
    ({"question 1": "Who?", "response": "Me."}, {"question": "question 1", "answer": "response"}),
]


def options(message: str) -> list[str]:
    """The words of the `--set` options in a message."""
    words = shlex.split(re.search(r"[Pp]ass (--set .*?)\.(?: |$)", message.splitlines()[0])[1].strip())
    return words


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("row", "expected"), PROPOSALS, ids=[" ".join(map(folded, row)) for row, _ in PROPOSALS])
def test_the_proposed_options_are_these_and_with_them_the_file_is_read(folder, row, expected):
    (folder / "faq.jsonl").write_bytes(lines(row, row | {"note": "x"}))
    refused = call("data", "check", "faq.jsonl")
    assert refused.code == 2
    proposed = options(refused.err)
    assert proposed[1::2] == [f"data.columns.{name}={column}" for name, column in expected.items()]
    done = call("data", "check", "faq.jsonl", *proposed)
    assert (done.code, done.err.count("error:")) == (0, 0)
    (first, _) = load("faq.jsonl", columns=expected).conversations
    assert [(message.role, message.content) for message in first.messages] == [("user", "Who?"), ("assistant", "Me.")]


@pytest.mark.parametrize(
    ("row", "expected", "turns"),
    [
        (
            {"instruction": "Who?", "context": "Here.", "response": "Me.", "category": "x"},
            {"output": "response", "input": "context"},
            [("user", "Who?\n\nHere."), ("assistant", "Me.")],
        ),
        (
            {"Frage": "Who?", "Kontext": "Here.", "Antwort": "Me."},
            {"instruction": "Frage", "output": "Antwort", "input": "Kontext"},
            [("user", "Who?\n\nHere."), ("assistant", "Me.")],
        ),
        (
            {"id": "1", "system_prompt": "Be.", "question": "Who?", "response": "Me."},
            {"answer": "response", "system": "system_prompt"},
            [("system", "Be."), ("user", "Who?"), ("assistant", "Me.")],
        ),
    ],
)
def test_what_stands_beside_question_and_answer_is_proposed_too(folder, row, expected, turns):
    (folder / "faq.jsonl").write_bytes(lines(row))
    proposed = options(call("data", "check", "faq.jsonl").err)
    assert proposed[1::2] == [f"data.columns.{name}={column}" for name, column in expected.items()]
    (read,) = load("faq.jsonl", columns=expected).conversations
    assert [(message.role, message.content) for message in read.messages] == turns


def test_options_that_are_there_already_are_built_on(folder):
    (folder / "faq.jsonl").write_bytes(lines({"Thema": "Who?", "Quelle": "x", "Antwort": "Me."}))
    refused = call("data", "check", "faq.jsonl", "--set", "data.columns.instruction=Thema").err
    assert options(refused) == ["--set", "data.columns.output=Antwort"]


def test_the_header_of_a_table_is_proposed_without_its_mark_and_spaces(folder):
    (folder / "faq.csv").write_bytes("\ufeff Frage ; ANTWORT\nWho?;Me.\n".encode())
    refused = call("data", "check", "faq.csv")
    assert options(refused.err) == ["--set", "data.columns.question=Frage", "--set", "data.columns.answer=ANTWORT"]
    assert call("data", "check", "faq.csv", *options(refused.err)).code == 0


def test_a_column_may_be_called_like_a_number(folder):
    (folder / "faq.csv").write_bytes(b"1,true\nWho?,Me.\n")
    done = call("data", "check", "faq.csv", "--set", "data.columns.question=1", "--set", "data.columns.answer=true")
    assert done.code == 0


@pytest.mark.parametrize("row", [{"id": "1", "tags": "x"}, {"a1": "x", "b1": "y"}, {"text_de": "x", "text_en": "y", "lang": "z"}, {"x": 1}])
def test_nothing_is_proposed_where_nothing_is_like_a_question(folder, row):
    (folder / "faq.jsonl").write_bytes(lines(row))
    assert options(call("data", "check", "faq.jsonl").err) == ["--set", "data.columns.question=NAME", "--set", "data.columns.answer=NAME"]


def test_the_earlier_word_wins_and_a_whole_word_before_a_part():
    assert best(["text", "reply", "user_answer"], ANSWERS) == "reply"
    assert best(["context", "questions_of_users"], QUESTIONS) == "context"
    assert best(["tags", "language", "created_at", "url"], QUESTIONS) is None


CHATGPT = {"title": "Who?", "create_time": 1.5, "mapping": {"a": {"message": None}}, "current_node": "c"}
ASKED, ANSWERED = [{"role": "user", "content": "Who?"}], [{"role": "assistant", "content": "Me."}]
FOREIGN = [
    (CHATGPT, 'a ChatGPT export, whose turns are in "mapping"'),
    ({"input": {"messages": ASKED}, "preferred_output": ANSWERED, "non_preferred_output": ANSWERED}, "OpenAI's preference data"),
    ({"prompt": ASKED, "chosen": ANSWERED, "rejected": ANSWERED}, 'the messages of "prompt" and "chosen" as one'),
    ({"conversations": [{"from": "human", "value": "Who?"}], "chosen": {"from": "gpt", "value": "Me."}, "rejected": {}}, "(preference data)"),
    ({"chosen": "\n\nHuman: Who?\n\nAssistant: Me.", "rejected": "\n\nHuman: Who?\n\nAssistant: You."}, 'Write the turns of "chosen" as'),
    ({"contents": [{"role": "user", "parts": [{"text": "Who?"}]}, {"role": "model", "parts": [{"text": "Me."}]}]}, 'Google\'s "contents"'),
]


@pytest.mark.parametrize(("row", "expected"), FOREIGN)
def test_formats_of_others_are_named_and_nothing_that_fails_is_proposed(folder, row, expected):
    (folder / "faq.jsonl").write_bytes(lines(row))
    result = call("data", "check", "faq.jsonl")
    assert expected in result.err and "--set" not in result.err


def test_conversations_that_stand_beside_a_preference_pair_are_read():
    assert foreign({"messages": CHAT, "prompt": "Who?", "chosen": CHAT, "rejected": CHAT}) is None


def test_ids_and_times_are_no_questions():
    row = {"title": "Who?", "current_node": "c", "conversation_id": "x", "createdAt": "2026", "userId": "7", "id": "8"}
    assert proposed(row, {}, [("question", "answer")]) == ""


def test_a_mapped_column_that_is_not_there_is_told_with_all_keys(folder):
    (folder / "faq.jsonl").write_bytes(lines({"question": "Who?", "answer": "Me."}))
    result = call("data", "check", "faq.jsonl", "--set", "data.columns.question=zzz")
    assert 'no "zzz", which data.columns.question names; the row has "question" and "answer".' in result.err
