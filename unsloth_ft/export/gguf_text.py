"""The tokenizer as llama.cpp runs it, where that is not the tokenizer itself, whatever stands in the GGUF file.

Three things no metadata field can say (all in src/llama-vocab.cpp). llama.cpp normalizes nothing, so text that is not in Unicode's
form C gets other ids than from Qwen's tokenizer. Its expression for tekken has no combining marks, so Hindi and Thai are cut otherwise
than by Mistral Nemo's tokenizer. And it takes a token spelled like an end token for one: `</s>` is an unused entry of Qwen's
vocabulary. Files of llama.cpp's own converter behave the same. Here this is computed, so that the gate can tell it from a damaged file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsloth_ft.export.gguf_vocab import ENDS_BY_TEXT, splitting_rule

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_OTHER, _WORD = r"[^\r\n\p{L}\p{N}]?", (r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])")
# Rule of tokenizer.ggml.pre → llama.cpp's expression, where it is not the tokenizer's.
LLAMA_CPP_SPLITS = {
    "tekken": rf"{_OTHER}{_WORD[0]}*{_WORD[1]}+|{_OTHER}{_WORD[0]}+{_WORD[1]}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
}


def llama_cpp_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with llama.cpp's splitting, without normalization: its ids are those of llama.cpp.

    Raises: UserError for a tokenizer that `gguf_vocab.RULES` does not know.
    """
    from tokenizers import Tokenizer

    value = json.loads(tokenizer.to_str())
    if not value["model"].get("byte_fallback"):  # SentencePiece's normalizer is written as add_space_prefix
        rule = splitting_rule(value, Path("tokenizer.json"))
        value["normalizer"] = None
        if rule.name in LLAMA_CPP_SPLITS:
            split_part(value["pre_tokenizer"])["pattern"] = {"Regex": LLAMA_CPP_SPLITS[rule.name]}
    other = Tokenizer.from_str(json.dumps(value))
    other.add_special_tokens([text for text in ENDS_BY_TEXT if text in value["model"]["vocab"]])
    return other


def split_part(pre_tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The Split of a pre-tokenizer that RULES knows."""
    return next(part for part in pre_tokenizer["pretokenizers"] if part["type"] == "Split")


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids
