"""The vocabulary of a GGUF file: tokens, types, scores, merges, special ids and the chat template of an HF tokenizer.

llama.cpp builds its tokenizer from these alone. A byte-level BPE needs `tokenizer.ggml.pre`, the name of a splitting rule that is
compiled into llama.cpp; a wrong one loads, answers, and babbles. So the rule is read from tokenizer.json and must equal, in every
part, one of the rules in RULES; anything else is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsloth_ft.base_model import read_json
from unsloth_ft.errors import UserError

# Token types, gguf.TokenType.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# What llama.cpp takes for an end of generation by its text alone (src/llama-vocab.cpp, "special_eog_ids"), of the families here.
# Any other end token must stand in one of the metadata fields eos, eot, eom.
ENDS_BY_TEXT = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<|end_of_text|>", "<EOT>")

ADDED_SCORE, UNUSED_SCORE = -1000.0, -10000.0  # of SentencePiece, as llama.cpp's converter writes them

# Added tokens that llama.cpp's converter takes for special ones (conversion/base.py, does_token_look_special).
SPECIAL_BY_TEXT = ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
SPECIAL_BY_FRAME = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))

_QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _QWEN2.replace(r"|\p{N}| ?", r"|\p{N}{1,3}| ?")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Rule:
    """How a byte-level BPE cuts text before merging: `steps` as `describe_steps` writes them."""

    name: str  # the value of tokenizer.ggml.pre
    steps: tuple[str, ...]
    normalizers: tuple[str | None, ...]
    ignore_merges: bool


# Each from llama.cpp's src/llama-vocab.cpp: the regular expressions of the pre-tokenizer type, and its ignore_merges.
# llama.cpp does not normalize: text that is not in NFC gets other ids there than from Qwen's tokenizer.
RULES = (
    Rule("llama-bpe", (f"split {_LLAMA3}", "bytes"), (None,), True),
    Rule("qwen2", (f"split {_QWEN2}", "bytes"), (None, "NFC"), False),
    Rule("tekken", (f"split {_TEKKEN}", "bytes"), (None,), True),
    Rule("smollm", ("digits one by one", "bytes after GPT-2's split"), (None,), False),
)


@dataclass(frozen=True)
class Vocabulary:
    """What is written under `tokenizer.*`. `scores` is empty for byte-level BPE, `merges` for SentencePiece."""

    model: str  # "gpt2" (byte-level BPE) or "llama" (SentencePiece)
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...]
    merges: tuple[str, ...]
    special_ids: dict[str, int]  # "bos", "eos", "eot", "eom", "unk", "pad"
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool | None
    chat_template: str | list[dict[str, str]] | None

    def padded(self, size: int) -> Vocabulary:
        """The same with unused tokens up to `size`, the rows of the embedding: llama.cpp wants a token for each row."""
        extra = range(len(self.tokens), size)
        return Vocabulary(
            **{
                **self.__dict__,
                "tokens": self.tokens + tuple(f"[PAD{i}]" for i in extra),
                "types": self.types + (UNUSED,) * len(extra),
                "scores": self.scores + (UNUSED_SCORE,) * len(extra) if self.scores else (),
            }
        )


def read_vocabulary(model_dir: Path, *, vocab_size: int) -> Vocabulary:
    """The vocabulary of the tokenizer in `model_dir`, with unused tokens up to `vocab_size`, the rows of the embedding.

    Raises: UserError when a file is missing, the kind or the splitting rule is unknown to llama.cpp, or an id does not fit.
    """
    tokenizer = read_json(model_dir / "tokenizer.json")
    config = read_json(model_dir / "tokenizer_config.json")
    where = model_dir / "tokenizer.json"
    model = tokenizer["model"]
    if model["type"] != "BPE":
        raise UserError(f"{where}: the vocabulary kind is {model['type']!r}; GGUF export knows BPE (byte-level, or SentencePiece's).")
    check_added_tokens(tokenizer["added_tokens"], where)
    tokens, types = tokens_and_types(tokenizer, where=where, vocab_size=vocab_size)
    sentencepiece = bool(model.get("byte_fallback"))
    if sentencepiece:
        pre, scores, merges = "default", sentencepiece_scores(model_dir, tokenizer, tokens), ()
        add_space_prefix = space_prefix(tokenizer, where)
    else:
        pre, scores, merges, add_space_prefix = splitting_rule(tokenizer, where).name, (), tuple(merge_lines(model["merges"])), None
    special_ids = special_token_ids(model_dir, config, tokens)
    add_bos, add_eos = added_ends(tokenizer.get("post_processor"), special_ids, where)
    return Vocabulary(
        model="llama" if sentencepiece else "gpt2",
        pre=pre,
        tokens=tokens,
        types=types,
        scores=scores,
        merges=merges,
        special_ids=special_ids,
        add_bos=add_bos,
        add_eos=add_eos,
        add_space_prefix=add_space_prefix,
        chat_template=read_chat_template(model_dir, config),
    ).padded(vocab_size)


def tokens_and_types(tokenizer: dict[str, Any], *, where: Path, vocab_size: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Every token by id, and its type. Holes in the ids become unused tokens."""
    model = tokenizer["model"]
    by_id = {index: token for token, index in model["vocab"].items()}
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    by_id |= {index: token["content"] for index, token in added.items()}
    highest = max(by_id)
    if highest >= vocab_size:
        raise UserError(
            f"{where}: token {by_id[highest]!r} has id {highest}, and the model's embedding has {vocab_size} rows. "
            "Resize the embedding, or use the tokenizer that belongs to the model."
        )
    tokens, types = [], []
    for index in range(highest + 1):
        token = by_id.get(index, f"[PAD{index}]")
        kind = UNUSED if index not in by_id else added_type(added[index]) if index in added else piece_type(token, model)
        tokens.append(token.replace("▁", " ") if kind == USER_DEFINED else token)  # llama.cpp looks for it in the text as it is
        types.append(kind)
    twice = len(tokens) - len(set(tokens))
    if twice:
        raise UserError(f"{where}: {twice} token texts have two ids; llama.cpp keeps one. Use the tokenizer as published.")
    return tuple(tokens), tuple(types)


