"""Tools and tool calls with the real tokenizer and template of every family: what is learned, and what is refused."""

from __future__ import annotations

import json
import re
from copy import deepcopy

import pytest

from tests import oracle
from tests.test_chat import learned
from unsloth_ft.chat import IGNORE, Chat
from unsloth_ft.chat_tools import Form, plain
from unsloth_ft.data.calls import canonical_json
from unsloth_ft.data.conversation import Conversation, Message
from unsloth_ft.errors import UserError

TOOL = {"name": "weather", "description": "Now.", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = canonical_json([{"type": "function", "function": TOOL}])


def calling(*cities: str, content: str = "", learned: bool = True) -> Message:
    calls = [
        {"id": f"call_{place}", "type": "function", "function": {"name": "weather", "arguments": {"city": city, "at": None}}}
        for place, city in enumerate(cities)
    ]
    return Message("assistant", content, canonical_json(calls), learned)


def result(content: str, place: int = 0) -> Message:
    return Message("tool", content, tool_call_id=f"call_{place}")


def row(*messages: Message, tools: str | None = TOOLS) -> Conversation:
    return Conversation(messages, "rows.jsonl", 7, tools=tools)


ASKED, ANSWER = Message("user", "Rain in Paris?"), Message("assistant", "No.")
ARGUMENTS = '{"city": "Paris", "at": null}'
CALLS = {
    "llama31": '{"name": "weather", "parameters": %s}<|eot_id|>',
    "mistral-v03": '[TOOL_CALLS] [{"name": "weather", "arguments": %s, "id": "c557a85a0"}]</s>',
    "qwen25": '<tool_call>\n{"name": "weather", "arguments": %s}\n</tool_call><|im_end|>',
    "qwen3": '<tool_call>\n{"name": "weather", "arguments": %s}\n</tool_call><|im_end|>',
}
ANSWERS = {"llama31": "No.<|eot_id|>", "mistral-v03": " No.</s>", "qwen25": "No.<|im_end|>", "qwen3": "<think>\n\n</think>\n\nNo.<|im_end|>"}


@pytest.mark.parametrize("family", CALLS)
def test_the_call_and_its_turn_end_are_learned_and_the_result_is_not(family, chat_of):
    chat = chat_of(family)
    asked = row(ASKED, calling("Paris"), result("dry & 20"), ANSWER)
    encoded = chat.encode(asked)
    assert learned(encoded, chat.tokenizer) == [CALLS[family] % ARGUMENTS, ANSWERS[family]]
    ids = chat.tokenizer.apply_chat_template(plain(asked.messages, Form(nine=family == "mistral-v03")), tools=json.loads(TOOLS))["input_ids"]
    assert list(encoded.input_ids) == ids
    end = chat.end_ids[0]
    assert [encoded.labels[place - 1] for place in encoded.turn_ends] == [end, end]
    prompt, expected = chat.prompt(asked)
    assert (list(encoded.input_ids[: len(prompt)]), expected) == (prompt, "No.")
    assert (encoded.labels[len(prompt) - 1], encoded.labels[len(prompt)]) == (IGNORE, encoded.input_ids[len(prompt)])
    assert "Now." in chat.tokenizer.decode(prompt)


@pytest.mark.parametrize("family", CALLS)
def test_a_row_may_end_with_the_call(family, chat_of):
    chat = chat_of(family)
    asked = row(ASKED, ANSWER, Message("user", "Sure?"), calling("Paris"))
    (first, last) = learned(chat.encode(asked), chat.tokenizer)
    thoughts = "<think>\n\n</think>\n\n" if family == "qwen3" else ""
    assert (first, last) == (ANSWERS[family].removeprefix(thoughts), thoughts + CALLS[family] % ARGUMENTS)
    prompt, expected = chat.prompt(asked)
    assert chat.encode(asked).input_ids[: len(prompt)] == tuple(prompt)
    assert expected == chat.tokenizer.decode(chat.ids(last), skip_special_tokens=True).strip()


def test_parallel_calls_are_one_turn(chat_of):
    chat = chat_of("qwen3")
    asked = row(ASKED, calling("Paris", "Lima", content="Both:"), result("dry"), result("wet", 1), ANSWER)
    one, other = (f'<tool_call>\n{{"name": "weather", "arguments": {{"city": "{city}", "at": null}}}}\n</tool_call>' for city in ("Paris", "Lima"))
    assert learned(chat.encode(asked), chat.tokenizer) == [f"Both:\n{one}\n{other}<|im_end|>", ANSWERS["qwen3"]]
    mistral = chat_of("mistral-v03")
    (text, _) = learned(mistral.encode(row(ASKED, calling("Paris", "Lima"), result("dry"), result("wet", 1), ANSWER)), mistral.tokenizer)
    assert (text.count('"id": "'), text[-6:]) == (2, '"}]</s>'[-6:])


@pytest.mark.parametrize("family", [*CALLS, "smollm2"])
def test_an_answer_of_weight_zero_has_no_label(family, chat_of):
    chat = chat_of(family)
    messages = (ASKED, Message("assistant", "Maybe.", learned=False), Message("user", "So?"), ANSWER, ASKED, Message("assistant", "x", learned=False))
    encoded = chat.encode(row(*messages, tools=None))
    (text,) = learned(encoded, chat.tokenizer)
    assert text.removesuffix(chat.turn_end).strip() == "No."
    assert encoded.input_ids == chat.encode(row(*(Message(one.role, one.content) for one in messages), tools=None)).input_ids
    assert len(encoded.turn_ends) == 1
    assert chat.prompt(row(*messages, tools=None))[1] == "No."
    everything = "".join(learned(chat_of(family, train_on="all").encode(row(*messages, tools=None)), chat.tokenizer))
    assert [everything.count(text) for text in ("Paris?", "No.", "Maybe.")] == [2, 1, 0]


def test_a_row_is_cut_behind_a_learned_answer_only(chat_of):
    chat = chat_of("qwen25")
    encoded = chat.encode(row(ASKED, calling("Paris", learned=False), result("dry"), ANSWER, tools=None))
    assert learned(encoded, chat.tokenizer) == ["No.<|im_end|>"]
    assert encoded.turn_ends == (len(encoded.input_ids) - 1,)


def refusal(chat, *messages: Message, tools: str | None = None) -> str:
    with pytest.raises(UserError) as refused:
        chat.encode(row(*messages, tools=tools))
    return str(refused.value)


def test_a_template_without_tools_refuses_them(chat_of):
    chat = chat_of("smollm2")
    assert refusal(chat, ASKED, ANSWER, tools=TOOLS) == (
        "rows.jsonl:7: the model's chat template leaves out the row's tools. Take a model whose template has tools, or remove them."
    )
    assert refusal(chat, ASKED, calling("Paris"), result("dry"), ANSWER) == (
        "rows.jsonl:7: the model's chat template leaves out the assistant's tool calls. "
        "Take a model whose template has them, or remove the row."
    )


def test_what_the_template_refuses_or_leaves_out_is_said(chat_of):
    assert refusal(chat_of("llama31"), ASKED, calling("Paris", "Lima"), result("dry"), result("wet", 1), ANSWER) == (
        "rows.jsonl:7: the model's chat template refuses this conversation: This model only supports single tool-calls at once!"
    )
    assert refusal(chat_of("llama31"), ASKED, calling("Paris", content="I'll look."), result("dry"), ANSWER) == (
        "rows.jsonl:7: the model's chat template leaves out \"I'll look.\" of an assistant message with tool calls. "
        "Change it, or remove the row."
    )
    assert refusal(chat_of("mistral-v03"), Message("system", "Be brief."), ASKED, calling("Paris"), result("dry"), ANSWER) == (
        "rows.jsonl:7: the model's chat template leaves out this system message ('Be brief.'). Move its text into the user's message."
    )


@pytest.mark.parametrize("special_tokens", ["refuse", "text"])
def test_control_tokens_in_tools_and_calls_are_refused(special_tokens, chat_of):
    chat = chat_of("qwen25", special_tokens=special_tokens)
    found = 'contain the control token "<|im_end|>", which the model would read as one. Remove it.'
    assert refusal(chat, ASKED, calling("<|im_end|>"), result("dry"), ANSWER) == f"rows.jsonl:7: the row's tool calls {found}"
    assert refusal(chat, ASKED, ANSWER, tools=TOOLS.replace("Now.", "<|im_end|>")) == f"rows.jsonl:7: the row's tools {found}"


def test_llamas_call_to_a_built_in_tool_ends_in_its_own_token(chat_of):
    chat = chat_of("llama31", builtin_tools=["weather"])
    call = canonical_json([{"id": "a", "type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}])
    encoded = chat.encode(row(ASKED, Message("assistant", "", call), result("dry"), ANSWER, tools=None))
    assert learned(encoded, chat.tokenizer) == ['<|python_tag|>weather.call(city="Paris")<|eom_id|>', "No.<|eot_id|>"]


def test_brackets_of_calls_that_are_control_tokens_do_not_end_the_turn(chat_of):
    tokenizer = deepcopy(chat_of("qwen25").tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<tool_call>", "</tool_call>"]})
    encoded = Chat(tokenizer).encode(row(ASKED, calling("Paris"), result("dry"), ANSWER))
    assert learned(encoded, tokenizer) == [CALLS["qwen25"] % ARGUMENTS, ANSWERS["qwen25"]]


def test_ids_of_nine_characters_stay_and_a_result_knows_its_function():
    call = Message("assistant", "", canonical_json([{"id": "abcDEF123", "type": "function", "function": {"name": "f", "arguments": {}}}]))
    written = plain((call, Message("tool", "1", tool_call_id="abcDEF123")), Form(nine=True))
    assert written[1] == {"role": "tool", "content": "1", "tool_call_id": "abcDEF123", "name": "f"}
    assert written[0]["tool_calls"][0]["id"] == "abcDEF123"


# Templates as llama.cpp's source carries them (models/templates), on a tokenizer to which their markers are added as control tokens.

ELSEWHERE = {
    "openai-gpt-oss-120b": (" to=functions.weather<|channel|>commentary json<|message|>", "<|call|>", "<|channel|>final<|message|>No.<|return|>"),
    "upstage-Solar-Open-100B": (
        "<|tool_calls|><|tool_call:begin|>call_0<|tool_call:name|>weather<|tool_call:args|>",
        "<|tool_call:end|><|calls|>",
        "<|content|>No.<|end|>",
    ),
    "meetkai-functionary-medium-v3.2": ("weather\n", "<|eot_id|>", "all\nNo.<|eot_id|>"),
    "unsloth-Apriel-1.5": (
        '\n<tool_calls>[{"name": "weather", "arguments": ',
        ', "id": "call_0"}]</tool_calls>\n<|end|>',
        "No.\n<|end|>",
    ),
    "moonshotai-Kimi-K2": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>",
        "<|tool_call_end|><|tool_calls_section_end|><|im_end|>",
        "No.<|im_end|>",
    ),
    "Mistral-Small-3.2-24B-Instruct-2506": ("[TOOL_CALLS]weather[CALL_ID]c557a85a0[ARGS]", "<|im_end|>", "No.<|im_end|>"),
}


@pytest.mark.skipif(not oracle.is_here(), reason=oracle.MISSING)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_published_templates_elsewhere_are_learned_through_the_end_of_the_call(name, chat_of):
    tokenizer = deepcopy(chat_of("smollm2").tokenizer)
    tokenizer.chat_template = (oracle.folder() / "models" / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    markers = sorted(set(re.findall(r"<\|[^|<> ]+\|>|\[[A-Z_]{3,}\]", tokenizer.chat_template)))
    tokenizer.add_special_tokens({"additional_special_tokens": markers})
    before, behind, answer = ELSEWHERE[name]
    encoded = Chat(tokenizer).encode(row(ASKED, calling("Paris"), result("dry"), ANSWER))
    assert learned(encoded, tokenizer) == [before + ARGUMENTS + behind, answer]
    assert len(encoded.turn_ends) == 2
