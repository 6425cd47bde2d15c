"""What repeats can carry: a median with its spread, and the ratio of two legs with its interval.

No ratio is called a difference where the interval, or the practical floor, says that it may be none.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Difference = Literal["more", "less", "none", "unknown"]

# A difference below this is none, however sure it is: nobody chooses a trainer for 2 %.
FLOOR = 0.02
# With two repeats Student's t is 12.7 standard errors, and with one there is no error at all.
FEWEST_REPEATS = 3
# 97.5 % quantiles of Student's t for 1, 2, 3, … degrees of freedom: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2.
STUDENT_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """A median of repeats with the least and the largest of them."""

    median: float
    least: float
    largest: float
    repeats: int

    def holds(self, value: float) -> bool:
        return self.least <= value <= self.largest


@dataclass(frozen=True)
class Ratio:
    """One leg's figure over another's: the geometric mean over the repeats, with its 95 % interval; None with too few repeats."""

    value: float
    low: float | None
    high: float | None
    repeats: int

    @property
    def difference(self) -> Difference:
        """none: the interval holds 1, or the ratio is within FLOOR of it; unknown: too few repeats."""
        if self.low is None or self.high is None:
            return "unknown"
        if self.low <= 1 <= self.high or abs(math.log(self.value)) < math.log1p(FLOOR):
            return "none"
        return "more" if self.value > 1 else "less"

    @property
    def smallest(self) -> float | None:
        """The smallest difference that these repeats could have shown, as 0.05 for 5 %: half the interval, and no less than FLOOR."""
        return None if self.high is None else max(FLOOR, self.high / self.value - 1)

    @property
    def inverse(self) -> Ratio:
        """The other leg's figure over this one's."""
        if self.low is None or self.high is None:
            return Ratio(1 / self.value, None, None, self.repeats)
        return Ratio(1 / self.value, 1 / self.high, 1 / self.low, self.repeats)


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values), len(values))


def student_t(degrees: int) -> float:
    """The 97.5 % quantile; beyond 30 degrees of freedom that of 30, which makes an interval at most 4 % too wide."""
    return STUDENT_T[min(degrees, len(STUDENT_T)) - 1]


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Ratio | None:
    """Ours over theirs, both by repeat; None when no repeat has both.

    Repeats are interleaved, so what slowed repeat k of one leg slowed repeat k of the other: the interval is that of the mean of the
    pairs' log-ratios (Student's paired t), and what both suffered cancels.
    """
    logs = [math.log(ours[repeat] / theirs[repeat]) for repeat in sorted(ours.keys() & theirs.keys())]
    if not logs:
        return None
    error = statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0
    return _ratio(statistics.fmean(logs), error, degrees=len(logs) - 1, repeats=len(logs))


def unpaired(ours: Sequence[float], theirs: Sequence[float]) -> Ratio | None:
    """Ours over theirs of two runs that did not take turns (Welch's t on the logarithms); None when one side has no value."""
    if not ours or not theirs:
        return None
    one, two = ([math.log(value) for value in values] for values in (ours, theirs))
    mean, fewest = statistics.fmean(one) - statistics.fmean(two), min(len(one), len(two))
    if fewest < FEWEST_REPEATS:
        return _ratio(mean, 0.0, degrees=0, repeats=fewest)
    first, second = statistics.variance(one) / len(one), statistics.variance(two) / len(two)
    both = first + second
    # Welch and Satterthwaite's degrees of freedom, rounded down.
    degrees = both**2 / (first**2 / (len(one) - 1) + second**2 / (len(two) - 1)) if both else len(one) + len(two) - 2
    return _ratio(mean, math.sqrt(both), degrees=int(degrees), repeats=fewest)


def _ratio(mean: float, error: float, *, degrees: int, repeats: int) -> Ratio:
    if repeats < FEWEST_REPEATS:
        return Ratio(math.exp(mean), None, None, repeats)
    half = student_t(degrees) * error
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), repeats)
