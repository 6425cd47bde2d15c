"""Rows that lie in an Arrow file: numbers of all of them at once, and a row when it is asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy

from unsloth_ft.chat_row import Row, Tokenized

if TYPE_CHECKING:
    import pyarrow

    from unsloth_ft.data.whereabouts import Whereabouts

COLUMNS = ("input_ids", "learned", "turn_ends")  # lists of uint32; `learned` is begin, end, begin, end … of the learned spans


class _Lists(NamedTuple):
    """One column of a part of the file: row i has values[offsets[i]:offsets[i + 1]]; both are views of the mapped file."""

    offsets: numpy.ndarray
    values: numpy.ndarray

    def of(self, index: int) -> list[int]:
        return self.values[self.offsets[index] : self.offsets[index + 1]].tolist()


class Rows(Sequence[Row]):
    """Rows in a file of `token_store`, or some of them, some cut short. Only what is asked for is read."""

    def __init__(self, batches: Sequence[pyarrow.RecordBatch], places: Whereabouts) -> None:
        self._parts = [tuple(_Lists(column.offsets.to_numpy(), column.values.to_numpy()) for column in batch.columns) for batch in batches]
        self._begins = [0, *numpy.cumsum([batch.num_rows for batch in batches]).tolist()]
        self._places = places
        self._chosen = numpy.arange(self._begins[-1], dtype=numpy.int64)
        self._whole_lengths = _joined([numpy.diff(ids.offsets) for ids, _, _ in self._parts])
        self.lengths = self._whole_lengths
        """Tokens of each row, int32."""

    @cached_property
    def learned(self) -> numpy.ndarray:
        """Learned tokens of each row, int32."""
        counts = _joined([_sums(spans) for _, spans, _ in self._parts])[self._chosen]
        for at in numpy.flatnonzero(self.lengths < self._whole_lengths[self._chosen]).tolist():
            counts[at] = self._tokenized(at).learned_tokens
        return counts

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        if isinstance(index, slice):
            return self.chosen(numpy.arange(len(self))[index])
        at = range(len(self))[index]  # negative ones count from the end; IndexError past it
        return self._tokenized(at).row(self.where(at))

    def chosen(self, indices: numpy.ndarray, lengths: numpy.ndarray | None = None) -> Rows:
        """These rows in this order, each cut to so many tokens; None: as they are."""
        found = object.__new__(Rows)
        found.__dict__.update(self.__dict__)
        found.__dict__.pop("learned", None)
        found._chosen = self._chosen[indices]
        found.lengths = self.lengths[indices] if lengths is None else lengths.astype(numpy.int32)
        return found

    def where(self, index: int) -> str:
        """file:line of a row."""
        return self._places.where(int(self._chosen[index]))

    def turn_ends(self, index: int) -> list[int]:
        """As `Row.turn_ends`."""
        return self._tokenized(index).turn_ends

    def _tokenized(self, index: int) -> Tokenized:
        """A row in short, cut to its length."""
        row, length = int(self._chosen[index]), int(self.lengths[index])
        part = bisect_right(self._begins, row) - 1
        ids, spans, ends = (column.of(row - self._begins[part]) for column in self._parts[part])
        learned = [(begin, min(end, length)) for begin, end in zip(spans[::2], spans[1::2]) if begin < length]
        return Tokenized(ids[:length], learned, [end for end in ends if end <= length])


def lengths_of(rows: Sequence[Row]) -> list[int]:
    """Tokens of each row; where they lie in a file no row is made for it."""
    return rows.lengths.tolist() if isinstance(rows, Rows) else [len(row.input_ids) for row in rows]


def record_batch(rows: Sequence[Tokenized]) -> pyarrow.RecordBatch:
    """The rows as one part of a file."""
    import pyarrow

    flat = [[place for span in row.learned for place in span] for row in rows]
    columns = ([row.ids for row in rows], flat, [row.turn_ends for row in rows])
    return pyarrow.RecordBatch.from_arrays([_list_array(column) for column in columns], names=list(COLUMNS))


def _list_array(lists: Sequence[Sequence[int]]) -> pyarrow.ListArray:
    import pyarrow

    offsets = numpy.cumsum([0, *map(len, lists)], dtype=numpy.int32)
    values = numpy.fromiter(chain.from_iterable(lists), dtype=numpy.uint32, count=int(offsets[-1]))
    return pyarrow.ListArray.from_arrays(offsets, values)


def _sums(spans: _Lists) -> numpy.ndarray:
    """Tokens in each row's spans."""
    ends = numpy.concatenate(([0], numpy.cumsum(spans.values[1::2].astype(numpy.int64) - spans.values[::2])))
    return numpy.diff(ends[spans.offsets // 2]).astype(numpy.int32)


def _joined(parts: Sequence[numpy.ndarray]) -> numpy.ndarray:
    return numpy.concatenate([numpy.empty(0, dtype=numpy.int32), *parts])
