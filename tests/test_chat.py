"""Conversations to ids and labels with the real tokenizer and template of every family."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest

from tests import families
from unsloth_ft.chat import IGNORE, Chat, Row, load_tokenizer
from unsloth_ft.data.conversation import Conversation, Message
from unsloth_ft.errors import UserError

TURN_ENDS = {"llama31": "<|eot_id|>", "mistral-v03": "</s>", "qwen25": "<|im_end|>", "qwen3": "<|im_end|>", "smollm2": "<|im_end|>"}
# The template's own control tokens in a row: once, and in each exchange of a question and an answer.
CONTROLS = {"llama31": (4, 6), "mistral-v03": (1, 3), "qwen25": (2, 4), "qwen3": (0, 4), "smollm2": (2, 4)}

ANSWERS = {
    "plain": "Paris.",
    "one character": "7",
    "spaces around": "  Paris. ",
    "new lines around": "\nParis.\n\n",
    "many new lines first": "\n\n\n  Paris.",
    "tabs and returns": "\tParis\r\n\tFrance\t",
    "Chinese": "巴黎是法国的首都。",
    "emoji": "🇫🇷👩‍👩‍👧 👍🏽",
    "right to left": "باريس هي العاصمة, פריז",
    "decomposed accents": "e\u0301te\u0301 and \u1112\u1161\u11ab",
    "accent first": "\u0301x",
    "code": 'def f(x):\n    return {"a": [x, \'\\n\\\\\']}  # {{ x }} {% y %}',
    "says assistant": "assistant",
    "a header in words": "assistant\nuser: system\n### Response:",
    "half a marker": "<|im_ [INS </ s> <| INST] end_header_id|>",
    "marks of private use": "\U000f0000\U000f0001\ue0a1",
    "an old byte": "a\u0000b\u001f",
}


def conversation(*turns: str, line: int = 7) -> Conversation:
    """`"user:Hi", "assistant:Hello"` as rows.jsonl:7."""
    return Conversation(tuple(Message(*turn.split(":", 1)) for turn in turns), "rows.jsonl", line)


def learned(row: Row, tokenizer) -> list[str]:
    """The text of each run of learned tokens, as it stands in the row."""
    texts = []
    for index, label in enumerate(row.labels):
        if label != IGNORE and (index == 0 or row.labels[index - 1] == IGNORE):
            end = next((at for at in range(index, len(row.labels)) if row.labels[at] == IGNORE), len(row.labels))
            before = tokenizer.decode(list(row.input_ids[:index]))
            texts.append(tokenizer.decode(list(row.input_ids[:end]))[len(before) :])
    return texts


def written(family: str, content: str, *, last: bool) -> str:
    """What the model has to write, from the end of its prompt through the end of its turn."""
    if family.startswith("qwen"):
        content = unicodedata.normalize("NFC", content)  # by the tokenizer
    if family == "llama31":
        content = content.strip()
    if family == "mistral-v03":
        content = " " + content
    if family == "qwen3" and last:
        content = "<think>\n\n</think>\n\n" + content.lstrip("\n")
    return content + TURN_ENDS[family]


def check(chat: Chat, family: str, asked: Conversation) -> Row:
    """Everything that holds for every row of every family; returns the row."""
    row = chat.encode(asked)
    answers = [message.content for message in asked.messages if message.role == "assistant"]
    expected = [written(family, answer, last=index == len(answers) - 1) for index, answer in enumerate(answers)]
    assert learned(row, chat.tokenizer) == expected
    assert [label for label in row.labels if label != IGNORE] == [i for i, label in zip(row.input_ids, row.labels) if label != IGNORE]
    assert len(row.labels) == len(row.input_ids)
    end = chat.control_tokens[TURN_ENDS[family]]
    assert [row.labels[place - 1] for place in row.turn_ends] == [end] * len(answers)
    prompt, expected_answer = chat.prompt(asked)
    assert list(row.input_ids[: len(prompt)]) == prompt
    assert (row.labels[len(prompt) - 1], row.labels[len(prompt)]) == (IGNORE, row.input_ids[len(prompt)])
    assert expected_answer == answers[-1]
    once, each = CONTROLS[family]
    has_system = asked.messages[0].role == "system"
    once += 2 if family == "qwen3" and has_system else 0  # the other ChatML templates write a system message in any case
    assert sum(index in set(chat.control_tokens.values()) for index in row.input_ids) == once + each * len(answers)
    bos = {"llama31": 128000, "mistral-v03": 1}.get(family)
    assert row.input_ids.count(bos) == (0 if bos is None else 1)
    return row


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("family", families.FAMILIES)
def test_exactly_the_answers_and_their_turn_ends_are_learned(family, answer, chat_of):
    chat = chat_of(family)
    check(chat, family, conversation("user:What is the capital of France?", "assistant:" + answer))
    check(chat, family, conversation("system:Be brief.", "user:What is the capital of France?", "assistant:" + answer))
    turns = ["user:Hi", "assistant:Hello!", "user:Capital?", "assistant:" + answer, "user:Sure?", "assistant:Yes."]
    check(chat, family, conversation(*turns))
    check(chat, family, conversation("system:Be brief.", *turns))
    check(chat, family, conversation("system: \n", *turns[:2], "user:" + answer, "assistant:" + answer, "user:x", "assistant:" + answer))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_an_answer_that_stands_elsewhere_in_the_row_is_learned_in_its_own_place(family, chat_of):
    chat = chat_of(family)
    check(chat, family, conversation("user:Say Yes. Yes.", "assistant:Yes."))
    check(chat, family, conversation("system:a", "user:a", "assistant:a", "user:a", "assistant:a", "user:a", "assistant:a"))
    check(chat, family, conversation("user:user", "assistant:user", "user:assistant\n", "assistant:assistant"))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_three_hundred_random_conversations_keep_to_the_rules(family, chat_of):
    generator = random.Random(20)
    chat = chat_of(family)
    pieces = [*ANSWERS.values(), "Lima", " ", "\n", "a", "\t", "é", "12 345", "…", "``` \n", "I'm", "assistant\n", "%", "<", ">", "|"]
    for line in range(1, 301):
        turns = ["system:" + generator.choice(pieces)] if generator.random() < 0.3 else []
        for _ in range(generator.randint(1, 4)):
            for role in ("user", "assistant"):
                content = "".join(generator.choices(pieces, k=generator.randint(1, 4)))
                turns.append(f"{role}:{content}" if content.strip() and content.strip() != "\u0301" else f"{role}:x")
        check(chat, family, conversation(*turns, line=line))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_turn_end_token_ends_generation_and_padding_is_another(family, chat_of):
    chat = chat_of(family)
    assert chat.turn_end == TURN_ENDS[family]
    assert chat.end_ids == (chat.control_tokens[TURN_ENDS[family]],)
    assert chat.padding_id == {"llama31": 0, "mistral-v03": 0, "qwen25": 151643, "qwen3": 151643, "smollm2": 0}[family]


def test_padding_is_no_end_token_even_where_the_tokenizer_pads_with_its_eos(chat_of):
    from copy import deepcopy

    tokenizer = deepcopy(chat_of("smollm2").tokenizer)
    tokenizer.pad_token = "<|im_end|>"
    tokenizer.unk_token = "<|im_end|>"
    assert (Chat(tokenizer).padding_id, Chat(tokenizer).end_ids) == (0, (2,))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_ordinary_rows_have_the_ids_that_the_tokenizer_gives_the_whole_text(family, chat_of):
    chat = chat_of(family)
    asked = conversation("user:What's 12345 + 1?", "assistant:12346.", "user: And in words? ", "assistant:Twelve thousand …")
    whole = chat.tokenizer.apply_chat_template([{"role": message.role, "content": message.content} for message in asked.messages])["input_ids"]
    assert list(chat.encode(asked).input_ids) == whole


def test_a_row_is_the_prompt_and_what_follows_where_a_token_would_reach_across(chat_of):
    chat = chat_of("qwen25")
    row = chat.encode(conversation("user:Hi", "assistant:\nHo"))
    assert row.input_ids[-7:] == (151644, 77091, 198, 198, 47978, 151645, 198)  # of the whole text: 151644, 77091, 271, …
    assert row.labels[-7:] == (IGNORE, IGNORE, IGNORE, 198, 47978, 151645, IGNORE)


# Llama 3.1. The ids are those of llama-models 0.3.0: llama3.chat_format.ChatFormat.encode_message, after <|begin_of_text|>.


def test_llama_rows_equal_those_of_metas_own_encoder(chat_of):
    turns = ("system:Be brief.", "user:What's 1234567 × 2, né?", "assistant:2469134", "user:你好 🙂 ", "assistant:Hi\n\n- a\n")
    row = chat_of("llama31").encode(conversation(*turns))
    date = (38766, 1303, 33025, 2696, 25, 6790, 220, 2366, 18, 198, 15724, 2696, 25, 220, 1627, 10263, 220, 2366, 19, 271)
    assert row.input_ids == (
        *(128000, 128006, 9125, 128007, 271, *date, 3513, 10015, 13, 128009),
        *(128006, 882, 128007, 271, 3923, 596, 220, 4513, 10961, 22, 25800, 220, 17, 11, 38605, 30, 128009),
        *(128006, 78191, 128007, 271, 14205, 24331, 19, 128009),
        *(128006, 882, 128007, 271, 57668, 53901, 28584, 128009),
        *(128006, 78191, 128007, 271, 13347, 271, 12, 264, 128009),
    )
    assert row.labels[-5:] == (13347, 271, 12, 264, 128009)
    assert row.labels[-9:-5] == (IGNORE,) * 4
    assert row.turn_ends == (54, 71)


# Mistral v0.3. The ids are those of mistral-common 1.13.1: MistralTokenizer.v3().instruct_tokenizer.encode_instruct.


MISTRAL_ONE = (1, 3, 2592, 1117, 1040, 6333, 1070, 5611, 29572, 4, 6233, 29491, 2)
MISTRAL_THREE = (
    *MISTRAL_ONE,
    *(3, 1783, 1070, 28998, 29572, 781, 4, 1161, 5018, 1532, 29473, 30587, 31027, 29473, 30108, 2),
    *(3, 1027, 13643, 29572, 4, 6360, 29491, 2),
)
MISTRAL_SYSTEM = (1, 3, 2507, 7585, 29491, 781, 781, 3963, 1117, 1040, 6333, 1070, 5611, 29572, 4)
MISTRAL_SYSTEM_LATER = (*MISTRAL_ONE, 3, 2507, 7585, 29491, 781, 781, 3235, 1070, 28998, 29572, 4)
FRANCE = ("user:What is the capital of France?", "assistant:Paris.")


def test_mistral_rows_equal_those_of_mistrals_own_encoder(chat_of):
    chat = chat_of("mistral-v03")
    assert chat.encode(conversation(*FRANCE)).input_ids == MISTRAL_ONE
    three = conversation(*FRANCE, "user:And of Peru?\n", "assistant:Lima – 利马 🙂", "user:  Sure?", "assistant:Yes.")
    assert chat.encode(three).input_ids == MISTRAL_THREE


def test_mistrals_system_message_stands_where_it_stands_at_inference(chat_of):
    chat = chat_of("mistral-v03")
    row = chat.encode(conversation("system:Be brief.", *FRANCE))
    assert row.input_ids == (*MISTRAL_SYSTEM, 6233, 29491, 2)
    assert row.labels == (*[IGNORE] * len(MISTRAL_SYSTEM), 6233, 29491, 2)
    row = chat.encode(conversation("system:Be brief.", *FRANCE, "user:And of Peru?", "assistant:Lima."))
    assert row.input_ids[: len(MISTRAL_SYSTEM_LATER)] == MISTRAL_SYSTEM_LATER
    assert learned(row, chat.tokenizer) == [" Paris.</s>", " Lima.</s>"]


def test_the_learned_tokens_of_mistral_decode_to_content_and_end(chat_of):
    chat = chat_of("mistral-v03")
    row = chat.encode(conversation("user:a", "assistant:Paris is it.", "user:b", "assistant:Lima, then."))
    starts = [index for index, label in enumerate(row.labels) if label != IGNORE and row.labels[index - 1] == IGNORE]
    spans = [row.input_ids[start:end] for start, end in zip(starts, row.turn_ends)]
    assert [chat.tokenizer.decode(span) for span in spans] == ["Paris is it.</s>", "Lima, then.</s>"]


# Qwen3: <think> is 151667, </think> 151668, "\n\n" 271


def test_the_empty_think_block_is_learned_when_the_prompt_does_not_hold_it(chat_of):
    row = chat_of("qwen3").encode(conversation(*FRANCE))
    assert row.labels[-8:] == (151667, 271, 151668, 271, 59604, 13, 151645, IGNORE)


def test_the_empty_think_block_is_not_learned_when_the_prompt_holds_it(chat_of):
    chat = chat_of("qwen3", enable_thinking=False)
    row = chat.encode(conversation(*FRANCE))
    assert row.input_ids[-8:] == (151667, 271, 151668, 271, 59604, 13, 151645, 198)
    assert row.labels[-8:] == (IGNORE, IGNORE, IGNORE, IGNORE, 59604, 13, 151645, IGNORE)
    assert chat.prompt(conversation(*FRANCE))[0] == list(row.input_ids[:-4])
    thinking = chat_of("qwen3", enable_thinking=True).encode(conversation(*FRANCE))
    assert thinking == chat_of("qwen3").encode(conversation(*FRANCE))


@pytest.mark.parametrize("kwargs", [{}, {"enable_thinking": False}], ids=["thinking", "not thinking"])
def test_earlier_answers_of_qwen3_have_no_think_block(kwargs, chat_of):
    chat = chat_of("qwen3", **kwargs)
    row = chat.encode(conversation("user:a", "assistant:A", "user:b", "assistant:\nB", "user:c", "assistant:C"))
    last = "C<|im_end|>" if kwargs else "<think>\n\n</think>\n\nC<|im_end|>"
    assert learned(row, chat.tokenizer) == ["A<|im_end|>", "\nB<|im_end|>", last]


@pytest.mark.parametrize("thoughts", ["<think>\nEasy.\n</think>\n\nParis.", "<think>Easy.</think>Paris.", "Easy.</think>\n\n\nParis."])
def test_thoughts_are_learned_in_the_last_answer_and_dropped_from_earlier_ones(thoughts, chat_of):
    chat = chat_of("qwen3")
    row = chat.encode(conversation("user:a", f"assistant:{thoughts}", "user:b", f"assistant:{thoughts}"))
    assert learned(row, chat.tokenizer) == ["Paris.<|im_end|>", "<think>\nEasy.\n</think>\n\nParis.<|im_end|>"]
    row = chat.encode(conversation("user:a", f"assistant:{thoughts}", "user:b", "assistant:Lima."))
    assert learned(row, chat.tokenizer) == ["Paris.<|im_end|>", "<think>\n\n</think>\n\nLima.<|im_end|>"]


def test_thoughts_are_refused_where_the_prompt_ends_them_already(chat_of):
    with pytest.raises(UserError) as error:
        chat_of("qwen3", enable_thinking=False).encode(conversation("user:a", "assistant:<think>\nEasy.\n</think>\n\nParis."))
    assert str(error.value) == (
        "rows.jsonl:7: the chat template asks for an answer with '<|im_end|>\\n<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n', "
        "but writes this conversation's last one as '<|im_end|>\\n<|im_start|>assistant\\n"
        "<think>\\nEasy.\\n</think>\\n\\nParis.<|im_end|>\\n', which can't follow. Change chat_template_kwargs, or the answer."
    )
    spelled_out = conversation("user:a", "assistant:<think>\n\n</think>\n\nParis.")
    row = chat_of("qwen3", enable_thinking=False).encode(spelled_out)
    assert learned(row, chat_of("qwen3").tokenizer) == ["Paris.<|im_end|>"]


def test_an_earlier_answer_that_is_thoughts_only_is_refused(chat_of):
    with pytest.raises(UserError, match=r"^rows\.jsonl:7: the model's chat template leaves out this assistant message \('<think>hm</"):
        chat_of("qwen3").encode(conversation("user:a", "assistant:<think>hm</think>", "user:b", "assistant:B"))


def test_tool_results_are_not_learned(chat_of):
    chat = chat_of("qwen3")
    row = chat.encode(conversation("user:Weather?", "assistant:<tool_call>\n{}\n</tool_call>", 'tool:{"sky": "clear"}', "assistant:Clear."))
    assert learned(row, chat.tokenizer) == ["<tool_call>\n{}\n</tool_call><|im_end|>", "<think>\n\n</think>\n\nClear.<|im_end|>"]


# What is learned otherwise, and what is refused


@pytest.mark.parametrize("family", families.FAMILIES)
def test_train_on_all_learns_every_token_of_the_same_ids(family, chat_of):
    asked = conversation("system:Be brief.", "user:Hi", "assistant:Ho", "user:Hm", "assistant:Ha")
    row, usual = chat_of(family, train_on="all").encode(asked), chat_of(family).encode(asked)
    assert row.labels == row.input_ids == usual.input_ids
    assert row.turn_ends == usual.turn_ends


def text_row(text: str) -> Conversation:
    return Conversation((), "rows.jsonl", 3, text=text)


def test_a_rendered_row_is_learned_whole_and_gets_what_it_lacks(chat_of):
    llama = chat_of("llama31")
    row = llama.encode(text_row("Hello"))
    assert row == Row((128000, 9906, 128009), (128000, 9906, 128009), "rows.jsonl:3", (3,))
    assert llama.encode(text_row("<|begin_of_text|>Hello<|eot_id|>")) == row
    assert llama.encode(text_row("<|begin_of_text|>Hello<|eot_id|>\n")).input_ids == (128000, 9906, 128009, 198)
    assert chat_of("qwen25").encode(text_row("Hello")).input_ids == (9707, 151645)
    assert chat_of("mistral-v03").encode(text_row("hello")).input_ids == (1, 7080, 29477, 2)


def test_a_rendered_row_with_a_second_beginning_is_refused(chat_of):
    with pytest.raises(UserError, match=r"^rows\.jsonl:3: the row begins with two <\|begin_of_text\|>; the template writes one"):
        chat_of("llama31").encode(text_row("<|begin_of_text|><|begin_of_text|>Hello"))


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        (["user:a", "user:b", "assistant:c"], "conversation roles must alternate"),
        (["assistant:a", "user:b", "assistant:c"], "conversation roles must alternate"),
        (["system:s", "assistant:c"], "conversation roles must alternate"),
        (["user:a", "assistant:b", "system:s", "user:c", "assistant:d"], "conversation roles must alternate"),
        (["user:a", "tool:b", "assistant:c"], "Tool call IDs should be alphanumeric"),
    ],
)
def test_what_mistrals_template_refuses_is_refused_with_its_words_and_the_line(turns, said, chat_of):
    with pytest.raises(UserError, match=rf"^rows\.jsonl:7: the model's chat template refuses this conversation: .*({said})"):
        chat_of("mistral-v03").encode(conversation(*turns))


def test_a_conversation_without_an_answer_is_refused(chat_of):
    said = r"^rows\.jsonl:7: there is no assistant message, so nothing to learn\. Add the answer, or remove the row\.$"
    for method in (chat_of("qwen25").encode, chat_of("qwen25").prompt):
        with pytest.raises(UserError, match=said):
            method(conversation("user:Hi"))


def test_a_folder_without_a_chat_template_is_refused(family_dir, tmp_path):
    import json

    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        text = (family_dir("smollm2") / name).read_text(encoding="utf-8")
        if name == "tokenizer_config.json":
            text = json.dumps({key: value for key, value in json.loads(text).items() if key != "chat_template"})
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path.name}: its tokenizer has no chat template, as base models have none.")):
        load_tokenizer(tmp_path)


def test_a_row_longer_than_the_model_warns_of_nothing_and_is_whole(chat_of, caplog):
    row = chat_of("smollm2").encode(conversation("user:" + "word " * 9000, "assistant:done"))
    assert len(row.input_ids) > 9000
    assert caplog.text == ""
