"""The mask X-ray: which tokens of the data are learned, which rows fit, shown before a weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from unsloth_ft.chat import IGNORE, Chat, Row
from unsloth_ft.data.conversation import Conversation
from unsloth_ft.errors import UserError
from unsloth_ft.plan import DataFacts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN_ERRORS = 10
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


def encode_all(conversations: Sequence[Conversation], chat: Chat) -> tuple[Row, ...]:
    """Every conversation as a row. Raises one UserError with the first ten mistakes and their total."""
    rows, mistakes = [], []
    for found in chat.encode_all(conversations):
        if isinstance(found, UserError):
            mistakes.append(str(found))
        else:
            rows.append(found)
    if mistakes:
        total = f"\n{len(mistakes):,} of {len(conversations):,} rows can't be trained on" if len(mistakes) > 1 else ""
        total += f"; the first {SHOWN_ERRORS} are listed." if len(mistakes) > SHOWN_ERRORS else "." if total else ""
        raise UserError("\n".join(mistakes[:SHOWN_ERRORS]) + total)
    return tuple(rows)


def measure(train: Sequence[Row], held_out: Sequence[Row]) -> DataFacts:
    """Row lengths in tokens. Percentiles are the smallest length that so many per cent of the rows don't exceed."""
    as_they_come = tuple(len(row.input_ids) for row in train)
    lengths = sorted(as_they_come)
    return DataFacts(
        train_rows=len(train),
        held_out_rows=len(held_out),
        length_p50=_percentile(lengths, 50),
        length_p95=_percentile(lengths, 95),
        length_max=lengths[-1],
        lengths=as_they_come,
    )


def fit(rows: Sequence[Row], max_seq_length: int) -> tuple[tuple[Row, ...], tuple[str, ...], tuple[str, ...], int]:
    """(rows that fit, cut, dropped, tokens lost). A row is cut only behind a whole answer, never through one.

    A row whose first answer doesn't fit is dropped: trained on, it would teach half an answer and no end.
    """
    kept, cut, dropped, lost = [], [], [], 0
    for row in rows:
        if len(row.input_ids) <= max_seq_length:
            kept.append(row)
            continue
        ends = [end for end in row.turn_ends if end <= max_seq_length]
        if not ends:
            dropped.append(row.where)
            lost += len(row.input_ids)
            continue
        lost += len(row.input_ids) - ends[-1]
        cut.append(row.where)
        kept.append(replace(row, input_ids=row.input_ids[: ends[-1]], labels=row.labels[: ends[-1]], turn_ends=tuple(ends)))
    return tuple(kept), tuple(cut), tuple(dropped), lost


def look(rows: Sequence[Row], max_seq_length: int, tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[Row, ...], XRay]:
    """The rows that training sees and their X-ray. Raises UserError when none is left."""
    kept, cut, dropped, lost = fit(rows, max_seq_length)
    if not kept:
        shortest = min(len(row.input_ids) for row in rows)
        raise UserError(
            f"no row fits into max_seq_length {max_seq_length}; the shortest has {shortest} tokens. "
            f"Pass --set max_seq_length={shortest} or more."
        )
    example = sorted(kept, key=lambda row: len(row.input_ids))[len(kept) // 2]
    return kept, XRay(
        rows=len(kept),
        tokens=sum(len(row.input_ids) for row in kept),
        learned_tokens=sum(row.learned for row in kept),
        tokens_lost=lost,
        cut=cut,
        dropped=dropped,
        example_where=example.where,
        example=tuple(pieces(example, tokenizer)),
    )


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


def _percentile(ordered: Sequence[int], percent: int) -> int:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
