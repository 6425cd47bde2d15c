"""A row token by token, as the model reads it back: which text each token stands for, and whether it is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from unsloth_ft.chat import IGNORE, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a decoder writes for bytes that are no whole character yet


@dataclass(frozen=True)
class Piece:
    """The text of one token, or of several that make one character (or one run, behind `runs`). `control`: the tokenizer's own
    special token, such as `<|im_end|>`."""

    text: str
    ids: tuple[int, ...]
    learned: bool
    control: bool


def tokens(row: Row, tokenizer: PreTrainedTokenizerBase) -> tuple[Piece, ...]:
    """Every token in order; the texts together are the row's text.

    Each is decoded behind the one before it: alone, a SentencePiece word loses the space that it starts with.
    """
    control = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids, learned = row.input_ids, [label != IGNORE for label in row.labels]
    found: list[Piece] = []
    context = read = 0
    for end in range(1, len(ids) + 1):
        text = _decoded(tokenizer, ids[context:end])
        goes_on = end < len(ids) and learned[end] == learned[read] and ids[end] not in control
        if text.endswith(UNFINISHED) and goes_on:
            continue
        before = _decoded(tokenizer, ids[context:read])
        found.append(Piece(text[len(before) :], ids[read:end], learned[read], ids[read] in control))
        context, read = read, end
    return tuple(found)


def runs(pieces: tuple[Piece, ...]) -> Iterator[Piece]:
    """Neighbours of the same kind as one; a control token stays alone."""
    for (learned, control, _), group in groupby(enumerate(pieces), key=_run_key):
        together = [piece for _, piece in group]
        ids = tuple(index for piece in together for index in piece.ids)
        yield Piece("".join(piece.text for piece in together), ids, learned, control)


def _run_key(numbered: tuple[int, Piece]) -> tuple[bool, bool, int]:
    number, piece = numbered
    return piece.learned, piece.control, number if piece.control else -1


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...]) -> str:
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
