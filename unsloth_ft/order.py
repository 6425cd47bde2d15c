"""Which rows stand together in a step, in which order: pure functions of lengths, seed and epoch. No torch."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence

# Effective batches whose rows are sorted together: enough to waste little padding, and at least four such groups an epoch, so
# that a small data set stays random (the rule of transformers' LengthGroupedSampler).
MEGABATCH, MEGABATCHES = 50, 4


def by_length(lengths: Sequence[int], *, batch_size: int, seed: int, epoch: int) -> list[int]:
    """Every index once, for padded batches: shuffled, sorted by length within megabatches, the batches shuffled again.

    The longest row stands first in each batch of `batch_size` rows (an optimizer step), and the batch with the longest row of
    all comes first: what doesn't fit into memory fails in the first step, not at hour three.
    """
    generator = random.Random(f"{seed}/{epoch}")
    indices = list(range(len(lengths)))
    generator.shuffle(indices)
    longest = max(indices, key=lambda index: lengths[index])
    indices.insert(0, indices.pop(indices.index(longest)))  # into the first megabatch, so not into the short batch at the end
    size = batch_size * max(1, min(MEGABATCH, len(lengths) // (batch_size * MEGABATCHES)))
    batches = []
    for start in range(0, len(indices), size):
        mega = sorted(indices[start : start + size], key=lambda index: -lengths[index])
        batches += [mega[at : at + batch_size] for at in range(0, len(mega), batch_size)]
    short = batches.pop() if len(batches[-1]) < batch_size else []
    if not batches:
        return short
    generator.shuffle(batches)
    first = next(at for at, batch in enumerate(batches) if longest in batch)
    batches[0], batches[first] = batches[first], batches[0]
    return [index for batch in [*batches, short] for index in batch]


def shuffled(lengths: Sequence[int], *, batch_size: int, micro_batch_size: int, seed: int, epoch: int) -> list[int]:
    """Every index once, for flat rows: a plain shuffle in which the step with the most tokens comes first.

    Without padding nothing is won by rows of like length in one step; it would only make steps unlike each other, and the
    largest `batch_size` times the longest row. Which rows share a step depends on `batch_size` (rows an optimizer step),
    lengths, seed and epoch alone; `micro_batch_size` decides only how a step's rows are dealt to its forward passes, so evenly
    that the largest pass, and with it the peak of memory, is small. The first pass is the largest of its step.
    """
    generator = random.Random(f"{seed}/{epoch}")
    indices = list(range(len(lengths)))
    generator.shuffle(indices)
    steps = [indices[at : at + batch_size] for at in range(0, len(indices), batch_size)]
    whole = len(indices) // batch_size  # a short step stays the last: it ends the epoch
    if whole > 1:
        heaviest = max(range(whole), key=lambda at: sum(lengths[index] for index in steps[at]))
        steps[0], steps[heaviest] = steps[heaviest], steps[0]
    return [index for step in steps for one in micro_batches(step, lengths, micro_batch_size=micro_batch_size) for index in one]


def micro_batches(step: Sequence[int], lengths: Sequence[int], *, micro_batch_size: int) -> list[list[int]]:
    """A step's rows in its forward passes: each has `micro_batch_size` rows, the last the rest; the first has the most tokens."""
    if micro_batch_size >= len(step):
        return [list(step)]
    sizes = [min(micro_batch_size, len(step) - at) for at in range(0, len(step), micro_batch_size)]
    passes = dealt(step, lengths, rooms=sizes)
    whole = [at for at in range(len(sizes)) if sizes[at] == micro_batch_size]
    heaviest_first = sorted(whole, key=lambda at: -sum(lengths[index] for index in passes[at]))
    return [passes[at] for at in heaviest_first] + [passes[at] for at in range(len(whole), len(sizes))]


