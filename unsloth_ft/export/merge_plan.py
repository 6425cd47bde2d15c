"""Which tensors a merged model has, in which file, and what each is made of; refused before a byte is written where base and adapter
don't belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unsloth_ft.base_model import read_json, weight_files
from unsloth_ft.errors import UserError
from unsloth_ft.export.lora import EMBEDDING, HEAD, Adapter
from unsloth_ft.export.shards import SIXTEEN_BIT, read_header, read_rows
from unsloth_ft.export.updates import AddedBias, LowRank, Planned, Source, TokenRows, Update, row_ranges

ANOTHER_MODEL = "the adapter was trained on another model."
EMBEDDING_WEIGHT, HEAD_WEIGHT = f"{EMBEDDING}.weight", f"{HEAD}.weight"


@dataclass(frozen=True)
class MergePlan:
    """The tensors of each file, in the order they are written; and what config.json must say otherwise than the base's."""

    shards: Mapping[str, tuple[Planned, ...]]
    config_changes: Mapping[str, Any]

    @property
    def tensors(self) -> tuple[Planned, ...]:
        return tuple(tensor for shard in self.shards.values() for tensor in shard)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def vocabulary_rows(self) -> int | None:
        """Rows of the merged embedding; None when the model has none by that name."""
        return next((tensor.source.stored.rows for tensor in self.tensors if tensor.name == EMBEDDING_WEIGHT), None)


def plan_merge(base: Path, adapter: Adapter) -> MergePlan:
    """The merge of the adapter into the base in the folder.

    Equal shapes of another model are not seen here; they are told apart by the run's fingerprint of its base.

    Raises UserError when the adapter's names or shapes are not the base's, or a file is damaged.
    """
    stored = _read_sources(base)
    sources = {name: source for entries in stored.values() for name, source in entries.items()}
    config = read_json(base / "config.json")
    tied = EMBEDDING_WEIGHT in sources and (HEAD_WEIGHT not in sources or bool(config.get("tie_word_embeddings")))
    _refuse_other_model(adapter, sources, tied)
    planned = {name: _plan_tensor(name, source, adapter) for name, source in sources.items()}
    changes: dict[str, Any] = {}
    if tied and _touches_embeddings(adapter):
        embedding, head = _plan_tied(sources, adapter)
        apart = not _same(embedding, head)
        planned[EMBEDDING_WEIGHT] = embedding
        if apart:
            changes["tie_word_embeddings"] = False
        if apart or HEAD_WEIGHT in sources:
            planned[HEAD_WEIGHT] = head
        if apart and HEAD_WEIGHT not in sources:
            file = next(file for file, entries in stored.items() if EMBEDDING_WEIGHT in entries)
            stored[file][HEAD_WEIGHT] = head.source  # the output layer gets a tensor of its own, in the embedding's file
    _check_shapes(planned, adapter)
    changes |= _check_vocabulary(planned, sources)
    return MergePlan({file: tuple(planned[name] for name in entries) for file, entries in stored.items()}, changes)


def _read_sources(base: Path) -> dict[str, dict[str, Source]]:
    """File name → tensor name → where it lies. Raises UserError for files that can't be told from others of a merged folder."""
    stored: dict[str, dict[str, Source]] = {}
    for file in weight_files(base):
        if file.suffix != ".safetensors":
            raise UserError(f"{base.name}: its weight index names {file.name}; expected files that end in .safetensors.")
        stored[file.name] = {name: Source(file, entry) for name, entry in read_header(file).items()}
    if not stored:
        raise UserError(f"{base.name}: no safetensors in it; expected the base model's folder.")
    names = sorted(name for entries in stored.values() for name in entries)
    twice = next((name for name, following in zip(names, names[1:]) if name == following), None)
    if twice:
        raise UserError(f"{base.name}: two of its files hold {twice}; download the model again.")
    return stored


def _refuse_other_model(adapter: Adapter, sources: Mapping[str, Source], tied: bool) -> None:
    names = {*sources, *([HEAD_WEIGHT] if tied else [])}
    adapted = {f"{module}.weight" for module in (*adapter.pairs, *adapter.token_rows)} | set(adapter.replaced)
    missing = sorted(adapted - names)
    if missing:
        raise UserError(
            f"the base has no weight for {len(missing)} of {len(adapted)} adapted modules, {missing[0].removesuffix('.weight')} the first: "
            f"{ANOTHER_MODEL}"
        )
    without = sorted(module for module in adapter.biases if f"{module}.bias" not in names)
    if without:
        raise UserError(f"{without[0]}: the adapter adds to its bias (lora_bias), and the base has none there; PEFT can't merge it either.")


def _plan_tensor(name: str, source: Source, adapter: Adapter) -> Planned:
    dtype = source.stored.dtype if source.stored.dtype in SIXTEEN_BIT else "BF16"  # "merged" is a 16-bit format
    brought = adapter.replaced.get(name) or adapter.base_layers.get(name)
    begins = Source(adapter.weights, brought) if brought else source
    base = source if begins.stored.shape == source.stored.shape else None
    return Planned(name, dtype, begins, base, _update_of(name, adapter))


