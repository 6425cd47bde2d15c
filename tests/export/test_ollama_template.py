"""The derived TEMPLATE equals the tokenizer's chat template, by our evaluator and by Go's own; what can't equal it is refused."""

from __future__ import annotations

import datetime

import pytest

from tests.export.chat_templates import MADE_UP, NOT_EXPRESSIBLE, PUBLISHED, Case, chat
from unsloth_ft.errors import UserError
from unsloth_ft.export.ollama_template import derive_template, proof_conversations

TRIMS = {"llama31": ("system", "user", "assistant"), "no system message": ("user", "assistant")}


def claimed(name: str) -> list[tuple[str, list[dict]]]:
    return proof_conversations(trimmed=TRIMS.get(name, ()), with_system=name != "no system message")


@pytest.mark.parametrize("name", [*PUBLISHED, *MADE_UP])
def test_derived_template_writes_what_the_tokenizer_writes_by_gos_own_engine(name, cases, derived, go_render):
    conversations = claimed(name)
    written = go_render([(derived[name].text, messages) for _, messages in conversations])
    for (label, messages), text in zip(conversations, written, strict=True):
        assert text == cases[name].chat_template().text(messages), label


@pytest.mark.parametrize("name", [*PUBLISHED, *MADE_UP])
def test_our_evaluator_writes_what_gos_own_engine_writes(name, derived, go_render):
    conversations = [messages for _, messages in proof_conversations()]
    written = go_render([(derived[name].text, messages) for messages in conversations])
    assert ["".join(derived[name].render_pieces(messages)) for messages in conversations] == written


def test_proof_conversations_cover_turns_system_and_odd_texts():
    conversations = proof_conversations()
    assert len(conversations) == 2 * 10 * 4
    assert {len(messages) for _, messages in conversations} == {1, 2, 3, 4, 5, 6, 9, 10}
    together = "".join(message["content"] for _, messages in conversations for message in messages)
    for part in ("{{ .System }}", "}}", "\\n", '"""', "保証", "\r\n", "\u00a0", "\n\nbefore"):
        assert part in together


def test_qwen25_template_is_readable_chatml_with_its_default_system_prompt(derived):
    assert derived["qwen25"].text == (
        "<|im_start|>system\n"
        "{{ if .System }}{{ .System }}\n"
        "{{- else }}You are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n"
        "{{- end }}<|im_end|>\n"
        "{{ range $i, $m := .Messages }}\n"
        '{{- if eq .Role "user" }}<|im_start|>user\n'
        "{{ .Content }}<|im_end|>\n"
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n'
        "{{ .Content }}<|im_end|>\n"
        "{{ end }}\n"
        "{{- end }}<|im_start|>assistant\n"
    )


def test_smollm2_names_itself_when_no_system_message_is_given(derived):
    assert "".join(derived["smollm2"].render_pieces(chat("user:Hi"))) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_llama31_header_is_there_with_and_without_system_and_the_bos_is_left_to_the_runner(derived):
    header = "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    rest = "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    assert "".join(derived["llama31"].render_pieces(chat("user:Hi"))) == header + rest
    assert "".join(derived["llama31"].render_pieces(chat("system:Be brief.", "user:Hi"))) == header + "Be brief." + rest


def test_mistral_puts_the_system_text_into_the_last_user_message(derived):
    messages = chat("system:Be brief.", "user:one", "assistant:1", "user:two")
    assert "".join(derived["mistral-v03"].render_pieces(messages)) == "[INST] one[/INST] 1</s>[INST] Be brief.\n\ntwo[/INST]"
    assert "".join(derived["mistral-nemo"].render_pieces(messages)) == "[INST]one[/INST]1</s>[INST]Be brief.\n\ntwo[/INST]"


def test_bos_stays_in_the_template_when_the_runner_adds_none(cases):
    case = cases["mistral-v03"]
    kept = derive_template(case.render, bos_token="<s>", drop_bos=False)
    assert "".join(kept.render_pieces(chat("user:one"))) == "<s>[INST] one[/INST]"


