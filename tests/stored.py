"""Rows of a test as they lie in a store."""

from __future__ import annotations

from unsloth_ft.chat_row import IGNORE, Row, Tokenized
from unsloth_ft.data.conversation import Conversation
from unsloth_ft.data.whereabouts import Whereabouts
from unsloth_ft.token_rows import Rows, record_batch


def stored(*rows: Row) -> Rows:
    """These rows; every `where` is file:line."""
    places = Whereabouts()
    named = [row.where.rpartition(":") for row in rows]
    list(places.passing(Conversation((), file, int(line)) for file, _, line in named))
    return Rows([record_batch([tokenized(row) for row in rows])], places)


def tokenized(row: Row) -> Tokenized:
    """The row in short."""
    learned = [label != IGNORE for label in (IGNORE, *row.labels, IGNORE)]
    borders = [at for at in range(len(row.labels) + 1) if learned[at] != learned[at + 1]]
    return Tokenized(list(row.input_ids), list(zip(borders[::2], borders[1::2])), list(row.turn_ends))
