"""Tools, tool calls and weights, as OpenAI's fine-tuning format has them, and ShareGPT's calls."""

from __future__ import annotations

import json

import pytest

from tests.data.building import lines, refusal
from unsloth_ft.data import Message, load

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASKED = {"role": "user", "content": "Rain in Paris?"}
ANSWER = {"role": "assistant", "content": "No."}
CANONICAL = '[{"id":"call_1","type":"function","function":{"name":"weather","arguments":{"city":"Paris"}}}]'


def call(arguments: object = '{"city": "Paris"}', *, name: str = "weather", **more) -> dict:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def calls(*listed: object, **more) -> dict:
    return {"role": "assistant", "tool_calls": list(listed), **more}


def result(content: str = "dry", **more) -> dict:
    return {"role": "tool", "content": content, "tool_call_id": "call_1", **more}


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def save(*messages: dict, **keys) -> str:
        (tmp_path / "faq.jsonl").write_bytes(lines({"messages": list(messages), **keys}))
        return "faq.jsonl"

    return save


def test_openais_rows_with_tools_are_read_without_a_remark(saved):
    dataset = load(saved(ASKED, calls(call(), content=None), result(), ANSWER, tools=[WEATHER]))
    (row,) = dataset.conversations
    assert row.messages == (
        Message("user", "Rain in Paris?"),
        Message("assistant", "", CANONICAL),
        Message("tool", "dry", tool_call_id="call_1"),
        Message("assistant", "No."),
    )
    assert json.loads(row.tools) == [WEATHER]
    assert list(dataset.findings) == []


@pytest.mark.parametrize("tools", [[WEATHER["function"]], json.dumps([WEATHER]), [json.dumps(WEATHER)], WEATHER])
def test_tools_written_otherwise_are_the_same(saved, tools):
    (row,) = load(saved(ASKED, ANSWER, tools=tools)).conversations
    assert json.loads(row.tools) == [WEATHER]


def test_keys_keep_their_order_and_nulls_of_tables_are_left_out(saved):
    schema = {"type": "object", "properties": {"z": {"type": "string", "default": None}, "a": {"type": "string"}, "other": None}}
    (row,) = load(saved(ASKED, ANSWER, tools=[{"name": "f", "parameters": schema, "strict": None}])).conversations
    assert row.tools == (
        '[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":'
        '{"z":{"type":"string","default":null},"a":{"type":"string"}}}}}]'
    )


@pytest.mark.parametrize(
    "calling",
    [
        calls(call({"city": "Paris"})),
        calls({"name": "weather", "arguments": {"city": "Paris"}, "id": "call_1"}, content=""),
        calls(call(), tool_calls=call()),
    ],
)
def test_calls_written_otherwise_are_the_same(saved, calling):
    assert load(saved(ASKED, calling)).conversations[0].messages[1] == Message("assistant", "", CANONICAL)


def test_calls_and_results_without_ids_are_linked_in_order(saved):
    two = calls({"name": "weather", "arguments": {}}, {"name": "weather"}, content="Both:")
    (row,) = load(saved(ASKED, two, {"role": "tool", "content": "x"}, {"role": "tool", "content": "y", "name": "weather"}, ANSWER)).conversations
    assert [call["id"] for call in json.loads(row.messages[1].tool_calls)] == ["call00001", "call00002"]
    assert [message.tool_call_id for message in row.messages] == [None, None, "call00001", "call00002", None]
    assert row.messages[1].content == "Both:"


def test_openais_older_names_are_read(saved):
    older = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    dataset = load(saved(ASKED, older, {"role": "function", "name": "weather", "content": "dry"}, ANSWER, functions=[WEATHER["function"]]))
    (row,) = dataset.conversations
    assert row.messages[1].tool_calls == CANONICAL.replace("call_1", "call00001")
    assert row.messages[2] == Message("tool", "dry", tool_call_id="call00001")
    assert [*dataset.findings] == []


def test_openais_newer_name_of_the_system_is_read(saved):
    dataset = load(saved({"role": "developer", "content": "Be brief."}, ASKED, ANSWER))
    assert dataset.conversations[0].messages[0] == Message("system", "Be brief.")
    assert [*dataset.findings] == []


def test_an_id_without_calls_means_nothing(saved):
    written = {"role": "assistant", "content": "<tool_call>{}</tool_call>"}
    (row,) = load(saved(ASKED, written, result(tool_call_id="\ud800"), ANSWER)).conversations
    assert row.messages[2] == Message("tool", "dry")


def test_sharegpts_calls_are_calls_where_they_are_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def turns(called: str) -> dict:
        said = [("human", "Rain?"), ("function_call", called), ("observation", "dry"), ("gpt", "No.")]
        return {"conversations": [{"from": role, "value": text} for role, text in said], "tools": json.dumps([WEATHER])}

    rows = [turns('{"name": "weather", "arguments": {"city": "Paris"}}'), turns("weather(Paris)")]
    (tmp_path / "faq.jsonl").write_bytes(lines(*rows))
    first, second = load("faq.jsonl").conversations
    assert first.messages[1:3] == (
        Message("assistant", "", CANONICAL.replace("call_1", "call00001")),
        Message("tool", "dry", tool_call_id="call00001"),
    )
    assert second.messages[1:3] == (Message("assistant", "weather(Paris)"), Message("tool", "dry"))
    assert json.loads(second.tools) == [WEATHER]


def test_weight_zero_is_not_learned(saved):
    dataset = load(saved(ASKED, {**ANSWER, "weight": 0}, ASKED, {**ANSWER, "weight": 1}, ASKED, {**ANSWER, "weight": None}))
    assert [message.learned for message in dataset.conversations[0].messages] == [True, False, True, True, True, True]
    assert [finding.code for finding in dataset.findings] == []


