"""The rows that every leg of a case trains on, in the order in which it trains on them. No torch."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unsloth_ft.bench.case import Case, Lengths
from unsloth_ft.chat import IGNORE, Row

P95 = 1.6449  # standard deviations from a normal distribution's median to its 95th percentile
SHORTEST = 8  # tokens
DATA_SET_ROWS = 400  # as the speed study's; rows are grouped within a data set, of which a case trains the first steps
# Ordinary tokens in every vocabulary of the catalog: control tokens stand below (Mistral: 0 to 770) or far above (Llama, Qwen).
FIRST_ID, LAST_ID = 1_000, 30_000


@dataclass(frozen=True)
class Workload:
    """Rows in training order; `steps` times `effective_batch_size` of them. The first `warm_up_steps` are not measured."""

    rows: tuple[Row, ...]
    effective_batch_size: int
    warm_up_steps: int
    others: tuple[Row, ...] = ()
    """Rows that are in the data set besides, and which no step has."""

    @property
    def steps(self) -> int:
        """Warm-up included."""
        return len(self.rows) // self.effective_batch_size

    def step(self, number: int) -> tuple[Row, ...]:
        """The rows of step `number`, from 0."""
        return self.rows[number * self.effective_batch_size : (number + 1) * self.effective_batch_size]

    @property
    def measured(self) -> tuple[Row, ...]:
        """Rows of the steps after the warm-up."""
        return self.rows[self.warm_up_steps * self.effective_batch_size :]

    def padding_share(self) -> float:
        """What share of a batch is padding when a step's rows are padded to its longest."""
        computed = sum(self.effective_batch_size * max(map(length, self.step(number))) for number in range(self.steps))
        return 1 - sum(map(length, self.rows)) / computed


def length(row: Row) -> int:
    return len(row.input_ids)


def build(case: Case, *, vocab_size: int, rows_seed: int | None = None) -> Workload:
    """Rows with random ids and the case's lengths, the last `case.learned` of each learned, as an answer is.

    Ids are random because speed and memory don't depend on them, and a checkpoint with random weights has no text to like.
    """
    generator = random.Random(f"rows/{case.seed if rows_seed is None else rows_seed}")
    count = (case.warm_up_steps + case.steps) * case.effective_batch_size
    drawn = max(count, DATA_SET_ROWS) if case.order == "grouped" else count
    lengths = [draw_length(case.lengths, generator) for _ in range(drawn)]
    if case.order == "grouped":
        lengths = grouped(lengths, batch_size=case.effective_batch_size, seed=case.seed)[:count]
    first, last = ordinary_ids(vocab_size)
    rows = tuple(random_row(size, case.learned, generator, first=first, last=last, where=f"row {at}") for at, size in enumerate(lengths))
    others = other_rows(max(0, (case.rows or 0) - count), case, generator, first=first, last=last)
    return Workload(rows, case.effective_batch_size, case.warm_up_steps, others)


def ordinary_ids(vocab_size: int) -> tuple[int, int]:
    """(first, last) of the ids that rows are drawn from."""
    last = min(LAST_ID, vocab_size) - 1
    return min(FIRST_ID, last // 2), last


def draw_length(lengths: Lengths, generator: random.Random) -> int:
    """Tokens of one row."""
    spread = math.log(lengths.p95 / lengths.median) / P95
    return max(SHORTEST, min(lengths.longest, round(generator.lognormvariate(math.log(lengths.median), spread))))


def grouped(lengths: Sequence[int], *, batch_size: int, seed: int) -> list[int]:
    """The lengths in the order of the product's own length grouping, which is transformers' rule."""
    from unsloth_ft.order import by_length

    return [lengths[index] for index in by_length(lengths, batch_size=batch_size, seed=seed, epoch=0)]


def random_row(size: int, learned: float, generator: random.Random, *, first: int, last: int, where: str) -> Row:
    ids = tuple(generator.randint(first, last) for _ in range(size))
    prompt = min(size - 1, max(1, round(size * (1 - learned))))  # the first token is never predicted
    return Row(input_ids=ids, labels=(IGNORE,) * prompt + ids[prompt:], where=where, turn_ends=(size,))


def other_rows(count: int, case: Case, generator: random.Random, *, first: int, last: int) -> tuple[Row, ...]:
    """Rows that make the data set larger. Their ids are cut out of one stretch: drawing 17 million one by one takes a minute."""
    stretch = tuple(generator.choices(range(first, last + 1), k=2 * case.lengths.longest)) if count else ()
    made = []
    for at in range(count):
        begin, size = generator.randrange(case.lengths.longest), draw_length(case.lengths, generator)
        ids = stretch[begin : begin + size]
        made.append(Row(input_ids=ids, labels=ids, where=f"other row {at}", turn_ends=(size,)))
    return tuple(made)


def sha256_of(steps: Iterable[Iterable[tuple[Sequence[int], Sequence[int]]]]) -> str:
    """Of the (ids, labels) of every step's rows, the steps in order.

    Within a step the order is left out: which micro-batch a row goes into is the leg's own choice, and changes nothing in
    what the step learns from.
    """
    whole = hashlib.sha256()
    for step in steps:
        rows = sorted(hashlib.sha256(repr((tuple(ids), tuple(labels))).encode()).digest() for ids, labels in step)
        whole.update(hashlib.sha256(b"".join(rows)).digest())
    return whole.hexdigest()
