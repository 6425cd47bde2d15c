"""Token ids of HF's tokenizer and of llama.cpp on many texts; where they must differ, llama.cpp's are foreseen."""

from __future__ import annotations

import unicodedata

import pytest
from tokenizers import Tokenizer

from tests import families
from unsloth_ft.chat import Chat
from unsloth_ft.export.gguf_text import encode, llama_cpp_tokenizer
from unsloth_ft.export.in_llamacpp import token_ids
from unsloth_ft.export.llamacpp import LlamaCpp
from unsloth_ft.export.probes import PROBES

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
def cut_otherwise(tokenizer, texts):
    """The texts that llama.cpp is foreseen to give other ids than the tokenizer does."""
    other = llama_cpp_tokenizer(tokenizer)
    return [text for text in texts if encode(tokenizer, text) != encode(other, text)]


@pytest.fixture(scope="module", params=[family for family in families.EXPORT_FAMILIES if family not in ("llama31", "qwen25")])
def opened(request, family_dir, family_gguf):
    folder = family_dir(request.param)
    with LlamaCpp(family_gguf(request.param, "q8_0"), threads=1) as llama:
        yield request.param, folder, Tokenizer.from_file(str(folder / "tokenizer.json")), llama


def alone(family, text):
    """A text as llama.cpp must get it to be what HF makes of it: SentencePiece's tokenizer puts a space before the first word."""
    return f" {text}" if family == "mistral-v03" and not text.startswith((" ", "▁", "[INST]")) else text


def test_ids_are_those_of_the_tokenizer_or_foreseen(opened):
    family, _, tokenizer, llama = opened
    foreseen = llama_cpp_tokenizer(tokenizer)
    found = {text: llama.tokenize(alone(family, text)) for text in EVERY}
    assert {text: found[text] for text in EVERY if found[text] != encode(foreseen, text)} == {}
    assert [text for text in EVERY if found[text] != encode(tokenizer, text)] == cut_otherwise(tokenizer, EVERY)


def test_only_three_kinds_of_text_differ(opened):
    family, _, tokenizer, _ = opened
    different = {"mistral-nemo": MARKS, "qwen3": (*END, *DECOMPOSED)}
    assert set(cut_otherwise(tokenizer, EVERY)) == set(different.get(family, ()))


def test_a_gate_takes_whole_chats_as_llama_cpp_cuts_them_and_says_so(opened):
    from transformers import AutoTokenizer

    family, folder, _, llama = opened
    line = token_ids(llama, Chat(AutoTokenizer.from_pretrained(folder)))
    foreseen = "; 2 cut otherwise by llama.cpp's own rule, as from every GGUF of this tokenizer"  # Hindi and Thai
    assert line["ok"]
    assert line["found"].partition(" with other ids")[2] == (foreseen if family == "mistral-nemo" else "")
    assert line["found"].startswith(f"{len(PROBES)} texts and ")