def added_type(token: dict[str, Any]) -> int:
    """CONTROL for special tokens and for those that only look so, as Qwen's <|fim_prefix|>; USER_DEFINED for the others."""
    text = token["content"]
    looks_special = text in SPECIAL_BY_TEXT or any(text.startswith(start) and text.endswith(end) for start, end in SPECIAL_BY_FRAME)
    return CONTROL if token["special"] or looks_special else USER_DEFINED


def piece_type(token: str, model: dict[str, Any]) -> int:
    """The type of a token of the model's own vocabulary; only SentencePiece has an unknown one and bytes."""
    if not model.get("byte_fallback"):
        return NORMAL
    if token == model.get("unk_token"):
        return UNKNOWN
    return BYTE if len(token) == 6 and token.startswith("<0x") and token.endswith(">") else NORMAL


def check_added_tokens(added: list[dict[str, Any]], where: Path) -> None:
    for token in added:
        flags = [flag for flag in ("lstrip", "rstrip", "single_word") if token.get(flag)]
        if flags:
            found = f"the added token {token['content']!r} has {', '.join(flags)} set"
            raise UserError(f"{where}: {found}, which GGUF can't say; set it to false.")


def splitting_rule(tokenizer: dict[str, Any], where: Path) -> Rule:
    """The rule in RULES that the tokenizer follows in every part.

    Raises: UserError that shows what was found.
    """
    steps = describe_steps(tokenizer.get("pre_tokenizer"))
    normalizer = describe_normalizer(tokenizer.get("normalizer"))
    ignore_merges = bool(tokenizer["model"].get("ignore_merges"))
    for rule in RULES:
        if rule.steps == steps and normalizer in rule.normalizers and rule.ignore_merges == ignore_merges:
            return rule
    found = f"pre_tokenizer {' then '.join(steps) or 'none'}; normalizer {normalizer or 'none'}; ignore_merges {str(ignore_merges).lower()}"
    raise UserError(
        f"{where}: llama.cpp would cut this tokenizer's text differently, and the model would babble. Found: {found}. "
        f"Expected one of the rules {', '.join(rule.name for rule in RULES)}. Use the tokenizer as published."
    )


def describe_steps(pre_tokenizer: dict[str, Any] | None) -> tuple[str, ...]:
    """The pre-tokenizer's steps as short texts, equal exactly when they cut alike (offsets do not matter here)."""
    if pre_tokenizer is None:
        return ()
    kind = pre_tokenizer["type"]
    if kind == "Sequence":
        return tuple(step for part in pre_tokenizer["pretokenizers"] for step in describe_steps(part))
    if kind == "ByteLevel" and not pre_tokenizer["add_prefix_space"]:
        return ("bytes after GPT-2's split" if pre_tokenizer.get("use_regex", True) else "bytes",)
    if kind == "Digits" and pre_tokenizer["individual_digits"]:
        return ("digits one by one",)
    if kind == "Split" and pre_tokenizer["behavior"] == "Isolated" and not pre_tokenizer["invert"] and "Regex" in pre_tokenizer["pattern"]:
        return (f"split {pre_tokenizer['pattern']['Regex']}",)
    return (json.dumps(pre_tokenizer, ensure_ascii=False, sort_keys=True),)


