"""The bench's plots as inline SVG text, in the manner of report/plots.py: no script, no font, colours from the page's style sheet.

A leg has one number on the whole page: its colour is the class `leg-N`, its marker's shape follows from it too, so that no plot
is read by colour alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from unsloth_ft.report.plots import Scale, Size, place, segments, svg, ticks

COLOURS = 10  # classes leg-0 to leg-9 in page.css
WIDE_WIDTH, NARROW_WIDTH = 880, 360  # as report/plots.py
NAME_WIDTH, TEXT_WIDTH = 170, 240  # columns beside a wide plot's bars; 12px letters are about 6.5 wide
ROW, NARROW_ROW = 30, 46
BAR = 14
CROSS = 13  # the width of the sign for a point that was not reached
DASH = 12  # of a leg's own places on a line that all share
LABEL_GAP = 38  # units that a number like 131,072 takes below an axis, with some air


@dataclass(frozen=True)
class Bar:
    """One leg's figure; `value` is None where there is none, and `text` says why."""

    name: str
    leg: int
    text: str
    value: float | None = None
    least: float = 0.0
    largest: float = 0.0
    invalid: bool = False


@dataclass(frozen=True)
class Strip:
    """One leg's raw samples, a tuple a repeat."""

    name: str
    leg: int
    repeats: tuple[tuple[float, ...], ...]
    invalid: bool = False


@dataclass(frozen=True)
class Curve:
    """One leg over the points of a sweep: (x, median, least, largest); `failed` holds the x of points that it didn't reach."""

    name: str
    leg: int
    points: tuple[tuple[float, float, float, float], ...]
    failed: tuple[float, ...] = ()
    invalid: bool = False


def colour(leg: int) -> str:
    return f"leg-{leg % COLOURS}"


def both(draw: Callable[..., Markup], *arguments: object, **named: object) -> tuple[Markup, Markup]:
    """The plot for a wide window and for a phone."""
    return draw(*arguments, narrow=False, **named), draw(*arguments, narrow=True, **named)


def bars(rows: Sequence[Bar], *, narrow: bool, label: str) -> Markup:
    """Horizontal bars from 0, with a whisker from the least to the largest; '' when no row has a value."""
    largest = max((bar.largest for bar in rows if bar.value is not None), default=0.0)
    if not largest:
        return Markup("")
    width, height = _width(narrow), (NARROW_ROW if narrow else ROW)
    left, right = _columns(narrow)
    x = Scale(0, largest, left, width - right)
    parts = []
    for at, bar in enumerate(rows):
        middle = at * height + (height - BAR / 2 - 6 if narrow else height / 2)
        parts += _named(bar.name, bar.text, middle, narrow=narrow, invalid=bar.invalid)
        if bar.value is not None:
            parts += _bar(bar, x, middle)
    if not narrow:  # on a phone it would run through the names
        parts.append(_line("axis", left, 0, left, len(rows) * height))
    return svg(parts, width, len(rows) * height, label)


def strips(rows: Sequence[Strip], *, narrow: bool, unit: str, label: str) -> Markup:
    """Every raw sample as a dot, a lane a repeat; a box from the first to the third quartile, a line at the median."""
    samples = [value for strip in rows for repeat in strip.repeats for value in repeat]
    if not samples:
        return Markup("")
    width, height = _width(narrow), (64 if narrow else 44)
    left, right = (8, 16) if narrow else (NAME_WIDTH, 16)
    marks = ticks(0, max(samples), count=4 if narrow else 8)
    x = Scale(0, marks[-1], left, width - right)
    bottom = len(rows) * height
    parts = [_line("grid", x(mark), 0, x(mark), bottom) for mark in marks]
    for at, strip in enumerate(rows):
        if strip.repeats:
            top = at * height + (22 if narrow else 6)
            parts += _strip(strip, x, top, at * height + height - 6)
        middle = at * height + (height - 13 if narrow else height / 2)
        parts += _named(strip.name, "", middle, narrow=narrow, invalid=strip.invalid)
    parts += [_line("axis", left, bottom, width - right, bottom)]
    parts += [_text("tick", x(mark), bottom + 17, _number(mark, marks), "middle") for mark in marks]
    parts.append(_text("unit", width - right, bottom + 34, unit, "end"))
    return svg(parts, width, bottom + 40, label)


