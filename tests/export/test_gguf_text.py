"""Token ids of HF's tokenizer and of llama.cpp on many texts; where they must differ, llama.cpp's are foreseen."""

from __future__ import annotations

import unicodedata

import pytest
from tokenizers import Tokenizer

from tests import families
from unsloth_ft.chat import Chat
from unsloth_ft.export.gguf_text import cut_otherwise, ids, llama_cpp_tokenizer
from unsloth_ft.export.llamacpp import LlamaCpp
from unsloth_ft.export.probes import PROBES, rendered_conversations, rendered_probes

# Beside the probes: what stands alone, begins with spaces, or is not in Unicode's form C.
TEXTS = (
    " leading",
    "  two",
    "\u00a0no break",
    "trailing ",
    "tab\t",
    "a//b /c\n/ \r\n/",
    "x=[1,2];//comment\r\n\r\n",
    "\u2028line\u2029paragraph\u0085next",
    "camelCaseÉtéDONE snakeÖl_Ärger",
    "МИР Мир миР ПриветМир",
    "ﬁ ﬂ ①②③ Ⅷ",
    "İstanbul ığüşöç",
    "ǅ ǆ ʰ ª º",
    "\u0000\u0001\u007f",
    "\ufeffbyte order mark",
    "ÉTAT SÉCURITÉ ÄRGER CAFÉS",
    "[INST] <s> <|im_end|> <|eot_id|> <0x41>",
    "▁the ▁",
)
MARKS = ("हिन्दी में लिखा", "हिन्दी में नमस्ते", "ไทยไม่มีช่องว่าง")  # llama.cpp's expression for tekken has no combining marks
END = ("struck <s>out</s>",)  # an unused entry of Qwen's vocabulary is spelled like an end token
DECOMPOSED = tuple(unicodedata.normalize("NFD", text) for text in ("café", "Ångström", "한국어"))
EVERY = tuple(dict.fromkeys((*PROBES, *TEXTS, *MARKS, *END, *DECOMPOSED)))


# One family of each tokenizer: Llama 3.1 and Qwen2.5 have the same as these, up to added tokens.
@pytest.fixture(scope="module", params=[family for family in families.EXPORT_FAMILIES if family not in ("llama31", "qwen25")])
def opened(request, family_dir, family_gguf):
    folder = family_dir(request.param)
    with LlamaCpp(family_gguf(request.param, "q8_0"), threads=1) as llama:
        yield request.param, folder, Tokenizer.from_file(str(folder / "tokenizer.json")), llama


def alone(family, text):
    """A text as llama.cpp must get it to be what HF makes of it: SentencePiece's tokenizer puts a space before the first word."""
    return f" {text}" if family == "mistral-v03" and not text.startswith((" ", "▁", "[INST]")) else text


def test_ids_are_those_of_the_tokenizer_or_foreseen(opened):
    family, folder, tokenizer, llama = opened
    foreseen = llama_cpp_tokenizer(folder)
    found = {text: llama.tokenize(alone(family, text)) for text in EVERY}
    assert {text: found[text] for text in EVERY if found[text] != ids(foreseen, text)} == {}
    assert [text for text in EVERY if found[text] != ids(tokenizer, text)] == cut_otherwise(folder, EVERY)


def test_only_three_kinds_of_text_differ(opened):
    family, folder, _, _ = opened
    different = {"mistral-nemo": MARKS, "qwen3": (*END, *DECOMPOSED)}
    assert set(cut_otherwise(folder, EVERY)) == set(different.get(family, ()))


def test_ids_of_whole_chats_are_those_of_the_tokenizer(opened):
    from transformers import AutoTokenizer

    family, folder, tokenizer, llama = opened
    chat = Chat(AutoTokenizer.from_pretrained(folder))
    texts = [*rendered_probes(chat), *rendered_conversations(chat)]
    different = [text for text in texts if llama.tokenize(text) != ids(tokenizer, text)]
    assert different == cut_otherwise(folder, texts)
    assert len(different) == (2 if family == "mistral-nemo" else 0)  # Hindi and Thai
