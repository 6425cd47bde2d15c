"""What TEMPLATE writes in Go's own text/template has the token ids that the tokenizer's own template has: the families' real tokenizers."""

from __future__ import annotations

import datetime
import functools
import unicodedata

import pytest

from tests import families
from tests.export.chat_templates import chat as messages_of
from tests.export.test_llamacpp import LlamaCpp
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.export.ollama_template import proof_conversations
from unsloth_ft.export.ollama_model import ollama_template

MORE = {
    "a question alone": messages_of("user:Hi"),
    "digits and code": messages_of("user:x = [1, 23, 456, 7890]", "assistant:```py\nprint(x)\n```", "user:def f(x):\n\treturn x ** 2"),
    "a system text of several lines": messages_of("system:You are brief.\n\n- one\n- two", "user:写一首诗 🙂", "assistant:好。", "user:لماذا؟"),
    "line ends in a row": messages_of("user:a\n\n\n\nb\r\n\r\nc", "assistant:d \n e", "user:f\t\tg"),
}


@pytest.fixture(scope="module")
def prepared(family_dir):
    """`prepared("qwen3")` → the family's chat, the derived TEMPLATE, the BOS that the runner adds, and the conversations to render."""

    @functools.cache
    def get(family):
        chat = Chat(load_tokenizer(family_dir(family)))
        template, tokenizers = ollama_template(chat)
        bos = tokenizers.bos_token if tokenizers.drop_bos else ""
        proofs = dict(proof_conversations(trimmed=template.trimmed, with_system=template.takes_system))
        return chat, template, bos, {**proofs, **MORE}

    return get


@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_the_ids_of_what_go_writes_are_the_tokenizers_own(family, prepared, go_render):
    chat, template, bos, conversations = prepared(family)
    written = go_render([(template.text, messages) for messages in conversations.values()])
    other = []
    for (name, messages), text in zip(conversations.items(), written, strict=True):
        rendered = chat.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        if bos + text != rendered or chat.ids(bos + text) != chat.ids(rendered):
            other.append(name)
    assert other == []
    assert len(conversations) == 84 or not template.takes_system


@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_the_runner_makes_the_same_ids_with_the_bos_that_it_adds(family, prepared, family_gguf, go_render):
    """llama.cpp, asked as Ollama asks it: TEMPLATE's text, special tokens recognized, and BOS added where the file says so."""
    chat, template, _, conversations = prepared(family)
    # Qwen's tokenizer normalizes to NFC and llama.cpp never does: the one known difference, see test_llamacpp.py.
    plain = [[m | {"content": unicodedata.normalize("NFC", m["content"])} for m in messages] for messages in conversations.values()]
    written = go_render([(template.text, messages) for messages in plain])
    with LlamaCpp(family_gguf(family, "f16")) as llama:
        found = [llama.post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"] for text in written]
    wanted = [chat.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) for messages in plain]
    assert [name for name, one, other in zip(conversations, found, wanted, strict=True) if one != other] == []


FIXED = {"llama31": {"date_string": "26 Jul 2024"}}  # what the template itself says where no date is given


@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_the_template_inside_the_file_writes_the_same_text_in_llama_cpp(family, prepared, family_gguf):
    """What newer Ollama uses in TEMPLATE's place where the file's own chat template knows tools: llama.cpp's Jinja engine on it."""
    chat, _, bos, conversations = prepared(family)
    more = {"chat_template_kwargs": FIXED.get(family, {})}
    with LlamaCpp(family_gguf(family, "f16")) as llama:
        found = [bos + llama.post("/apply-template", {"messages": m, **more})["prompt"] for m in conversations.values()]
    wanted = [chat.tokenizer.apply_chat_template(m, tokenize=False, add_generation_prompt=True) for m in conversations.values()]
    assert [name for name, one, other in zip(conversations, found, wanted, strict=True) if one != other] == []


def test_llama_cpp_dates_llama_3_by_the_day_unless_told(prepared, family_gguf):
    """The one known difference of its engine, and the note that says so."""
    _, template, _, _ = prepared("llama31")
    with LlamaCpp(family_gguf("llama31", "f16")) as llama:
        days = [datetime.date.today().strftime("%d %b %Y")]
        text = llama.post("/apply-template", {"messages": MORE["a question alone"]})["prompt"]
        days.append(datetime.date.today().strftime("%d %b %Y"))
        answers = [llama.chat(MORE["a question alone"], max_new_tokens=8, template_kwargs=more) for more in (None, FIXED["llama31"])]
    assert [day for day in days if f"Today Date: {day}\n" in text] != []
    assert answers[0] != answers[1]
    assert [note[:32] for note in template.notes if "date_string" in note] == ["TEMPLATE writes '26 Jul 2024', a"]


def test_a_text_with_another_ending_has_other_ids(prepared, go_render):
    chat, template, bos, _ = prepared("smollm2")
    spoilt = template.text.replace("<|im_start|>assistant\n", "<|im_start|>assistant")
    assert spoilt != template.text
    right, wrong = go_render([(template.text, MORE["a question alone"]), (spoilt, MORE["a question alone"])])
    assert chat.ids(bos + right) != chat.ids(bos + wrong)