def trajectories(lines: Sequence[tuple[str, int, Sequence[float]]], *, narrow: bool, label: str) -> Markup:
    """(name, leg, loss of each step): each a thin line with dashes in its own places, so that equal ones are one line of all colours."""
    finite = [loss for _, _, losses in lines for loss in losses if math.isfinite(loss)]
    if not finite:
        return Markup("")
    size = _size(narrow)
    steps = max(len(losses) for _, _, losses in lines)
    marks = ticks(min(finite), max(finite), count=5)
    x = Scale(1, max(steps, 2), size.left, size.width - size.right)
    y = Scale(marks[0], marks[-1], size.height - size.bottom, size.top)
    numbers = [tick for tick in ticks(1, max(steps, 2), count=4 if narrow else 8) if tick == int(tick) and 1 <= tick <= steps]
    parts = _frame([(x(tick), f"{tick:,.0f}") for tick in numbers], [(y(mark), _number(mark, marks)) for mark in marks], size)
    parts += _titles("step, warm-up included", "loss, nats a learned token", size)
    for at, (_, leg, losses) in enumerate(lines):
        dashes = f'stroke-dasharray="{DASH} {DASH * (len(lines) - 1)}" stroke-dashoffset="{-DASH * at}"'
        for run in segments([(step, loss) for step, loss in enumerate(losses, 1)]):
            points = " ".join(f"{place(x(step))},{place(y(loss))}" for step, loss in run)
            parts += [
                f'<polyline class="line {colour(leg)}" {way} points="{points}"/>'
                for way in ('stroke-width="1"', f'stroke-width="4" {dashes}')
            ]
    return svg(parts, size.width, size.height, label)


def curves(
    rows: Sequence[Curve],
    *,
    narrow: bool,
    label: str,
    x_title: str,
    y_title: str,
    logarithmic: bool = False,
    linear_reference: bool = False,
) -> Markup:
    """A line a leg over doubling values; y from 0, or logarithmic, where what grows in proportion is parallel to the reference."""
    points = [point for curve in rows for point in curve.points]
    if not points:
        return Markup("")
    size = _size(narrow, above=20 if any(curve.failed for curve in rows) else 0)
    values = sorted({point[0] for point in points} | {at for curve in rows for at in curve.failed})
    x = _Logarithmic(values[0], values[-1], size.left + 12, size.width - size.right - 12)
    y, marks = _vertical(points, size, logarithmic=logarithmic)
    parts = _frame(_apart([(x(value), _whole(value)) for value in values]), [(y(mark), _number(mark, marks)) for mark in marks], size)
    parts += _titles(x_title, y_title, size)
    if linear_reference:
        parts += _reference(rows, values, x, y)
    parts += [part for curve in rows for part in _curve(curve, x, y)]
    for at in sorted({at for curve in rows for at in curve.failed}):
        legs = [curve.leg for curve in rows if at in curve.failed]
        begin = x(at) - (len(legs) - 1) * CROSS / 2
        parts += [_text(f"failed {colour(leg)}", begin + CROSS * number, size.top - 10, "✕", "middle") for number, leg in enumerate(legs)]
    return svg(parts, size.width, size.height, label)


def swatch(leg: int) -> Markup:
    """A leg's line and marker, for a legend."""
    parts = [f'<line class="line {colour(leg)}" stroke-width="2.5" x1="1" y1="7" x2="27" y2="7"/>', _marker(leg, 14, 7)]
    return Markup(f'<svg viewBox="0 0 28 14" aria-hidden="true">{"".join(parts)}</svg>')


def reference_swatch() -> Markup:
    return Markup(f'<svg viewBox="0 0 28 14" aria-hidden="true">{_line("reference", 1, 7, 27, 7)}</svg>')


class _Logarithmic(Scale):
    """Equal factors are equal distances."""

    def __call__(self, value: float) -> float:
        return Scale(math.log(self.low), math.log(self.high), self.begin, self.end)(math.log(value))


def _vertical(points: Sequence[tuple[float, ...]], size: Size, *, logarithmic: bool) -> tuple[Scale, list[float]]:
    low, high = min(point[2] for point in points), max(point[3] for point in points)
    bottom, top = size.height - size.bottom, size.top
    if not logarithmic:
        marks = ticks(0, high, count=5)
        return Scale(0, marks[-1], bottom, top), marks
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(mark for mark in every if mark <= low * (1 + 1e-9))
    last = min((mark for mark in every if mark >= high * (1 - 1e-9)), default=every[-1])
    marks = [mark for mark in every if first <= mark <= last]
    return _Logarithmic(first, last, bottom, top), marks


def _bar(bar: Bar, x: Scale, middle: float) -> list[str]:
    assert bar.value is not None
    kind = f"fill {colour(bar.leg)}{' invalid' if bar.invalid else ''}"
    wide = place(x(bar.value) - x(0))
    parts = [f'<rect class="{kind}" x="{place(x(0))}" y="{place(middle - BAR / 2)}" width="{wide}" height="{BAR}"/>']
    if bar.largest > bar.least:
        parts.append(_line("whisker", x(bar.least), middle, x(bar.largest), middle))
        parts += [_line("whisker", x(end), middle - 4, x(end), middle + 4) for end in (bar.least, bar.largest)]
    return parts


def _strip(strip: Strip, x: Scale, top: float, bottom: float) -> list[str]:
    values = sorted(value for repeat in strip.repeats for value in repeat)
    parts = []
    if len(values) > 1:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        box = f'x="{place(x(low))}" y="{place(top)}" width="{place(max(1.0, x(high) - x(low)))}" height="{place(bottom - top)}"'
        parts.append(f'<rect class="box {colour(strip.leg)}" {box}/>')
    lane = (bottom - top) / len(strip.repeats)
    for at, repeat in enumerate(strip.repeats):
        middle = place(top + (at + 0.5) * lane)
        parts += [f'<circle class="sample {colour(strip.leg)}" cx="{place(x(value))}" cy="{middle}" r="2.5"/>' for value in repeat]
    median = statistics.median(values)
    return [*parts, _line("median", x(median), top, x(median), bottom)]