def _update_of(name: str, adapter: Adapter) -> Update | None:
    module, _, kind = name.rpartition(".")
    if kind == "bias":
        return AddedBias(adapter.biases[module], adapter.scale_of(module)) if module in adapter.biases else None
    if kind == "weight" and module in adapter.pairs:
        a, b = adapter.pairs[module]
        return LowRank(a, b, adapter.scale_of(module), adapter.magnitudes.get(module), module in adapter.embeddings)
    if kind == "weight" and module in adapter.token_rows:
        return TokenRows(*adapter.token_rows[module])
    return None


def _touches_embeddings(adapter: Adapter) -> bool:
    return any(
        module in adapter.pairs or module in adapter.token_rows or f"{module}.weight" in adapter.replaced for module in (EMBEDDING, HEAD)
    )


def _plan_tied(sources: Mapping[str, Source], adapter: Adapter) -> tuple[Planned, Planned]:
    """The embedding and the output layer of a model where both are one tensor, as the adapter was trained.

    PEFT adapts one of them, or both, each by itself, and warns; its merge_and_unload then adds each update to the one tensor, and the
    logits are no longer the adapter's. So here each gets its own.
    """
    source = sources[EMBEDDING_WEIGHT]
    # What the adapter brings as the layer under a pair is the one tensor that both share.
    shared = adapter.base_layers.get(EMBEDDING_WEIGHT) or adapter.base_layers.get(HEAD_WEIGHT)
    begins = Source(adapter.weights, shared) if shared else source
    embedding = _plan_tensor(EMBEDDING_WEIGHT, begins, adapter)
    head = _plan_tensor(HEAD_WEIGHT, begins, adapter)
    if HEAD not in adapter.token_rows and isinstance(embedding.update, TokenRows):
        head = replace(head, update=embedding.update)  # rows of single tokens are the exception: PEFT ties those itself
    base = {tensor.name: source if tensor.source.stored.shape == source.stored.shape else None for tensor in (embedding, head)}
    dtype = _plan_tensor(EMBEDDING_WEIGHT, source, adapter).dtype
    return tuple(replace(tensor, base=base[tensor.name], dtype=dtype) for tensor in (embedding, head))


def _same(one: Planned, other: Planned) -> bool:
    """Whether two tensors will have the same values."""
    return _same_update(one.update, other.update) and _same_values(one.source, other.source)


def _same_update(one: Update | None, other: Update | None) -> bool:
    import torch

    if isinstance(one, LowRank) and isinstance(other, LowRank):
        plain = one.magnitude is None and other.magnitude is None
        return plain and one.scale == other.scale and torch.equal(one.a, other.a) and torch.equal(one.b, other.b)
    if isinstance(one, TokenRows) and isinstance(other, TokenRows):
        return one.ids == other.ids and torch.equal(one.rows, other.rows)
    return one is None and other is None


def _same_values(one: Source, other: Source) -> bool:
    import torch

    if one == other:
        return True
    if (one.stored.shape, one.stored.dtype) != (other.stored.shape, other.stored.dtype):
        return False
    with one.file.open("rb") as left, other.file.open("rb") as right:
        return all(
            torch.equal(read_rows(left, one.stored, begin, end), read_rows(right, other.stored, begin, end))
            for begin, end in row_ranges(one.stored)
        )


def _check_shapes(planned: Mapping[str, Planned], adapter: Adapter) -> None:
    for name, tensor in sorted(planned.items()):
        found = _shape_of(tensor.update, tensor.source.stored.shape)
        if found != tensor.source.stored.shape:
            raise UserError(
                f"{name.removesuffix('.weight')}: the base's weight has the shape {tensor.source.stored.shape} "
                f"and the adapter's update {found}: {ANOTHER_MODEL}"
            )
        grown = name in (EMBEDDING_WEIGHT, HEAD_WEIGHT)
        before = tensor.base.stored.shape if tensor.base else None
        if before is None and not grown:
            raise UserError(
                f"{name}: the adapter brings it with the shape {tensor.source.stored.shape}, which is not the base's: {ANOTHER_MODEL}"
            )


def _shape_of(update: Update | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the update fits."""
    if isinstance(update, LowRank):
        return (update.b.shape[0], update.a.shape[1])
    if isinstance(update, AddedBias):
        return tuple(update.bias.shape)
    if isinstance(update, TokenRows):
        return (max(shape[0], 1 + max(update.ids, default=0)), update.rows.shape[1])
    return shape


def _check_vocabulary(planned: Mapping[str, Planned], sources: Mapping[str, Source]) -> dict[str, Any]:
    """What config.json must say of a vocabulary that grew."""
    if EMBEDDING_WEIGHT not in planned:
        return {}
    embedding, before = planned[EMBEDDING_WEIGHT].source.stored, sources[EMBEDDING_WEIGHT].stored
    head = planned[HEAD_WEIGHT].source.stored if HEAD_WEIGHT in planned else embedding
    if embedding.shape[1:] != before.shape[1:] or head.shape[1:] != embedding.shape[1:]:
        raise UserError(
            f"{EMBEDDING}: the adapter brings it with the shape {embedding.shape}, {HEAD} has {head.shape}, "
            f"and the base's is {before.shape}: {ANOTHER_MODEL}"
        )
    if embedding.rows != head.rows:
        raise UserError(
            f"{EMBEDDING} has {embedding.rows:,} rows in the merged model, and {HEAD} {head.rows:,}: the adapter was saved without one of "
            "them. Save it again with save_embedding_layers=True."
        )
    return {"vocab_size": embedding.rows} if embedding.rows != before.rows else {}
