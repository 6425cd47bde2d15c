"""What a merged folder holds beside its weights: config, tokenizer, what stops a generation, and the licence that must go along."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unsloth_ft.base_model import read_json
from unsloth_ft.chat import load_tokenizer
from unsloth_ft.errors import GateError, UserError, short
from unsloth_ft.export.merge_plan import MergePlan
from unsloth_ft.export.shards import INDEX, SIXTEEN_BIT

CONFIG = "config.json"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "tekken.json",
)
OTHERS = ("generation_config.json", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt", "USE_POLICY.md")


def tokenizer_folder(base: Path, adapter: Path, *, rows: int | None) -> Path:
    """Where the merged model's tokenizer comes from: the base, unless the adapter's own gives other ids to texts (added tokens).

    The adapter's copy of the same tokenizer is written by another version of transformers, so the base's bytes are preferred.
    `rows` of the merged embedding; None when it is not known.

    Raises UserError when the adapter's tokenizer has ids that the merged embedding has no row for.
    """
    if not any((adapter / name).is_file() for name in ("tokenizer.json", "tokenizer.model")) or _ids_digest(adapter) == _ids_digest(base):
        return base
    # tokenizer_config.json can name tokens that tokenizer.json has not; then only the loaded tokenizers can be compared.
    before, after = (load_tokenizer(folder).get_vocab() for folder in (base, adapter))
    if before == after:
        return base
    beyond = sorted((index, token) for token, index in after.items() if rows is not None and index >= rows and before.get(token) != index)
    if beyond:
        index, token = beyond[0]
        raise UserError(
            f'{adapter.name}: its tokenizer has the token "{token}" with the id {index}, and the merged embedding {rows:,} rows: '
            "the adapter was saved without its resized embeddings. Save it again with save_embedding_layers=True."
        )
    return adapter


def file_names(base: Path, tokenizer: Path, plan: MergePlan) -> set[str]:
    """Every file of the merged folder."""
    index = [] if list(plan.shards) == ["model.safetensors"] else [INDEX]
    copied = [name for folder, names in ((tokenizer, TOKENIZER), (base, OTHERS)) for name in names if (folder / name).is_file()]
    return {CONFIG, *plan.shards, *index, *copied}


def write_files(base: Path, tokenizer: Path, staging: Path, plan: MergePlan) -> None:
    """All of the merged folder but the weights."""
    for name, content in contents(base, tokenizer, plan):
        (staging / name).write_bytes(content)


def contents(base: Path, tokenizer: Path, plan: MergePlan) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each file of the merged folder but the weights."""
    for folder, names in ((tokenizer, TOKENIZER), (base, OTHERS)):
        yield from ((name, (folder / name).read_bytes()) for name in names if (folder / name).is_file())
    yield CONFIG, _config(base, plan)
    if INDEX in file_names(base, tokenizer, plan):
        index = {"metadata": {"total_size": plan.size_bytes}, "weight_map": weight_map(plan)}
        yield INDEX, (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()


def check_files(base: Path, tokenizer: Path, folder: Path, plan: MergePlan) -> str:
    """What was found. Raises GateError naming the file of the merged folder that is missing or says something else."""
    count = 0
    for name, content in contents(base, tokenizer, plan):
        if not (folder / name).is_file():
            raise GateError(f"{name} is missing")
        if (folder / name).read_bytes() != content:
            owner = "adapter" if tokenizer != base and name in TOKENIZER else "base"
            raise GateError(f"{name} is not the {owner}'s{_first_change(content, folder / name)}")
        count += 1
    if tokenizer == base:
        return f"{count} files as the base has them"
    return f"{count} files; the tokenizer is the adapter's, with its added tokens"


def _first_change(content: bytes, file: Path) -> str:
    """The first field that differs, of a JSON file."""
    try:
        wanted, found = json.loads(content), json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return ""
    if not (isinstance(wanted, dict) and isinstance(found, dict)):
        return ""
    key = next((key for key in sorted({**wanted, **found}) if wanted.get(key) != found.get(key)), None)
    if key is None:
        return ""
    one, other = (short(json.dumps(value.get(key), ensure_ascii=False)) for value in (found, wanted))
    return f": {key} is {one}, expected {other}"


def weight_map(plan: MergePlan) -> dict[str, str]:
    """Tensor → file, as in model.safetensors.index.json."""
    return {tensor.name: file for file, tensors in plan.shards.items() for tensor in tensors}


def _config(base: Path, plan: MergePlan) -> bytes:
    """The base's config.json, byte for byte unless it says what is no longer so."""
    config = read_json(base / CONFIG)
    changes = dict(plan.config_changes)
    key = "dtype" if "dtype" in config else "torch_dtype"
    if config.get(key) not in SIXTEEN_BIT.values():
        changes[key] = SIXTEEN_BIT[plan.tensors[0].dtype]
    if not changes:
        return (base / CONFIG).read_bytes()
    return (json.dumps(config | changes, indent=2, ensure_ascii=False) + "\n").encode()


def _ids_digest(folder: Path) -> str | None:
    """One value for text → id of every token in tokenizer.json, or None without one; a vocabulary in memory is enough."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    content = read_json(file)
    try:
        vocabulary: Any = content["model"]["vocab"]  # text → id, or with a Unigram model [text, score] in the order of ids
        ids = vocabulary if isinstance(vocabulary, dict) else {entry[0]: index for index, entry in enumerate(vocabulary)}
        ids |= {token["content"]: token["id"] for token in content.get("added_tokens") or []}
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{folder.name}: tokenizer.json has no vocabulary of texts and ids ({error!r}); copy it again.") from None
    return hashlib.sha256(json.dumps(sorted(ids.items())).encode()).hexdigest()