def _curve(curve: Curve, x: Scale, y: Scale) -> list[str]:
    kind = f"line {colour(curve.leg)}{' invalid' if curve.invalid else ''}"
    points = " ".join(f"{place(x(at))},{place(y(value))}" for at, value, *_ in curve.points)
    parts = [f'<polyline class="{kind}" stroke-width="2.25" points="{points}"/>'] if len(curve.points) > 1 else []
    for at, value, least, largest in curve.points:
        if largest > least:
            parts.append(_line(f"range {colour(curve.leg)}", x(at), y(least), x(at), y(largest)))
        parts.append(_marker(curve.leg, x(at), y(value)))
    return parts


def _reference(rows: Sequence[Curve], values: Sequence[float], x: Scale, y: Scale) -> list[str]:
    """In proportion to x, through the first leg's first point; it ends where it would leave the plot."""
    first = next((curve.points[0] for curve in rows if curve.points), None)
    if first is None:
        return []
    at, value = first[0], first[1]
    until = min(values[-1], at * y.high / value)
    return [_line("reference", x(at), y(value), x(until), y(value * until / at))] if until > at else []


def _marker(leg: int, x: float, y: float) -> str:
    """Circle, square, diamond, triangle, in turn."""
    kind = f"marker {colour(leg)}"
    if leg % 4 == 0:
        return f'<circle class="{kind}" cx="{place(x)}" cy="{place(y)}" r="4"/>'
    corners = (
        ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
        ((0, -5), (5, 0), (0, 5), (-5, 0)),
        ((0, -5), (4.7, 3.5), (-4.7, 3.5)),
    )[leg % 4 - 1]
    points = " ".join(f"{place(x + right)},{place(y + down)}" for right, down in corners)
    return f'<polygon class="{kind}" points="{points}"/>'


def _named(name: str, text: str, middle: float, *, narrow: bool, invalid: bool) -> list[str]:
    """A row's name and its figure: beside the bar, or above it on a phone."""
    kind = "name invalid" if invalid else "name"
    if narrow:
        above = middle - BAR / 2 - 6 if text else middle - 36
        return [_text(kind, 0, above, name, "start"), _text("figure", NARROW_WIDTH, above, text, "end")]
    return [_text(kind, 0, middle + 4, name, "start"), _text("figure", WIDE_WIDTH - TEXT_WIDTH + 10, middle + 4, text, "start")]


def _frame(x_marks: Sequence[tuple[float, str]], y_marks: Sequence[tuple[float, str]], size: Size) -> list[str]:
    bottom, right = size.height - size.bottom, size.width - size.right
    parts = [_line("grid", size.left, at, right, at) for at, _ in y_marks]
    parts += [_text("tick", size.left - 8, at + 4, words, "end") for at, words in y_marks]
    parts += [_line("axis", at, bottom, at, bottom + 5) for at, _ in x_marks]
    parts += [_text("tick", at, bottom + 19, words, "middle") for at, words in x_marks]
    return [*parts, _line("axis", size.left, bottom, right, bottom)]


def _titles(x_title: str, y_title: str, size: Size) -> list[str]:
    return [_text("unit", size.width - size.right, size.height - 6, x_title, "end"), _text("unit", 0, 12, y_title, "start")]


def _apart(marks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Without those whose number would touch the one before."""
    kept: list[tuple[float, str]] = []
    for at, words in marks:
        if not kept or at - kept[-1][0] >= LABEL_GAP:
            kept.append((at, words))
    return kept


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.2g}"


def _number(mark: float, marks: Sequence[float]) -> str:
    """With as many digits as tell all marks apart."""
    digits = max(len(f"{each:.6f}".rstrip("0").partition(".")[2]) for each in marks)
    return f"{mark:,.{digits}f}"


def _size(narrow: bool, *, above: int = 0) -> Size:
    """`above`: room between the plot and its title."""
    if narrow:
        return Size(NARROW_WIDTH, 270 + above, left=44, right=12, top=26 + above)
    return Size(WIDE_WIDTH, 320 + above, left=60, right=16, top=26 + above)


def _width(narrow: bool) -> int:
    return NARROW_WIDTH if narrow else WIDE_WIDTH


def _columns(narrow: bool) -> tuple[int, int]:
    return (0, 4) if narrow else (NAME_WIDTH, TEXT_WIDTH)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{place(x1)}" y1="{place(y1)}" x2="{place(x2)}" y2="{place(y2)}"/>'


def _text(kind: str, x: float, y: float, words: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{place(x)}" y="{place(y)}" text-anchor="{anchor}">{escape(words)}</text>' if words else ""
