"""A tokenizer for a checkpoint with random weights: byte-level BPE of the real size, with the real special tokens at their real ids.

The words are not the model's: every pair of bytes is a token, then triples of the common ones. Text comes out two to three bytes a token
(real ones: about four), and every id of the vocabulary stands for something.
"""

from __future__ import annotations

import itertools
import json
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# How text is cut before merging. transformers builds Qwen2's tokenizer by its own rule whatever tokenizer.json says, so Qwen has that one,
# the others Llama 3's; both are known to llama.cpp. From llama_models/llama3/tokenizer.py and transformers' tokenization_qwen2.py.
QWEN2_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = QWEN2_PATTERN.replace(r"|\p{N}| ?", r"|\p{N}{1,3}| ?")
IN_TRIPLES = 48  # commonest bytes; 256 + 256² + 48³ = 176,384 tokens, more than any vocabulary here

LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }}[/INST]"
    "{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Special:
    """Special tokens: `tokens` from id `first` on; which of them have a part; how a conversation is written."""

    first: int
    tokens: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str
    ends: tuple[str, ...]
    """generation_config's eos_token_id: whatever ends an answer."""
    template: str
    adds_bos: bool = False
    """Whether text gets the bos token in front of it."""
    pattern: str = LLAMA3_PATTERN
    normalizer: dict[str, str] | None = None
    ignore_merges: bool = True
    """Llama 3: a piece of text that is a word is that word, whatever its merges would make of it."""

    def id_of(self, token: str) -> int:
        return self.first + self.tokens.index(token)


def _llama3_tokens() -> tuple[str, ...]:
    """256 of them; the numbers of the reserved ones go on where a named one stands between."""
    named = {0: "begin_of_text", 1: "end_of_text", 4: "finetune_right_pad_id", 6: "start_header_id", 7: "end_header_id"}
    named |= {8: "eom_id", 9: "eot_id", 10: "python_tag"}
    reserved = itertools.count()
    return tuple(f"<|{named[i]}|>" if i in named else f"<|reserved_special_token_{next(reserved)}|>" for i in range(256))


_QWEN2_TOKENS = (
    *(f"<|{name}|>" for name in ("endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end")),
    *(f"<|{name}|>" for name in ("quad_start", "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad")),
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
)
_QWEN3_TOKENS = (*_QWEN2_TOKENS, "<tool_response>", "</tool_response>", "<think>", "</think>")
_MISTRAL_NAMED = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]")
_MISTRAL_NAMED = (*_MISTRAL_NAMED, "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
_SMOLLM2_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>", "<gh_stars>"),
    *("<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>"),
    *("<jupyter_script>", "<empty_output>"),
)


def _qwen(tokens: tuple[str, ...]) -> Special:
    return Special(
        151643,
        tokens,
        bos=None,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        ends=("<|im_end|>", "<|endoftext|>"),
        template=CHATML_TEMPLATE,
        pattern=QWEN2_PATTERN,
        normalizer={"type": "NFC"},
        ignore_merges=False,
    )


# From the models' tokenizer.json, tokenizer_config.json and generation_config.json on the hub.
SPECIAL = {
    "llama3": Special(
        128000,
        _llama3_tokens(),
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        pad="<|finetune_right_pad_id|>",
        ends=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        template=LLAMA3_TEMPLATE,
        adds_bos=True,
    ),
    # 771 control tokens: the pieces up to <0x00> in mistral-common's tokenizer v3; the pad token is one that is never written.
    "mistral-v3": Special(
        0,
        (*_MISTRAL_NAMED, *(f"[control_{i}]" for i in range(8, 769))),
        bos="<s>",
        eos="</s>",
        pad="[control_768]",
        ends=("</s>",),
        template=MISTRAL_TEMPLATE,
        adds_bos=True,
    ),
    "qwen2": _qwen(_QWEN2_TOKENS),
    "qwen3": _qwen(_QWEN3_TOKENS),
    "smollm2": Special(
        0,
        _SMOLLM2_TOKENS,
        bos="<|im_start|>",
        eos="<|im_end|>",
        pad="<|endoftext|>",
        ends=("<|im_end|>",),
        template=CHATML_TEMPLATE,
    ),
}


def special_ids(special: Special) -> dict[str, Any]:
    """bos_token_id, eos_token_id and pad_token_id, for config.json; generation_config.json ends at all of `ends`."""
    bos = {"bos_token_id": special.id_of(special.bos)} if special.bos else {}
    return {**bos, "eos_token_id": special.id_of(special.eos), "pad_token_id": special.id_of(special.pad)}


def write_tokenizer(special: Special, folder: Path, *, vocab_size: int, longest: int) -> None:
    """tokenizer.json and tokenizer_config.json. `longest`: the model's positions, in tokens."""
    written = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(special.first + i, token) for i, token in enumerate(special.tokens)],
        "normalizer": special.normalizer,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": special.pattern}, "behavior": "Isolated", "invert": False},
                _byte_level(use_regex=False),
            ],
        },
        "post_processor": _begins_with(special.bos, special.id_of(special.bos)) if special.bos and special.adds_bos else None,
        "decoder": _byte_level(use_regex=True),
        "model": _bpe(special, vocab_size),
    }
    (folder / "tokenizer.json").write_text(json.dumps(written, ensure_ascii=False) + "\n", encoding="utf-8")
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": special.bos,
        "eos_token": special.eos,
        "pad_token": special.pad,
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        "chat_template": special.template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _bpe(special: Special, vocab_size: int) -> dict[str, Any]:
    """The words around the special tokens: from id 0 up to them, or behind them up to the last row of the embedding."""
    behind = special.first == 0
    count = vocab_size - len(special.tokens) if behind else special.first
    begin = len(special.tokens) if behind else 0
    words = list(itertools.islice(_words(), count))
    vocabulary = {token: special.first + i for i, token in enumerate(special.tokens)} if behind else {}
    vocabulary |= {"".join(parts): begin + i for i, parts in enumerate(words)}
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": special.ignore_merges,
        "vocab": vocabulary,
        "merges": [list(parts) for parts in words if len(parts) == 2],
    }


def _words() -> Iterator[tuple[str, ...]]:
    """Bytes, then pairs and triples of them, each as the parts that a merge joins; the common bytes first."""
    letters = [_characters()[value] for value in _common_bytes()]
    yield from ((letter,) for letter in letters)
    yield from itertools.product(letters, repeat=2)
    yield from ((first + second, third) for first, second, third in itertools.product(letters[:IN_TRIPLES], repeat=3))


def _common_bytes() -> list[int]:
    """All 256, by how common they are in English text, roughly."""
    common = (" " + string.ascii_lowercase + ".,\n" + string.ascii_uppercase + string.digits).encode()
    return [*common, *(value for value in range(256) if value not in common)]


def _characters() -> dict[int, str]:
    """GPT-2's alphabet of byte-level BPE: printable bytes stand for themselves, the others for characters from U+0100 on."""
    printable: Iterable[int] = (*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1))
    alphabet = {value: chr(value) for value in printable}
    others = (value for value in range(256) if value not in alphabet)
    return alphabet | {value: chr(0x100 + i) for i, value in enumerate(list(others))}


def _added(index: int, content: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": content, **flags, "special": True}


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _begins_with(token: str, index: int) -> dict[str, Any]:
    first = {"SpecialToken": {"id": token, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, first, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [index], "tokens": [token]}},
    }
