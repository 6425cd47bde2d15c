"""Text metrics and the bootstrap; plain functions of strings and numbers."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unsloth_ft.evaluate.losses import RowLoss, total

CONFIDENCE = 0.95
FEWEST_ROWS = 6  # five rows agree on a sign by chance in 2 × 2^-5 = 6.25 % of all cases: no 95 % statement can rest on them


@dataclass(frozen=True)
class Interval:
    """A difference after - before in nats a token, and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def normalise(answer: str) -> list[str]:
    """Words for comparing answers: lower case, no punctuation, no articles (SQuAD's evaluation, arXiv 1606.05250)."""
    words = re.sub(r"\b(a|an|the)\b", " ", answer.lower().translate(str.maketrans("", "", string.punctuation)))
    return words.split()


def token_f1(answer: str, expected: str) -> float:
    """Harmonic mean of precision and recall of the answer's words, 0 to 1 (SQuAD)."""
    found, wanted = normalise(answer), normalise(expected)
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def exact_match(answer: str, expected: str) -> float:
    """1 when the normalised answers are equal, else 0 (SQuAD)."""
    return float(normalise(answer) == normalise(expected))


def bootstrap(before: Sequence[RowLoss], after: Sequence[RowLoss], *, samples: int, seed: int) -> Interval:
    """The difference of the mean loss a token, with a percentile interval from resampling rows in pairs.

    Rows are drawn with replacement, before and after together, so that what makes a row hard cancels out
    (Efron & Tibshirani, An Introduction to the Bootstrap, chapters 8 and 13). With fewer than FEWEST_ROWS rows the interval is
    stretched to hold 0.
    """
    import numpy

    generator = numpy.random.default_rng(seed)
    tokens = numpy.array([row.tokens for row in before], dtype=numpy.float64)
    gain = numpy.array([row.nll for row in after]) - numpy.array([row.nll for row in before])
    rows = len(tokens)
    differences = []
    for _ in range(0, samples, 1_000):  # a thousand draws at a time: memory stays flat in the number of samples
        drawn = generator.integers(0, rows, size=(min(1_000, samples), rows))
        differences.append(gain[drawn].sum(axis=1) / tokens[drawn].sum(axis=1))
    tail = (1 - CONFIDENCE) / 2
    low, high = numpy.quantile(numpy.concatenate(differences)[:samples], [tail, 1 - tail])
    if rows < FEWEST_ROWS:
        low, high = min(low, 0.0), max(high, 0.0)
    return Interval(total(after) - total(before), float(low), float(high))
