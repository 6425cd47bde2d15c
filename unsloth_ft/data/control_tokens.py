"""Spellings of the known families' control tokens in a text that is not meant to hold any.

The tokenizer of a family turns such a spelling into the token itself, so a question could end its own turn. Which tokens a model really
has, only its tokenizer knows; with a recipe or a model named, `chat.Chat` refuses exactly those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType

from .content import Problem
from .wording import quote

# From the families' tokenizer_config.json and chat templates (tests/golden/templates holds some).
_FAMILIES = MappingProxyType(
    {
        "ChatML (Qwen, SmolLM2 and others)": ("<|im_start|>", "<|im_end|>", "<|im_sep|>"),
        "GPT-2 and Qwen": ("<|endoftext|>",),
        "Llama 3": (
            "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
            "<|python_tag|>", "<|finetune_right_pad_id|>",
        ),
        "Llama 4": ("<|header_start|>", "<|header_end|>", "<|eot|>", "<|eom|>"),
        "Llama 2": ("<<SYS>>", "<</SYS>>"),
        "Llama 2 and Mistral": ("[INST]", "[/INST]"),
        "Mistral": (
            "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[SYSTEM_PROMPT]",
            "[/SYSTEM_PROMPT]",
        ),
        "Gemma": ("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>"),
        "Phi and GLM": ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|observation|>"),
        "GPT-OSS": ("<|start|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"),
        "DeepSeek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        "Command R": ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
        "code models": ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_sep|>", "<|repo_name|>"),
        "Granite": ("<|start_of_role|>", "<|end_of_role|>"),
    }
)  # fmt: skip
MARKS = (
    "<|",
    "INST]",
    "SYS>>",
    "_of_turn>",
    "<bos>",
    "<eos>",
    "<｜",
    "[TOOL_",
    "_TOOLS]",
    "SYSTEM_PROMPT]",
    "<s>",
    "</s>",
)  # one in every spelling


def _pattern() -> re.Pattern[str]:
    spellings = sorted((token for tokens in _FAMILIES.values() for token in tokens), key=len, reverse=True)
    # a[INST] is an element of an array, in code.
    words = [(r"(?<![\w\[\])])" if token[0] == "[" else "") + re.escape(token) for token in spellings]
    # <s> and </s> are HTML's strike-through too: as the token they stand at a text's end alone, without the other.
    return re.compile("|".join([*words, r"<\|reserved_special_token_[0-9]+\|>", r"\A<s>(?!.*</s>)", r"(?<!<s>)</s>\s*\Z"]), re.DOTALL)


_TOKENS = _pattern()
_FAMILY_OF = MappingProxyType({token: family for family, tokens in _FAMILIES.items() for token in tokens})


def control_tokens(text: str, name: str) -> Iterator[Problem]:
    """A warning at the first spelling; `name` is what messages call the text."""
    for found in _TOKENS.finditer(text):
        spelling = found[0].strip()
        if spelling == "</s>" and "<s>" in text:
            continue
        family = _FAMILY_OF.get(spelling, "Llama 3" if "reserved" in spelling else "Llama 2 and Mistral")
        place = f"{name} holds {quote(spelling)} at character {found.start() + 1}, a control token of {family}"
        yield Problem("control-token", f"{place}; expected plain text, since such a model would obey it. Remove or rewrite it.", "warning")
        return
