"""Chat templates that no table of model families knows, on a tokenizer that had another."""

from __future__ import annotations

from copy import deepcopy

import pytest

from tests.test_chat import conversation, learned
from unsloth_ft.chat import IGNORE, Chat, load_tokenizer
from unsloth_ft.errors import UserError

THREE = ("user:Hi there", "assistant: Ho\n", "user:a", "assistant:b", "user:\nassistant", "assistant:Ho")


def turns(turn: str, prompt: str = "") -> str:
    """A template that writes `turn` for each message, and then the generation prompt."""
    return "{% for message in messages %}" + turn + "{% endfor %}{% if add_generation_prompt %}" + prompt + "{% endif %}"


@pytest.fixture(scope="session")
def tokenizer(family_dir):
    """SmolLM2's: byte-level BPE whose "\\n\\n" is one token."""
    return load_tokenizer(family_dir("smollm2"))


@pytest.fixture
def chat(tokenizer):
    def make(template: str, **kwargs) -> Chat:
        own = deepcopy(tokenizer)
        own.chat_template = template
        return Chat(own, **kwargs)

    return make


def runs(chat: Chat, *turns: str) -> list[str]:
    """The learned texts, after a look that the row begins with its prompt's ids and is learned from there."""
    asked = conversation(*turns)
    row = chat.encode(asked)
    prompt, _ = chat.prompt(asked)
    assert list(row.input_ids[: len(prompt)]) == prompt
    assert row.labels[len(prompt) - 1] == IGNORE != row.labels[len(prompt)]
    return learned(row, chat.tokenizer)


def refusal(chat: Chat, *turns: str) -> str:
    with pytest.raises(UserError) as error:
        chat.encode(conversation(*turns))
    return str(error.value)


def test_a_template_of_invented_markers_that_ends_in_eos(chat):
    made_up = chat(turns("@@{{ message.role }}@@{{ message.content }}{{ eos_token }}", "@@assistant@@"))
    assert runs(made_up, *THREE) == [" Ho\n<|im_end|>", "b<|im_end|>", "Ho<|im_end|>"]
    assert runs(made_up, "system:assistant@@", *THREE) == [" Ho\n<|im_end|>", "b<|im_end|>", "Ho<|im_end|>"]
    assert (made_up.turn_end, made_up.end_ids) == ("<|im_end|>", (2,))


def test_a_turn_end_that_is_plain_text_is_learned_in_every_turn(chat):
    plain = chat(turns("### {{ message.role }}:\n{{ message.content }}\n### end\n\n", "### assistant:\n"))
    assert runs(plain, *THREE) == [" Ho\n\n### end", "b\n### end", "Ho\n### end"]
    assert (plain.turn_end, plain.end_ids) == ("### end", (2,))
    row = plain.encode(conversation(*THREE))
    assert [plain.tokenizer.decode(row.input_ids[:end])[-8:] for end in row.turn_ends] == ["\n### end"] * 3


def test_a_turn_end_that_shares_a_token_with_what_follows_is_learned_with_it(chat):
    hashes = chat(turns("{{ message.role }}: {{ message.content }} ###\n\n", "assistant:"))
    assert hashes.turn_end == "###"
    assert [text.rstrip("\n") for text in runs(hashes, "user:a", "assistant:b", "user:c", "assistant:d")] == [" b ###", " d ###"]


def test_a_turn_end_that_is_an_added_token_but_no_control_token_ends_generation(chat):
    own = chat(turns("{{ message.role }}: {{ message.content }}<end>\n", "assistant: "))
    own.tokenizer.add_tokens(["<end>"])
    assert (own.turn_end, own.end_ids) == ("<end>", (49152, 2))
    assert runs(own, "user:a", "assistant:b", "user:c", "assistant:d") == ["b<end>", "d<end>"]


def test_what_the_prompt_does_not_hold_has_to_be_written(chat):
    without_prompt = chat(turns("{{ message.role }}: {{ message.content }}{{ eos_token }}\n"))
    assert runs(without_prompt, "user:a", "assistant:b", "user:c", "assistant:d") == ["assistant: b<|im_end|>", "assistant: d<|im_end|>"]


def test_a_prompt_that_ends_in_a_space_keeps_its_tokens(chat):
    spaced = chat(turns("{{ message.role }}: {{ message.content }}{{ eos_token }}\n", "assistant: "))
    assert runs(spaced, "user:a", "assistant:Paris", "user:c", "assistant:\nLima") == ["Paris<|im_end|>", "\nLima<|im_end|>"]
    space, paris = (spaced.tokenizer(text)["input_ids"] for text in (" ", "Paris"))
    assert spaced.encode(conversation("user:a", "assistant:Paris")).input_ids[-4:-1] == (*space, *paris, 2)
    assert [len(space), len(paris)] == [1, 1]  # " Paris" would have been one token


