"""The figures of a measurement, each with its unit and with the words for more and less of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

from unsloth_ft.bench.measurement import Measurement
from unsloth_ft.bench.statistics import FEWEST_REPEATS, Ratio, Spread, paired, spread
from unsloth_ft.bench.trials import LegResult
from unsloth_ft.report.wording import size


@dataclass(frozen=True)
class Figure:
    """`read` gives the figure of one measurement, None where it has none; `show` is the figure with its unit."""

    title: str
    read: Callable[[Measurement], float | None]
    show: Callable[[float], str]
    more: str
    """Word for a leg whose figure is the larger one."""
    less: str
    better: str = ""
    """`more` or `less`: which of the two one wants; empty where that is open."""
    at_least: Callable[[Measurement], bool] | None = None
    """Whether a measurement's figure is only known to be no less than that."""
    uncounted: bool = False
    """Whether repeats that loaded kernels have it too."""
    zero: bool = False
    """Whether 0 is a figure, and not a reading that failed."""

    def values(self, leg: LegResult) -> dict[int, float]:
        return leg.values(self.read, uncounted=self.uncounted, zero=self.zero)

    def spread(self, leg: LegResult) -> Spread | None:
        values = self.values(leg)
        return spread(list(values.values())) if values else None

    def told_of(self, leg: LegResult) -> str:
        """The leg's median and spread; `≥` where a repeat ended before it knew."""
        least = self.at_least is not None and any(map(self.at_least, leg.done))
        return ("≥ " if least else "") + self.told(self.spread(leg))

    def ratio(self, ours: LegResult, theirs: LegResult) -> Ratio | None:
        """By repeat, as legs of one trial take turns; of all repeats, with nothing said for sure, where no turn has both.

        None where one is only known to be no less than that: the ratio may be any other.
        """
        if self.at_least is not None and any(map(self.at_least, (*ours.done, *theirs.done))):
            return None
        one, two = (leg.values(self.read, uncounted=self.uncounted) for leg in (ours, theirs))
        if one and two and not one.keys() & two.keys():
            return Ratio(spread(list(one.values())).median / spread(list(two.values())).median, None, None, 0)
        return paired(one, two)

    def told(self, found: Spread | None) -> str:
        """`192 tokens/s [190, 195]`; one repeat, or equal ones, have no spread."""
        if found is None:
            return "not measured"
        if found.least == found.largest:
            return self.show(found.median)
        median = self.show(found.median)
        ends = [_without_unit(self.show(end), median) for end in (found.least, found.largest)]
        return f"{median} [{', '.join(ends)}]"

    def verdict(self, ratio: Ratio | None) -> str:
        """`faster by 1.80 × [1.62, 2.01]`, always with a ratio above 1; or `no difference`, with the smallest that would show."""
        if ratio is None:
            return "not compared"
        if not ratio.repeats:
            return f"{times(ratio)} by other turns; no verdict"
        if ratio.difference == "unknown":
            return f"too few repeats ({ratio.repeats}; a verdict needs {FEWEST_REPEATS}): {times(ratio)}"
        if ratio.difference == "none":
            return f"no difference: {times(ratio)}; {ratio.smallest:.0%} would show"
        return f"{self.more} by {times(ratio)}" if ratio.difference == "more" else f"{self.less} by {times(ratio.inverse)}"


def times(ratio: Ratio) -> str:
    """`1.80 × [1.62, 2.01]`"""
    if ratio.low is None or ratio.high is None:
        return f"{_factor(ratio.value)} ×"
    return f"{_factor(ratio.value)} × [{_factor(ratio.low)}, {_factor(ratio.high)}]"


def short_seconds(value: float) -> str:
    """Three digits: start-up takes tenths of a second, an export minutes."""
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def step_seconds(one: Measurement) -> float | None:
    """The median of the measured steps."""
    measured = [step.seconds for step in one.steps if not step.warm_up]
    return statistics.median(measured) if measured else None


def all_seconds(one: Measurement) -> float | None:
    """What takes longer with more rows: all measured steps, or the command."""
    return command_seconds(one) or sum(step.seconds for step in one.steps if not step.warm_up) or None


def command_seconds(one: Measurement) -> float | None:
    return statistics.median(one.seconds) if one.seconds else None