def describe_normalizer(normalizer: dict[str, Any] | None) -> str | None:
    if normalizer is None:
        return None
    if normalizer["type"] == "Sequence":
        parts = [describe_normalizer(part) for part in normalizer["normalizers"]]
        return " then ".join(part for part in parts if part) or None
    return normalizer["type"] if set(normalizer) == {"type"} else json.dumps(normalizer, ensure_ascii=False, sort_keys=True)


def merge_lines(merges: list[Any]) -> list[str]:
    """`["Ġ", "t"]` or `"Ġ t"` → `"Ġ t"`. A space inside a part is written Ġ (https://github.com/ggml-org/llama.cpp/issues/9692)."""
    return [merge if isinstance(merge, str) else f"{merge[0].replace(' ', 'Ġ')} {merge[1].replace(' ', 'Ġ')}" for merge in merges]


def sentencepiece_scores(model_dir: Path, tokenizer: dict[str, Any], tokens: tuple[str, ...]) -> tuple[float, ...]:
    """The score of each piece: of two neighbours, llama.cpp joins the pair whose piece has the higher one.

    From tokenizer.model where it lies beside tokenizer.json; else minus the rank of the first merge that makes the piece,
    which orders the pieces in the same way. Added tokens come last: text that spells one is not joined to it.
    """
    added = {token["id"] for token in tokenizer["added_tokens"]}
    source = model_dir / "tokenizer.model"
    scores = file_scores(source, tokens, added) if source.is_file() else rank_scores(tokenizer["model"], tokens)
    return tuple(ADDED_SCORE if index in added else score for index, score in enumerate(scores))