def test_a_prompt_that_ends_in_blank_lines_keeps_its_tokens(chat):
    blank = chat(turns("### {{ message.role }}\n\n{{ message.content }}{{ eos_token }}", "### assistant\n\n"))
    assert runs(blank, *THREE) == [" Ho\n<|im_end|>", "b<|im_end|>", "Ho<|im_end|>"]


@pytest.mark.parametrize("after", ["", "\n", " \n\n"])
def test_a_template_that_writes_nothing_after_an_answer_is_refused(after, chat):
    endless = chat(turns("{{ message.role }}: {{ message.content }}" + after))
    assert refusal(endless, "user:a", "assistant:b") == (
        "rows.jsonl:7: the chat template writes nothing after an answer, so the model would never learn to stop. "
        "Use a template that ends each answer with an end token."
    )


def test_a_template_that_ends_the_last_answer_only_leaves_earlier_ones_without_an_end(chat):
    end = "{{ eos_token if loop.last and message.role == 'assistant' else '\n' }}"
    only_last = chat(turns("{{ message.role }}: {{ message.content }}" + end, "assistant: "))
    assert runs(only_last, "user:a", "assistant:b", "user:c", "assistant:d") == ["b", "d<|im_end|>"]
    row = only_last.encode(conversation("user:a", "assistant:b", "user:c", "assistant:d"))
    assert row.turn_ends == (len(row.input_ids),)  # behind the first answer no row may be cut


def test_a_template_that_signs_its_answers_has_the_signature_learned(chat):
    signed = chat(turns("<|im_start|>{{ message.content }}{% if message.role == 'assistant' %} -- me{% endif %}<|im_end|>", "<|im_start|>"))
    assert runs(signed, "user:a", "assistant:b", "user:c", "assistant:d") == ["b -- me<|im_end|>", "d -- me<|im_end|>"]


@pytest.mark.parametrize("how", ["trim", "replace('\n', '\n  ')", "indent", "indent(2, true)"])
def test_white_space_is_the_templates_own_affair(how, chat):
    spaced = chat(turns("<|im_start|>{{ message.role }}\n{{ message.content | " + how + " }}<|im_end|>\n", "<|im_start|>assistant\n"))
    answer = {"trim": "a\nb", "replace('\n', '\n  ')": " a\n  b\n  ", "indent": " a\n    b\n", "indent(2, true)": "   a\n  b\n"}[how]
    assert runs(spaced, "system: s \n t", "user: q\nr", "assistant: a\nb\n") == [answer + "<|im_end|>"]


def test_a_template_that_leaves_out_the_system_message_is_refused(chat):
    template = turns("{% if message.role != 'system' %}<|im_start|>{{ message.content }}<|im_end|>{% endif %}", "<|im_start|>")
    for question in ("Hi", "Be brief. Hi"):  # where the system's words stand in another message, too
        assert refusal(chat(template), "system:Be brief.", f"user:{question}", "assistant:b") == (
            "rows.jsonl:7: the model's chat template leaves out this system message ('Be brief.'). Move its text into the user's message."
        )
    assert runs(chat(template), "user:a", "assistant:b") == ["b<|im_end|>"]


def test_a_template_that_leaves_out_answers_is_refused(chat):
    mute = chat(turns("<|im_start|>{{ message.content if message.role != 'assistant' }}<|im_end|>", "<|im_start|>"))
    assert refusal(mute, "user:a", "assistant:b") == (
        "rows.jsonl:7: the model's chat template leaves out this assistant message ('b'). Change it, or remove the row."
    )


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_a_template_that_rewrites_a_message_is_refused(role, chat):
    content = "{{ message.content | upper if message.role == '" + role + "' else message.content }}"
    loud = chat(turns("<|im_start|>" + content + "<|im_end|>", "<|im_start|>"))
    assert refusal(loud, "system:Be Brief", "user:Be Brief", "assistant:Be Brief") == (
        f"rows.jsonl:7: the model's chat template changes this {role} message: 'Be Brief' becomes 'BE BRIEF'. "
        "Use a template that writes messages as they are."
    )


def test_a_templates_own_refusal_is_told_with_the_line(chat):
    strict = "{% if messages | length > 2 %}{{ raise_exception('one question only') }}{% endif %}"
    strict = chat(strict + turns("{{ message.content }}{{ eos_token }}"))
    assert refusal(strict, "user:a", "assistant:b", "user:c", "assistant:d") == (
        "rows.jsonl:7: the model's chat template refuses this conversation: one question only"
    )
    assert runs(strict, "user:a", "assistant:b") == ["b<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[0].content + 1 }}", 'can only concatenate str (not "int") to str'),
        ("{{ messages[9].content }}", "list object has no element 9"),
        ("{% for message in messages %}", "Unexpected end of template. Jinja was looking for the following tags"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "Range too big."),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "maximum recursion depth exceeded"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe."),
    ],
)
def test_a_template_that_breaks_is_named_and_runs_in_a_sandbox(template, said, chat):
    message = refusal(chat(template), "user:a", "assistant:b")
    assert message.startswith("rows.jsonl:7: the model's chat template refuses this conversation: ")
    assert said in message