def rows_per_second(one: Measurement) -> float | None:
    seconds = command_seconds(one)
    return one.amount["rows"] / seconds if seconds and "rows" in one.amount else None


def joules_per_token(one: Measurement) -> float | None:
    tokens = sum(step.tokens for step in one.steps if not step.warm_up)
    return one.energy_joules / tokens if one.energy_joules is not None and tokens else None


def cold(one: Measurement) -> bool:
    """Whether nothing that the leg compiles was there yet: its first repeat of a call."""
    return one.machine.get("caches") == "cold"


def padding(one: Measurement) -> float | None:
    """Share of the tokens that went through the model and are none: what the leg wasted."""
    measured = [step for step in one.steps if not step.warm_up]
    computed = sum(step.computed_tokens for step in measured)
    return 1 - sum(step.tokens for step in measured) / computed if computed else None


def _without_unit(shown: str, like: str) -> str:
    """`1.52` of `1.52 GiB` beside another GiB; beside a MiB it stays whole."""
    number, _, unit = shown.rpartition(" ")
    return number if number and unit == like.rpartition(" ")[2] else shown


def at_least(one: Measurement) -> bool:
    """Whether a search for the longest row ended by its time, or with all lengths that were asked for."""
    return one.longest_tokens is not None and (one.amount.get("exact") == 0 or one.amount.get("shortest_failed_tokens") == 0)


def _factor(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rate(unit: str) -> Callable[[float], str]:
    return lambda value: f"{value:,.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}" if value >= 10 else f"{value:.2f} {unit}"


def _bytes(title: str, read: Callable[[Measurement], float | None]) -> Figure:
    return Figure(title, read, size, more="more memory", less="less memory", better="less")


def _seconds(title: str, read: Callable[[Measurement], float | None]) -> Figure:
    return Figure(title, read, short_seconds, more="slower", less="faster", better="less")


SPEED = Figure("speed", lambda one: one.tokens_per_second, _rate("tokens/s"), more="faster", less="slower", better="more")
ROWS = Figure("speed", rows_per_second, _rate("rows/s"), more="faster", less="slower", better="more")
LONGEST = Figure(
    "longest row",
    lambda one: one.longest_tokens,
    lambda value: f"{value:,.0f} tokens",
    more="longer",
    less="shorter",
    better="more",
    at_least=at_least,
)
SECONDS = _seconds("time", command_seconds)
STEP = _seconds("step", step_seconds)
ALL = _seconds("time for all rows", all_seconds)
RESERVED = _bytes("device memory, reserved", lambda one: one.peak_device_reserved_bytes)
ALLOCATED = _bytes("device memory, allocated", lambda one: one.peak_device_allocated_bytes)
HOST = _bytes("host memory", lambda one: one.peak_host_bytes)
IMPORT = _seconds("imports", lambda one: one.import_seconds)
LOAD = _seconds("model load", lambda one: one.load_seconds)
WARM_UP = _seconds("warm-up", lambda one: None if cold(one) else one.warm_up_seconds)
COLD_WARM_UP = replace(
    _seconds("warm-up that compiles", lambda one: one.warm_up_seconds if cold(one) else None),
    uncounted=True,
)
MATMUL_SHARE = Figure(
    "share of the matmul rate",
    lambda one: one.model_flops_utilisation,
    lambda value: f"{value:.1%}",
    more="more",
    less="less",
    better="more",
)
ENERGY = Figure("energy", joules_per_token, lambda value: f"{value:.3g} J/token", more="more", less="less", better="less")
PADDING = Figure("padding", padding, lambda value: f"{value:.1%}", more="more", less="less", better="less", zero=True)
ADAPTER = Figure("adapter", lambda one: one.adapter_bytes, size, more="larger", less="smaller")


def headline_of(measures: str, leg: LegResult | None = None) -> Figure:
    """The figure that a case asks for; data is told in rows/s where the command says how many rows it read."""
    if measures == "data" and leg is not None and not ROWS.values(leg):
        return SECONDS
    return {"training": SPEED, "context": LONGEST, "data": ROWS, "export": SECONDS, "startup": SECONDS}[measures]


def memory_of(legs: tuple[LegResult, ...]) -> Figure:
    """Of a trial: what the device reserved where one was used, else the host's."""
    return RESERVED if any(RESERVED.values(leg) for leg in legs) else HOST
