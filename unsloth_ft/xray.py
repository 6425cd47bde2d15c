"""The mask X-ray: which tokens of the data are learned, which rows fit, shown before a weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from unsloth_ft.chat import IGNORE, Chat, Row
from unsloth_ft.data import Conversation, chosen
from unsloth_ft.errors import UserError
from unsloth_ft.plan import DataFacts
from unsloth_ft.token_rows import Rows, lengths_of
from unsloth_ft.token_store import tokenized

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN_LINES = 20


@dataclass(frozen=True)
class XRay:
    """What training sees of the data. `example` is one row as (text, learned) pieces; `cut`, `dropped` name rows by file:line."""

    rows: int
    tokens: int
    learned_tokens: int
    tokens_lost: int
    cut: tuple[str, ...]
    dropped: tuple[str, ...]
    example_where: str
    example: tuple[tuple[str, bool], ...]

    @property
    def learned_share(self) -> float:
        return self.learned_tokens / self.tokens

    @property
    def tokens_a_row(self) -> float:
        """Mean length."""
        return self.tokens / self.rows

    def as_json(self) -> dict:
        return {
            "rows_kept": self.rows,
            "rows_cut": len(self.cut),
            "rows_dropped": len(self.dropped),
            "cut": list(self.cut[:SHOWN_LINES]),
            "dropped": list(self.dropped[:SHOWN_LINES]),
            "tokens": self.tokens,
            "learned_tokens": self.learned_tokens,
            "learned_share": round(self.learned_share, 4),
            "tokens_lost": self.tokens_lost,
            "example": {"where": self.example_where, "pieces": [{"text": text, "learned": learned} for text, learned in self.example]},
        }


def encode_all(conversations: Sequence[Conversation], chat: Chat) -> Rows:
    """A few conversations as rows: of many, `token_store.tokenized` has warnings too. Raises as it does."""
    return tokenized([conversations], chat=chat).parts[0]


def measure(train: Sequence[Row], held_out: Sequence[Row]) -> DataFacts:
    """Row lengths in tokens."""
    lengths = lengths_of(train)
    return replace(DataFacts.measured(lengths, held_out_rows=len(held_out)), lengths=tuple(lengths))


def fit(rows: Rows, max_seq_length: int) -> tuple[Rows, tuple[str, ...], tuple[str, ...], int]:
    """(rows that fit, cut, dropped, tokens lost). A row is cut only behind a whole answer, never through one.

    A row whose first answer doesn't fit is dropped: trained on, it would teach half an answer and no end.
    """
    lengths = rows.lengths.copy()
    for at in (lengths > max_seq_length).nonzero()[0].tolist():
        lengths[at] = max((end for end in rows.turn_ends(at) if end <= max_seq_length), default=0)
    kept = lengths.nonzero()[0]
    cut = tuple(rows.where(at) for at in ((0 < lengths) & (lengths < rows.lengths)).nonzero()[0].tolist())
    dropped = tuple(rows.where(at) for at in (lengths == 0).nonzero()[0].tolist())
    return rows.chosen(kept, lengths[kept]), cut, dropped, int(rows.lengths.sum() - lengths.sum())


def look(rows: Rows, max_seq_length: int, tokenizer: PreTrainedTokenizerBase) -> tuple[Rows, XRay]:
    """The rows that training sees and their X-ray. Raises UserError when none is left."""
    kept, cut, dropped, lost = fit(rows, max_seq_length)
    if not kept:
        shortest = rows.lengths.min()
        raise UserError(
            f"no row fits into max_seq_length {max_seq_length}; the shortest has {shortest} tokens. "
            f"Pass --set max_seq_length={shortest} or more."
        )
    example = kept[int(kept.lengths.argsort(kind="stable")[len(kept) // 2])]
    return kept, XRay(
        rows=len(kept),
        tokens=int(kept.lengths.sum()),
        learned_tokens=int(kept.learned.sum()),
        tokens_lost=lost,
        cut=cut,
        dropped=dropped,
        example_where=example.where,
        example=tuple(pieces(example, tokenizer)),
    )


def behind(rows: Rows, conversations: Sequence[Conversation]) -> Sequence[Conversation]:
    """Those of the conversations that the rows are made of; what lies on a shelf isn't copied."""
    kept = {rows.where(at) for at in range(len(rows))}
    return chosen(conversations, [at for at, conversation in enumerate(conversations) if conversation.where in kept])


def pieces(row: Row, tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, bool]]:
    """The row's text in runs of learned and not learned tokens, as the model reads it back."""
    learned = [label != IGNORE for label in row.labels]
    borders = [at for at in range(1, len(learned)) if learned[at] != learned[at - 1]]
    runs, shown = [], ""
    for begin, end in pairwise((0, *borders, len(learned))):
        # Decoded from the row's beginning each time: a run decoded alone loses the space that a SentencePiece word starts with.
        text = tokenizer.decode(list(row.input_ids[:end]), clean_up_tokenization_spaces=False)
        runs.append((text[len(shown) :], learned[begin]))
        shown = text
    return runs