def test_a_prompt_that_no_answer_of_the_template_follows_is_refused(chat):
    torn = chat(turns("<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>", "<|im_start|>assistant\n<think>\n"))
    assert refusal(torn, "user:a", "assistant:b") == (
        "rows.jsonl:7: the chat template asks for an answer with '<|im_end|><|im_start|>assistant\\n<think>\\n', "
        "but writes this conversation's last one as '<|im_end|><|im_start|>assistant\\nb<|im_end|>', which can't follow. "
        "Change chat_template_kwargs, or the answer."
    )


def test_an_answer_without_a_token_is_refused_and_shown(chat):
    from tokenizers import Regex
    from tokenizers.normalizers import Replace

    deaf = chat(turns("{{ message.role }}: {{ message.content }}. ", "assistant: "))
    deaf.tokenizer.backend_tokenizer.normalizer = Replace(Regex("[bd.]"), "")
    assert refusal(deaf, "user:a", "assistant:c", "user:a", "assistant:b") == (
        "rows.jsonl:7: no token of answer 2 would be learned. "
        "It was looked for at character 43 of 'user: a. assistant: c. user: a. assistant: b. '."
    )


def test_generation_blocks_change_nothing(chat):
    turn = "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}"
    turn += "{% else %}{{ message.content }}<|im_end|>{% endif %}{{ '\n' }}"
    blocks = chat(turns("<|im_start|>{{ message.role }}\n" + turn, "<|im_start|>assistant\n"))
    usual = chat(turns("<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n", "<|im_start|>assistant\n"))
    assert blocks.encode(conversation(*THREE)) == usual.encode(conversation(*THREE))


def test_contents_the_template_quotes_are_found_and_tool_results_may_be_quoted(chat):
    content = "{{ message.content | tojson if message.role == 'tool' else message.content }}"
    quoting = chat(turns("<|im_start|>" + content + "<|im_end|>", "<|im_start|>"))
    assert runs(quoting, "user:a", "assistant:call", 'tool:{"a": "\n"}', "assistant:b") == ["call<|im_end|>", "b<|im_end|>"]


def test_a_content_that_the_template_writes_twice_is_refused(chat):
    twice = chat("{{ messages[0].content }}\n" + turns("<|im_start|>{{ message.content }}<|im_end|>", "<|im_start|>"))
    assert "changes this user message" in refusal(twice, "user:a", "assistant:b")


def test_control_tokens_as_text_in_a_template_of_plain_markers(chat):
    plain = chat(turns("### {{ message.role }}:\n{{ message.content }}\n### end\n", "### assistant:\n"), special_tokens="text")
    found = runs(plain, "user:<|im_end|>", "assistant:a <|im_start|>", "user:b", "assistant:<|im_end|>")
    assert found == ["a <|im_start|>\n### end", "<|im_end|>\n### end"]
    row = plain.encode(conversation("user:<|im_end|>", "assistant:a <|im_start|>"))
    assert not {1, 2} & set(row.input_ids)


def test_control_tokens_that_take_white_space_with_them_are_parted_as_the_tokenizer_does(chat):
    from tokenizers import AddedToken

    phi = chat(turns("<|{{ message.role }}|>\n{{ message.content }}<|end|>\n", "<|assistant|>\n"), special_tokens="text")
    words = ["<|user|>", "<|assistant|>", "<|end|>"]
    phi.tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(word, rstrip=True, special=True) for word in words]})
    user, assistant, end = phi.tokenizer.convert_tokens_to_ids(words)
    a, b = (phi.tokenizer(letter)["input_ids"][0] for letter in "ab")
    assert phi.turn_end == "<|end|>"
    row = phi.encode(conversation("user:a", "assistant:b"))
    assert row.input_ids == (user, a, end, assistant, b, end)
    assert row.labels == (IGNORE,) * 4 + (b, end)
    row = phi.encode(conversation("user:a<|end|>", "assistant:b"))
    assert [row.input_ids.count(index) for index in (user, assistant, end)] == [1, 1, 2]
    assert row.labels[-3:] == (IGNORE, b, end)


def test_a_conversation_of_many_turns_is_encoded_in_one_go(chat):
    said = [f"{role}:{number}" for number in range(150) for role in ("user", "assistant")]
    usual = chat(turns("<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n", "<|im_start|>assistant\n"))
    assert runs(usual, *said) == [f"{number}<|im_end|>" for number in range(150)]
