"""Columns and roles under other names: mapped when asked, named when not."""

from __future__ import annotations

import pytest

from tests.data.building import chat, lines, qa, refusal
from unsloth_ft.data import load
from unsloth_ft.data.messages import nearest_role


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def save(content: bytes) -> str:
        (tmp_path / "faq.jsonl").write_bytes(content)
        return "faq.jsonl"

    return save


def turns(dataset) -> list[list[tuple[str, str]]]:
    return [[(message.role, message.content) for message in row.messages] for row in dataset.conversations]


def test_columns_are_read_under_their_own_names(saved):
    dataset = load(saved(lines({"q": "Who?", "a": "Me.", "id": 1})), columns={"question": "q", "answer": "a"})
    assert turns(dataset) == [[("user", "Who?"), ("assistant", "Me.")]]
    assert dataset.shape == "question/answer"


def test_mapped_column_wins_over_the_name_it_takes(saved):
    path = saved(lines({"question": "an id", "q": "Who?", "answer": "Me."}))
    assert turns(load(path, columns={"question": "q"})) == [[("user", "Who?"), ("assistant", "Me.")]]


def test_mapping_decides_between_shapes(saved):
    path = saved(lines({"question": "q", "answer": "a", "instruction": "i", "output": "o"}))
    assert turns(load(path)) == [[("user", "i"), ("assistant", "o")]]
    assert turns(load(path, columns={"question": "question"})) == [[("user", "q"), ("assistant", "a")]]


def test_text_beside_half_a_pair_is_read_as_asked(saved):
    path = saved(lines({"question": "q", "text": "t"}))
    assert turns(load(path, columns={"answer": "text"})) == [[("user", "q"), ("assistant", "t")]]
    assert load(path, columns={"text": "text"}).conversations[0].text == "t"


def test_message_keys_can_be_mapped(saved):
    rows = lines({"dialog": [{"speaker": "user", "says": "Who?"}, {"speaker": "assistant", "says": "Me."}]})
    dataset = load(saved(rows), columns={"messages": "dialog", "role": "speaker", "content": "says"})
    assert turns(dataset) == [[("user", "Who?"), ("assistant", "Me.")]]


def test_mapped_column_that_a_row_lacks(saved):
    path = saved(lines({"q": "x", "answer": "y"}, {"Q": "x", "answer": "y"}))
    assert refusal(path, columns={"question": "q"}).splitlines()[0] == (
        'faq.jsonl:2: no "q", which data.columns.question names; the row has "Q" and "answer".'
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"q": "question"}, "data.columns.q=question: the known name comes first. Write data.columns.question=q."),
        ({"question": "q", "output": "a"}, 'data.columns: "question" and "output" belong to different shapes; known shapes: '),
        ({"question": "q", "answer": "q"}, 'data.columns: "question" and "answer" are both "q". Map it once.'),
        ({"question": ""}, "data.columns.question: expected the name of a column in the file."),
        ({"questoin": "q"}, "data.columns.questoin: no such name; expected one of messages, system, conversations, instruction, "),
    ],
)
def test_impossible_mapping_is_refused_before_reading(columns, expected):
    assert refusal("not-there.jsonl", columns=columns).startswith(expected)


def test_roles_are_mapped_when_asked(saved):
    path = saved(chat(("Kunde", "Who?"), ("bot", "Me.")))
    dataset = load(path, roles={"Kunde": "user", "bot": "assistant"})
    assert turns(dataset) == [[("user", "Who?"), ("assistant", "Me.")]]
    assert tuple(dataset.findings) == ()


def test_role_mapped_to_no_role_is_refused():
    expected = "data.roles.bot=asistant: expected system, user, assistant or tool. Did you mean assistant?"
    assert refusal("not-there.jsonl", roles={"bot": "asistant"}) == expected


def test_names_of_sharegpt_need_no_word(saved):
    row = {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]}
    assert [*load(saved(b"\n" + lines(row))).findings] == []


