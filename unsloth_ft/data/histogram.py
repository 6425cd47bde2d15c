"""Counts of whole numbers in bounded memory, from which percentiles are read."""

from __future__ import annotations

from dataclasses import dataclass, field

# Values below 2**12 are counted one by one; above, 2**11 counts share each doubling, so a value is off by at most one part in 2,048.
# A value of 2**40 and everything below it come to at most 2**12 + 28 * 2**11 = 61,440 counts.
EXACT_BITS = 12
RESOLUTION = "exact below 4,096, within 1 in 2,048 above"


def _bucket(value: int) -> int:
    """The largest value that is counted together with `value`."""
    shift = value.bit_length() - EXACT_BITS
    return value if shift <= 0 else ((value >> shift) + 1 << shift) - 1


@dataclass
class Histogram:
    """How often each length occurs. `merge` is associative and commutative; number, sum, least and most are exact."""

    counts: dict[int, int] = field(default_factory=dict)
    number: int = 0
    total: int = 0
    least: int = 0
    most: int = 0

    def add(self, value: int) -> None:
        """Count one value, 0 or more."""
        key = value if value < 1 << EXACT_BITS else _bucket(value)
        counts = self.counts
        counts[key] = counts.get(key, 0) + 1
        if value > self.most:
            self.most = value
        if value < self.least or not self.number:
            self.least = value
        self.number += 1
        self.total += value

    def merge(self, other: Histogram) -> None:
        """Add the other's counts to these."""
        if not other.number:
            return
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
        self.least = min(self.least, other.least) if self.number else other.least
        self.most = max(self.most, other.most)
        self.number += other.number
        self.total += other.total

    def percentile(self, percent: int) -> int:
        """The smallest length that `percent` per cent of the values don't exceed; 0 when there is none."""
        wanted = max(1, -(-self.number * percent // 100))
        for key in sorted(self.counts):
            wanted -= self.counts[key]
            if wanted <= 0:
                return min(key, self.most)
        return 0

    def above(self, limit: float) -> int:
        """How many values are larger than `limit` (by their counts' resolution)."""
        return sum(count for key, count in self.counts.items() if key > limit)

    def below(self, limit: float) -> int:
        """How many values are smaller than `limit`."""
        return sum(count for key, count in self.counts.items() if key < limit)

    def as_json(self) -> dict[str, int | float]:
        """Number, p50, p95, p99, max, mean."""
        mean = round(self.total / self.number, 1) if self.number else 0
        percentiles = {f"p{percent}": self.percentile(percent) for percent in (50, 95, 99)}
        return {"number": self.number, "min": self.least, "mean": mean, **percentiles, "max": self.most}