def dealt(rows: Sequence[int], lengths: Sequence[int], *, rooms: Sequence[int]) -> list[list[int]]:
    """The rows in parts of at most so many each, with tokens as even as that allows.

    The longest row that is left goes to the part with the fewest tokens that has room (LPT, Graham 1969).
    """
    parts: list[list[int]] = [[] for _ in rooms]
    tokens = [0] * len(rooms)
    for row in sorted(rows, key=lambda row: -lengths[row]):
        lightest = min((at for at in range(len(rooms)) if len(parts[at]) < rooms[at]), key=lambda at: tokens[at])
        parts[lightest].append(row)
        tokens[lightest] += lengths[row]
    return parts


def packed(lengths: Sequence[int], *, max_seq_length: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """Every index once, in sequences of at most `max_seq_length` tokens: best-fit decreasing (arXiv 2404.10830).

    The longest row that is left goes where it leaves the least room. Rows of one length are drawn anew each epoch; the number
    of sequences, and how long they are, is the same in all of them. Raises ValueError for a row that fits into no sequence.
    """
    if max(lengths) > max_seq_length:
        raise ValueError(f"a row of {max(lengths)} tokens fits into no sequence of {max_seq_length}")
    indices = list(range(len(lengths)))
    random.Random(f"{seed}/{epoch}/packed").shuffle(indices)
    sequences: list[list[int]] = []
    with_room: dict[int, list[int]] = defaultdict(list)  # tokens of room left -> sequences that have it
    rooms: list[int] = []  # its keys, ascending
    for index in sorted(indices, key=lambda index: -lengths[index]):
        at = bisect_left(rooms, lengths[index])
        if at == len(rooms):
            sequence, room = len(sequences), max_seq_length
            sequences.append([])
        else:
            room = rooms[at]
            sequence = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[at]
        sequences[sequence].append(index)
        room -= lengths[index]
        if room not in with_room:
            insort(rooms, room)
        with_room[room].append(sequence)
    return [tuple(sequence) for sequence in sequences]


def packed_sequences(lengths: Sequence[int], *, max_seq_length: int) -> int:
    """How many sequences `packed` makes of rows with these lengths, in every epoch."""
    return len(packed(lengths, max_seq_length=max_seq_length, seed=0, epoch=0))


def sequences(
    lengths: Sequence[int], *, max_seq_length: int | None, batch_size: int, micro_batch_size: int, seed: int, epoch: int
) -> list[tuple[int, ...]]:
    """An epoch of flat rows, as it is trained: rows alone (`max_seq_length` None) or packed, in the order of `shuffled`.

    `batch_size` and `micro_batch_size` count sequences.
    """
    if max_seq_length is None:
        parts: list[tuple[int, ...]] = [(index,) for index in range(len(lengths))]
    else:
        parts = packed(lengths, max_seq_length=max_seq_length, seed=seed, epoch=epoch)
    tokens = [sum(lengths[index] for index in part) for part in parts]
    found = shuffled(tokens, batch_size=batch_size, micro_batch_size=micro_batch_size, seed=seed, epoch=epoch)
    return [parts[at] for at in found]


def largest_micro_batch_tokens(
    lengths: Sequence[int], *, batch_size: int, micro_batch_size: int, seed: int, epochs: int, max_seq_length: int | None = None
) -> int:
    """Tokens of the largest forward pass that a run of so many whole epochs sees, with flat rows (packed: `max_seq_length`)."""
    largest = 0
    for epoch in range(epochs):
        order = sequences(
            lengths, max_seq_length=max_seq_length, batch_size=batch_size, micro_batch_size=micro_batch_size, seed=seed, epoch=epoch
        )
        tokens = [sum(lengths[index] for index in sequence) for sequence in order]
        # Passes don't straddle steps: batch_size is a multiple of micro_batch_size.
        largest = max(largest, *(sum(tokens[at : at + micro_batch_size]) for at in range(0, len(tokens), micro_batch_size)))
    return largest