def test_name_of_who_speaks_needs_no_word(saved):
    messages = [{"role": "system", "content": "c", "name": "rules"}, {"role": "user", "content": "a", "name": "Ann"}]
    assert [*load(saved(lines({"messages": [*messages, {"role": "assistant", "content": "b"}]}))).findings] == []


@pytest.mark.parametrize(
    ("role", "nearest"),
    [
        ("User", "user"),
        ("BOT", "assistant"),
        ("asistant", "assistant"),
        ("sytem", "system"),
        ("Human", "user"),
        ("function", "tool"),
        ("x", "user"),
    ],
)
def test_unknown_role_has_a_nearest(role, nearest):
    assert nearest_role(role) == nearest


def test_two_unknown_roles_in_a_row_are_both_named(saved):
    assert refusal(saved(chat(("Customer service", "a"), ("b.ot", "b")))).splitlines() == [
        'faq.jsonl:1: role is "Customer service"; expected system, user, assistant or tool. '
        "Rename it, or pass --set 'data.roles.Customer service=user'.",
        'faq.jsonl:1: role is "b.ot"; expected system, user, assistant or tool. Rename it, or pass --set data.roles.b.ot=assistant.',
        "2 errors; nothing was written.",
    ]


def test_keys_that_are_not_used_are_said(saved):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "c"}]
    assert [str(finding) for finding in load(saved(lines({"messages": messages}))).findings] == [
        'faq.jsonl:1: "reasoning_content" in 1 message is not used: every assistant message is trained on as it stands.'
    ]


def test_empty_system_message_is_left_out_and_said(saved):
    dataset = load(saved(chat(("system", " "), ("user", "a"), ("assistant", "b"))))
    assert turns(dataset) == [[("user", "a"), ("assistant", "b")]]
    assert [str(finding) for finding in dataset.findings] == ["faq.jsonl:1: 1 message of the system without text left out."]


def test_messages_are_numbered_as_in_the_file(saved):
    path = saved(chat(("system", ""), ("user", "a"), ("user", "b"), ("assistant", "c")))
    assert "messages 2 and 3 are both from the user" in refusal(path)
    row = {"system": "s", "messages": [{"role": role, "content": "a"} for role in ("user", "user", "assistant")]}
    assert "messages 1 and 2 are both from the user" in refusal(saved(lines(row)))


def test_missing_value_written_as_text_is_a_warning_where_it_may_be_meant(saved):
    dataset = load(saved(lines(qa("Indian bread?", "nan"))))
    assert [(finding.severity, str(finding)) for finding in dataset.findings] == [
        ("warning", 'faq.jsonl:1: "answer" is "nan": a missing value written as text? It is used as it stands.')
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "a", "answer": "b", "system_prompt": "c"}, ('"system_prompt"', "Pass --set data.columns.system=system_prompt, or remove it.")),
        ({"instruction": "a", "output": "b", "context": "c"}, ('"context"', "Pass --set data.columns.input=context, or remove it.")),
        ({"question": "a", "answer": "b", "Document": "c"}, ('"Document"', "Join it into the question, or remove it.")),
        ({"prompt": "a", "completion": "b", "knowledge": ["c"]}, ('"knowledge"', "Join it into the question, or remove it.")),
    ],
)
def test_columns_that_change_the_row_are_not_dropped_in_silence(saved, row, expected):
    column, way_out = expected
    (found,) = load(saved(lines(row))).findings
    assert str(found) == f"faq.jsonl:1: {column} in 1 row is not used, and it may change what is right to answer. {way_out}"


def test_other_columns_are_left_alone_in_silence(saved):
    row = {"question": "a", "answer": "b", "id": "7", "source": "web", "tags": ["x"], "context": "", "title": "T", "category": "c"}
    assert [*load(saved(lines(row))).findings] == []
