"""Histograms of lengths as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from unsloth_ft.data.histogram import Histogram
from unsloth_ft.report import plots
from unsloth_ft.report.plots import Scale, Size, place, svg

WIDE = Size(880, 250, left=56, right=16, top=64, bottom=44)
NARROW = Size(360, 230, left=46, right=12, top=64, bottom=44)
PERCENTILES = (50, 95, 99)
_BARS = 40
_BEYOND = 1.5  # times the 99th percentile: what is longer shares the last bar, or the others would be too narrow to see
_LABEL_LINE = 15  # CSS pixels; each mark's words have a line of their own, so that no two can meet
_CHARACTER = 6.5  # CSS pixels, wide


@dataclass(frozen=True)
class Bars:
    """Counts in [edges[i], edges[i + 1]); `beyond` counts what is at or past the last edge."""

    edges: tuple[int, ...]
    counts: tuple[int, ...]
    beyond: int


def bars(histogram: Histogram) -> Bars:
    """The histogram in at most 40 bars of one whole width, from 0 to its largest value or to half as much again as its 99th percentile."""
    end = min(histogram.most, math.ceil(_BEYOND * histogram.percentile(99))) + 1
    width = max(1, _round_up(end / _BARS))
    edges = tuple(range(0, end + width, width))
    counts = [0] * (len(edges) - 1)
    beyond = 0
    for value, count in histogram.counts.items():
        at = value // width
        if at < len(counts):
            counts[at] += count
        else:
            beyond += count
    return Bars(edges, tuple(counts), beyond)


def draw(histogram: Histogram, *, size: Size, unit: str, name: str, limit: int | None = None) -> Markup:
    """The bars with their median, 95th and 99th percentile, and `limit` (max_seq_length) if any; '' for no values."""
    if not histogram.number:
        return Markup("")
    found = bars(histogram)
    width = found.edges[1]
    drawn = [*found.counts, *([found.beyond] if found.beyond else [])]
    marks = [(f"p{percent}", histogram.percentile(percent), "mark") for percent in PERCENTILES]
    marks += [("max_seq_length", limit, "limit")] if limit is not None else []
    end = max(found.edges[-1] + (width if found.beyond else 0), limit or 0)
    x = Scale(0, end, size.left, size.width - size.right)
    y = Scale(0, max(drawn), size.height - size.bottom, size.top)
    words = ", ".join(f"{mark} {value:,}" for mark, value, _ in marks)
    parts = [*_axes(x, y, size, unit), *_bars(found, drawn, x, y, width), *_marks(marks, x, size)]
    return svg(parts, size.width, size.height, f"{name}, {histogram.number:,} in {unit}: {words}, longest {histogram.most:,}")


def _round_up(width: float) -> int:
    """1, 2 or 5 times a power of ten, at least `width`."""
    power = 10 ** math.floor(math.log10(max(width, 1)))
    return next(factor * power for factor in plots.TICK_STEPS if factor * power >= width)


def _bars(found: Bars, drawn: Sequence[int], x: Scale, y: Scale, width: int) -> list[str]:
    parts = []
    for at, count in enumerate(drawn):
        if not count:
            continue
        begin, over = at * width, at >= len(found.counts)
        left, right, top = x(begin), x(begin + width), min(y(count), y(0) - 1)
        told = f"{begin:,} or longer" if over else f"{begin:,}" if width == 1 else f"{begin:,} to {begin + width - 1:,}"
        gap = min(1.0, (right - left) / 4)
        parts.append(
            f'<rect class="{"over" if over else "count"}" x="{place(left)}" y="{place(top)}" width="{place(max(0.5, right - left - gap))}"'
            f' height="{place(y(0) - top)}"><title>{told}: {count:,}</title></rect>'
        )
    return parts


def _marks(marks: Sequence[tuple[str, int, str]], x: Scale, size: Size) -> list[str]:
    """A line each with its words above the plot, to the right of it where there is room."""
    lines, words = [], []
    for row, (name, value, kind) in enumerate(marks):
        at, text = x(min(value, x.high)), f"{name} {value:,}"
        right = at + 5 + _CHARACTER * len(text) > size.width - size.right
        level = size.top - 4 - _LABEL_LINE * (len(marks) - row - 1)
        lines.append(f'<line class="{kind}" x1="{place(at)}" y1="{level - 10}" x2="{place(at)}" y2="{size.height - size.bottom}"/>')
        words.append(
            f'<text class="{kind}-label" x="{place(at + (-5 if right else 5))}" y="{level}" text-anchor="{"end" if right else "start"}">'
            f"{escape(text)}</text>"
        )
    return [*lines, *words]


def _axes(x: Scale, y: Scale, size: Size, unit: str) -> list[str]:
    bottom = size.height - size.bottom
    parts = []
    for tick in plots.ticks(0, y.high, count=3):
        if tick == int(tick) and tick <= y.high:
            parts.append(
                f'<line class="grid" x1="{size.left}" y1="{place(y(tick))}" x2="{size.width - size.right}" y2="{place(y(tick))}"/>'
            )
            parts.append(f'<text class="tick" x="{size.left - 8}" y="{place(y(tick) + 4)}" text-anchor="end">{_short(tick)}</text>')
    for tick in plots.ticks(0, x.high, count=8 if size.width > 500 else 4):
        if tick == int(tick) and tick <= x.high:
            parts.append(f'<line class="axis" x1="{place(x(tick))}" y1="{bottom}" x2="{place(x(tick))}" y2="{bottom + 5}"/>')
            parts.append(f'<text class="tick" x="{place(x(tick))}" y="{bottom + 19}" text-anchor="middle">{tick:,.0f}</text>')
    parts.append(f'<line class="axis" x1="{size.left}" y1="{bottom}" x2="{size.width - size.right}" y2="{bottom}"/>')
    parts.append(f'<text class="unit" x="{size.width - size.right}" y="{size.height - 6}" text-anchor="end">{escape(unit)}</text>')
    return parts


def _short(number: float) -> str:
    """2500 as 2.5k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