def test_a_runner_that_adds_a_bos_the_template_does_not_write_is_refused(cases):
    with pytest.raises(UserError) as raised:
        derive_template(cases["qwen25"].render, bos_token="<|endoftext|>", drop_bos=True)
    assert str(raised.value) == (
        "chat template: begins with '<|im_start|>system\\nYou a', but the GGUF's add_bos_token makes Ollama put '<|endoftext|>' before it;"
        " expected the template to begin with '<|endoftext|>'. Write the GGUF with add_bos_token false and pass drop_bos=False."
    )


def test_trimmed_roles_are_named(derived):
    note = "The tokenizer's template trims {} texts, Ollama's templates do not: equal for texts without outer white space."
    assert note.format("system, user, assistant") in derived["llama31"].notes
    assert note.format("user, assistant") in derived["no system message"].notes
    assert not [name for name in ("qwen25", "qwen3", "mistral-v03", "smollm2") if any("trims" in note for note in derived[name].notes)]


@pytest.mark.parametrize("cut", ["lstrip('\\n')", "rstrip()", "strip('\\n')"])
def test_a_template_that_trims_one_side_or_line_ends_only_is_named_too(cut):
    case = Case("{% for m in messages %}{{ m.role }}: {{ m.content." + cut + " if m.role == 'assistant' else m.content }}\n{% endfor %}a:")
    assert derive_template(case.render, bos_token=None, drop_bos=False).trimmed == ("assistant",)


def test_think_blocks_and_endings_that_ollama_can_not_treat_alike_are_named(derived):
    assert "Not equal to the tokenizer's template: an earlier answer that still holds its <think> block." in derived["qwen3"].notes
    assert "Not equal to the tokenizer's template: a conversation that ends with the assistant." in derived["qwen3"].notes
    assert not any("<think>" in note or "ends with" in note for note in derived["qwen25"].notes)


def test_a_template_without_system_messages_says_so(derived):
    refuses, ignores = derived["no system message"], derived["system ignored"]
    assert not refuses.takes_system and not ignores.takes_system
    assert (
        "The tokenizer's template refuses system messages (TemplateError: System role not supported); TEMPLATE leaves them out."
        in refuses.notes
    )
    assert "The tokenizer's template leaves system messages out, and so does TEMPLATE." in ignores.notes


def test_a_date_that_changes_with_the_day_is_named():
    case = Case("Today: {{ strftime_now('%d %B %Y') }}\n{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")
    today = datetime.date.today().strftime("%d %B %Y")
    template = derive_template(case.render, bos_token=None, drop_bos=False)
    note = f"The tokenizer's template writes the day it is used; TEMPLATE writes {today!r}, the day of this export, on every day."
    assert note in template.notes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "turns are counted",
            "TEMPLATE: conversation '2 turns, without system, plain text' differs from the tokenizer's chat template at character 103,"
            " after 'rranty of part 1 cover?\\n': the tokenizer writes '3. user: What does the warranty of part ', TEMPLATE '5. user: ",
        ),
        (
            "texts are changed",
            "TEMPLATE: conversation '1 turn, without system, backslashes' differs from the tokenizer's chat template at character 8,"
            " after 'user: C:': the tokenizer writes '/new/table /n is not a line //\\nassistant', TEMPLATE '\\\\new\\\\table",
        ),
        ("a text is written twice", "chat template: writes message 0 (user) 2 times or out of order in 'user: xqzuser0zqx xqzuser0zqx\\n'"),
        (
            "a text is looked up by its value",
            "TEMPLATE: conversation '2 turns, without system, quotes' differs from the tokenizer's chat template at character 0,"
            " after '': the tokenizer writes 'LAST user: He said",
        ),
        ("one turn only", "chat template: refuses a conversation of three turns (TemplateError: one turn)"),
        ("tools are needed", "chat template: refuses a conversation of one user message (TypeError: 'NoneType' object is not iterable)"),
        ("nothing is accepted", "chat template: refuses a conversation of one user message (TemplateError: tools only)"),
    ],
)
def test_a_template_that_can_not_be_expressed_is_refused_with_the_place(name, message):
    case = NOT_EXPRESSIBLE[name]
    with pytest.raises(UserError) as raised:
        derive_template(case.render, bos_token=case.bos_token, drop_bos=case.drop_bos)
    assert str(raised.value).startswith(message)