def test_parallel_tool_calls_need_no_word(saved):
    assert [*load(saved(ASKED, ANSWER, parallel_tool_calls=False)).findings] == []


def test_function_that_the_tools_lack_is_a_warning(saved):
    (found,) = load(saved(ASKED, calls(call(name="wether")), tools=[WEATHER])).findings
    assert (found.severity, str(found)) == (
        "warning",
        'faq.jsonl:1: "wether" is called, which the row\'s tools don\'t have. Did you mean weather? Add it to the tools.',
    )


WRITE_CALL = 'expected {"id": …, "type": "function", "function": {"name": …, "arguments": …}}.'
WRITE_TOOL = 'expected {"type": "function", "function": {"name": …, "parameters": …}}.'


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{**ASKED, "weight": 1}, ANSWER], "message 1 (user) has a weight; expected one on assistant messages only. Remove it."),
        ([ASKED, {**ANSWER, "weight": 2}], "the weight of message 2 is the number 2; expected 0 (not learned) or 1. Correct it."),
        ([ASKED, {**ANSWER, "weight": 0.5}], "the weight of message 2 is the number 0.5; expected 0 (not learned) or 1. Correct it."),
        ([ASKED, {**ANSWER, "weight": True}], "the weight of message 2 is true; expected 0 (not learned) or 1. Correct it."),
        ([ASKED, {**ANSWER, "weight": "1"}], 'the weight of message 2 is the text "1"; expected 0 (not learned) or 1. Correct it.'),
        (
            [ASKED, {**ANSWER, "weight": 0}],
            "every assistant message has weight 0, so nothing to learn. Give one of them weight 1, or remove the row.",
        ),
        ([{**ASKED, "tool_calls": [call()]}, ANSWER], 'message 1 (user) has "tool_calls"; expected it on assistant messages only. Remove it.'),
        (
            [ASKED, calls(), ANSWER],
            'message 2 has no "content"; it has "role" and "tool_calls". Add it, or pass --set data.columns.content=NAME.',
        ),
        ([ASKED, calls(tool_calls="x")], '"tool_calls" of message 2 is the text "x"; expected an array of calls. Write it as one.'),
        ([ASKED, calls(3)], f"the tool call of message 2 is the number 3; {WRITE_CALL}"),
        ([ASKED, calls({"id": "a"})], f"the tool call of message 2 names no function; {WRITE_CALL}"),
        ([ASKED, calls(call(type="custom"))], 'the tool call of message 2 is of type "custom"; only functions are supported.'),
        ([ASKED, calls(call(id=7))], "the id of the tool call of message 2 is the number 7; expected text. Write one, or leave it out."),
        (
            [ASKED, calls(call('{"city": Paris}'))],
            'the arguments of the tool call of message 2: not valid JSON: found "Paris" at column 10; expected a value.',
        ),
        (
            [ASKED, calls(call("[1]"))],
            "the arguments of the tool call of message 2 are an array; expected an object. Write them by name.",
        ),
        ([ASKED, calls(call({"city": "a\0"}))], "the tool call of message 2 holds a NUL character. Remove it."),
        ([ASKED, calls(call(), call())], "two calls of message 2 have the same id. Rename one of them."),
        (
            [ASKED, calls(call()), result(tool_call_id="call_2"), ANSWER],
            'the tool_call_id of message 3 is "call_2"; expected "call_1", which the assistant called. Correct it.',
        ),
        (
            [ASKED, calls(call()), result(tool_call_id=1), ANSWER],
            "the tool_call_id of message 3 is the number 1; expected the id of a call. Correct it.",
        ),
        (
            [ASKED, calls(call()), result(), result(), ANSWER],
            "message 4 is a tool message, and no call is left that it answers. Remove it, or add the call.",
        ),
        (
            [ASKED, calls(call()), ASKED, ANSWER],
            'the call "call_1" of message 2 has no result; expected a tool message after it. Add it, or end the row with the call.',
        ),
        (
            [ASKED, calls(call(), call(id="call_2")), result(), ANSWER],
            'the call "call_2" of message 2 has no result; expected a tool message after it. Add it, or end the row with the call.',
        ),
    ],
)
def test_bad_weight_or_call_is_refused(saved, messages, expected):
    assert refusal(saved(*messages)) == f"faq.jsonl:1: {expected}"


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        (3, '"tools" is the number 3; expected an array of tools. Write it as one.'),
        ("weather", '"tools" is the text "weather"; expected an array of tools. Write it as one.'),
        ([3], f'tool 1 of "tools" is the number 3; {WRITE_TOOL}'),
        ([WEATHER, {"type": "function"}], f'tool 2 of "tools" names no function; {WRITE_TOOL}'),
        ([{"type": "custom", "function": {}}], 'tool 1 of "tools" is of type "custom"; only functions are supported.'),
        (
            [{"name": "f", "parameters": []}],
            'the parameters of tool 1 of "tools" are an array; expected a JSON schema, as {"type": "object", …}.',
        ),
        ([WEATHER, WEATHER], '"tools" has the function "weather" twice. Remove one of them.'),
    ],
)
def test_bad_tools_are_refused(saved, tools, expected):
    assert refusal(saved(ASKED, ANSWER, tools=tools)) == f"faq.jsonl:1: {expected}"


def test_tools_beside_a_question_are_refused(tmp_path):
    (tmp_path / "faq.jsonl").write_bytes(lines({"question": "a", "answer": "b", "tools": [WEATHER]}))
    message = '"tools" is not supported, and leaving it out would change the row. Remove the key, or the row.'
    assert refusal(tmp_path / "faq.jsonl") == f"{tmp_path}/faq.jsonl:1: {message}"