def file_scores(source: Path, tokens: tuple[str, ...], added: set[int]) -> list[float]:
    """Raises: UserError when the file's pieces are not the tokenizer's."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor()
    processor.LoadFromFile(str(source))
    size = min(processor.vocab_size(), len(tokens))
    other = next((i for i in range(size) if processor.IdToPiece(i) != tokens[i] and i not in added), None)
    if other is not None:
        raise UserError(
            f"{source}: piece {other} is {processor.IdToPiece(other)!r}, and tokenizer.json says {tokens[other]!r}. "
            "They belong to different tokenizers; remove the wrong one."
        )
    return [processor.GetScore(i) if i < size else UNUSED_SCORE for i in range(len(tokens))]


def rank_scores(model: dict[str, Any], tokens: tuple[str, ...]) -> list[float]:
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault(left + right, rank)
    return [-float(ranks[token]) if token in ranks else 0.0 for token in tokens]


def space_prefix(tokenizer: dict[str, Any], where: Path) -> bool:
    """`tokenizer.ggml.add_space_prefix`: whether llama.cpp puts a space before text, at the start and after each special token.

    HF's Prepend is the same. Its "first" puts one at the very start only: no setting of llama.cpp does that, but a chat prompt
    starts with a special token and so has none. False is right for every chat, true would give `[INST]` a second space
    (mistral-common, the reference encoder of Mistral v0.3, agrees with HF). A text alone lacks the space then. HF's "always" is
    left out: it puts no space where there is one already, so neither setting is right in a chat.
    """
    pre_tokenizer, normalizer = tokenizer.get("pre_tokenizer"), tokenizer.get("normalizer")
    parts = normalizer["normalizers"] if normalizer and normalizer["type"] == "Sequence" else [normalizer] if normalizer else []
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    if pre_tokenizer is None and parts == [{"type": "Prepend", "prepend": "▁"}, replaces]:
        return True
    if pre_tokenizer is None and parts == [replaces]:
        return False
    scheme = pre_tokenizer.get("prepend_scheme") if pre_tokenizer and not parts else None
    if scheme in ("first", "never") and pre_tokenizer == metaspace(scheme):
        return False
    found = json.dumps({"pre_tokenizer": pre_tokenizer, "normalizer": normalizer}, ensure_ascii=False)
    raise UserError(
        f"{where}: llama.cpp would treat this tokenizer's spaces differently. Found: {found}. "
        "Expected Metaspace ('first' or 'never', without split), or Prepend and Replace, of '▁'."
    )


def metaspace(scheme: str) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}


def special_token_ids(model_dir: Path, config: dict[str, Any], tokens: tuple[str, ...]) -> dict[str, int]:
    """bos, eos, unk and pad as the tokenizer names them (config.json where it names none), eot and eom for further end tokens.

    Raises: UserError when an end token of generation_config.json would not stop llama.cpp.
    """
    ids = {token: index for index, token in enumerate(tokens)}
    model_config = read_json(model_dir / "config.json")
    found: dict[str, int] = {}
    for name in ("bos", "eos", "unk", "pad"):
        token = config.get(f"{name}_token")
        text = token["content"] if isinstance(token, dict) else token
        if text is not None:
            if text not in ids:
                raise UserError(f"{model_dir / 'tokenizer_config.json'}: {name}_token is {text!r}, which tokenizer.json does not have.")
            found[name] = ids[text]
        elif isinstance(model_config.get(f"{name}_token_id"), int) and model_config[f"{name}_token_id"] < len(tokens):
            found[name] = model_config[f"{name}_token_id"]
    generation = model_dir / "generation_config.json"
    ends = end_ids(model_config) + end_ids(read_json(generation) if generation.is_file() else {})
    if "eos" not in found and ends:
        found["eos"] = ends[0]
    if "eos" not in found:
        where = model_dir / "tokenizer_config.json"
        raise UserError(f"{where}: no eos_token; a model without one never stops. Name the token that ends a turn.")
    if ends and found["eos"] not in ends:
        raise UserError(
            f"{model_dir / 'tokenizer_config.json'}: eos_token is {tokens[found['eos']]!r} ({found['eos']}), and config.json and "
            f"generation_config.json end at {', '.join(map(str, dict.fromkeys(ends)))}. One of them is wrong; the model would never stop."
        )
    if tokens[found["eos"]] in ("<|eot_id|>", "<|im_end|>"):
        found["eot"] = found["eos"]  # otherwise llama.cpp takes the first of several end tokens it comes across
    for end in dict.fromkeys(ends):
        if end >= len(tokens) or end in found.values() or tokens[end] in ENDS_BY_TEXT:
            continue
        slot = next((name for name in ("eot", "eom") if name not in found), None)
        if slot is None:
            raise UserError(f"{generation}: {tokens[end]!r} ({end}) ends a turn, and GGUF has no field left for it (eos, eot, eom).")
        found[slot] = end
    return found


def end_ids(config: dict[str, Any]) -> list[int]:
    value = config.get("eos_token_id")
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def added_ends(post_processor: dict[str, Any] | None, special_ids: dict[str, int], where: Path) -> tuple[bool, bool]:
    """Whether the tokenizer puts bos before a text and eos behind it, when asked for special tokens."""
    if post_processor is None or post_processor["type"] == "ByteLevel":
        return False, False
    if post_processor["type"] == "Sequence":
        ends = [added_ends(part, special_ids, where) for part in post_processor["processors"]]
        return any(bos for bos, _ in ends), any(eos for _, eos in ends)
    if post_processor["type"] == "TemplateProcessing":
        single = post_processor["single"]
        text = next(i for i, part in enumerate(single) if "Sequence" in part)
        before, after = ([part["SpecialToken"]["id"] for part in side] for side in (single[:text], single[text + 1 :]))
        ids = {name: entry["ids"] for name, entry in post_processor["special_tokens"].items()}
        first, last = ([index for name in names for index in ids[name]] for names in (before, after))
        if first in ([], [special_ids.get("bos")]) and last in ([], [special_ids["eos"]]):
            return bool(first), bool(last)
    raise UserError(
        f"{where}: the post_processor is {json.dumps(post_processor, ensure_ascii=False)[:200]}; "
        "GGUF can say bos before the text and eos behind it, nothing else."
    )


def read_chat_template(model_dir: Path, config: dict[str, Any]) -> str | list[dict[str, str]] | None:
    """The template, from chat_template.jinja (transformers 5) or tokenizer_config.json; a list where there are several by name."""
    alone = model_dir / "chat_template.jinja"
    if not alone.is_file():
        return config.get("chat_template")
    default = alone.read_text(encoding="utf-8")
    others = sorted((model_dir / "additional_chat_templates").glob("*.jinja"))
    named = [{"name": path.stem, "template": path.read_text(encoding="utf-8")} for path in others]
    return [{"name": "default", "template": default}, *named] if named else default
