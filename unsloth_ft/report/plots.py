"""Plots as inline SVG text: no script, no font, no colour of their own (the page's style sheet gives every class its colour)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]

MOST_POINTS = 400  # a curve; about one a pixel of the widest plot's inner width
SMOOTHED_SHARE = 20  # the training loss is smoothed over a 20th of its points
TICK_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Size:
    """A plot's outer size and margins, in its own units (CSS pixels at full width)."""

    width: int
    height: int
    left: int = 52
    right: int = 16
    top: int = 22
    bottom: int = 44


WIDE = Size(880, 320)
NARROW = Size(360, 270, left=40, right=16)


@dataclass(frozen=True)
class Scale:
    """Maps low..high to begin..end; a range of no width maps to the middle."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.begin + self.end) / 2
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def ticks(low: float, high: float, *, count: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) around low..high, at most `count` + 2 of them."""
    if high == low:
        low, high = low - abs(low or 1) / 2, high + abs(high or 1) / 2
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in TICK_STEPS if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(first, last + 1)]


def smooth(values: Sequence[float], width: int) -> list[float]:
    """Means of `width` neighbours, fewer at both ends; a value that is no number stays out, and stays what it is."""
    half = width // 2
    found = []
    for at, value in enumerate(values):
        near = [other for other in values[max(0, at - half) : at + half + 1] if math.isfinite(other)]
        found.append(sum(near) / len(near) if math.isfinite(value) else math.nan)
    return found


def smoothing_width(count: int) -> int:
    """How many points `loss_curves` means over: odd, and 1 (no smoothing) for a short run."""
    return max(1, count // SMOOTHED_SHARE) | 1 if count >= 2 * SMOOTHED_SHARE else 1


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points: the means of equal runs of neighbours. A run that holds a value that is no number keeps it."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / most)
    runs = [points[at : at + size] for at in range(0, len(points), size)]
    return [(sum(x for x, _ in run) / len(run), sum(y for _, y in run) / len(run)) for run in runs]


def segments(points: Sequence[Point]) -> list[list[Point]]:
    """The points in runs without a value that is no number, so that a line breaks there."""
    found: list[list[Point]] = [[]]
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            found[-1].append((x, y))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def loss_curves(train: Sequence[Point], evaluations: Sequence[Point], *, best_step: int | None, size: Size, label: str) -> Markup:
    """Training and eval loss over the step; '' when there is no finite point. `label` is what a screen reader says."""
    finite = [point for run in segments([*train, *evaluations]) for point in run]
    if not finite:
        return Markup("")
    x_ticks = [tick for tick in ticks(0, max(1, *(x for x, _ in finite)), count=8 if size.width > 500 else 4) if tick == int(tick)]
    losses = [y for _, y in finite]
    y_ticks = ticks(min(losses), max(losses), count=5)
    x_scale = Scale(0, max(max(x for x, _ in finite), 1), size.left, size.width - size.right)
    y_scale = Scale(y_ticks[0], y_ticks[-1], size.height - size.bottom, size.top)
    smoothed = smooth([y for _, y in train], smoothing_width(len(train)))
    parts = [
        *_axes(x_ticks, y_ticks, x_scale, y_scale, size),
        *_lines(thin(train), x_scale, y_scale, "raw" if smoothing_width(len(train)) > 1 else "train"),
        *(
            _lines(thin([(x, y) for (x, _), y in zip(train, smoothed)]), x_scale, y_scale, "train")
            if smoothing_width(len(train)) > 1
            else []
        ),
        *_best(best_step, evaluations, x_scale, y_scale, size),
        *_lines(thin(evaluations), x_scale, y_scale, "eval"),
        *(
            f'<circle class="eval-dot" cx="{place(x_scale(x))}" cy="{place(y_scale(y))}" r="4"/>'
            for run in segments(thin(evaluations))
            for x, y in run
        ),
    ]
    return svg(parts, size.width, size.height, label)


def bar(share: float, *, kind: str) -> Markup:
    """A horizontal bar, `share` (0 to 1) of its box's width. The number stands beside it in words, so it is hidden from screen readers."""
    width = 100 * min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    return Markup(
        '<svg class="bar {kind}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="10"/><rect class="fill" width="{width}" height="10"/></svg>'
    ).format(kind=kind, width=place(width))


def interval(value: float, low: float, high: float, *, label: str) -> Markup:
    """A difference with its interval on a line that shows 0; '' when one of them is no number."""
    if not all(math.isfinite(number) for number in (value, low, high)):
        return Markup("")
    size = Size(340, 56)
    begin, end = min(low, 0.0), max(high, 0.0)
    margin = 0.1 * (end - begin) or 1.0
    x = Scale(begin - margin, end + margin, 8, size.width - 8)
    parts = [
        f'<line class="axis" x1="8" y1="22" x2="{size.width - 8}" y2="22"/>',
        f'<line class="zero" x1="{place(x(0))}" y1="6" x2="{place(x(0))}" y2="38"/>',
        (
            f'<text class="tick" x="{place(x(0))}" y="52" text-anchor="middle">0: no change</text>'
            if abs(x(0) - size.width / 2) < 100
            else (
                f'<text class="tick" x="{place(x(0) + (14 if x(0) > 170 else -14))}" y="52"'
                f' text-anchor="{"end" if x(0) > 170 else "start"}">0: no change</text>'
            )
        ),
        f'<line class="span" x1="{place(x(low))}" y1="22" x2="{place(x(high))}" y2="22"/>',
        *(f'<line class="cap" x1="{place(x(at))}" y1="15" x2="{place(x(at))}" y2="29"/>' for at in (low, high)),
        f'<circle class="value" cx="{place(x(value))}" cy="22" r="5"/>',
    ]
    return svg(parts, size.width, size.height, label)


def svg(parts: Sequence[str], width: int, height: int, label: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>')


def _axes(x_ticks: Sequence[float], y_ticks: Sequence[float], x: Scale, y: Scale, size: Size) -> list[str]:
    digits = max((len(f"{tick:.10f}".rstrip("0").partition(".")[2]) for tick in y_ticks), default=0)
    bottom = size.height - size.bottom
    parts = [
        f'<line class="grid" x1="{size.left}" y1="{place(y(tick))}" x2="{size.width - size.right}" y2="{place(y(tick))}"/>'
        for tick in y_ticks
    ]
    parts += [
        f'<text class="tick" x="{size.left - 8}" y="{place(y(tick) + 4)}" text-anchor="end">{tick:.{digits}f}</text>' for tick in y_ticks
    ]
    shown = [tick for tick in x_ticks if tick <= x.high]
    parts += [f'<line class="axis" x1="{place(x(tick))}" y1="{bottom}" x2="{place(x(tick))}" y2="{bottom + 5}"/>' for tick in shown]
    parts += [f'<text class="tick" x="{place(x(tick))}" y="{bottom + 19}" text-anchor="middle">{tick:,.0f}</text>' for tick in shown]
    parts.append(f'<line class="axis" x1="{size.left}" y1="{bottom}" x2="{size.width - size.right}" y2="{bottom}"/>')
    parts.append(f'<text class="unit" x="{size.width - size.right}" y="{size.height - 6}" text-anchor="end">optimizer step</text>')
    parts.append(f'<text class="unit" x="{size.left}" y="12">loss, nats a token</text>')
    return parts


def _lines(points: Sequence[Point], x: Scale, y: Scale, kind: str) -> list[str]:
    """A polyline a run of finite points; a lone point is a dot."""
    parts = []
    for run in segments(points):
        if len(run) == 1:
            parts.append(f'<circle class="{kind}-dot" cx="{place(x(run[0][0]))}" cy="{place(y(run[0][1]))}" r="2"/>')
        else:
            parts.append(f'<polyline class="{kind}" points="{" ".join(f"{place(x(at))},{place(y(loss))}" for at, loss in run)}"/>')
    return parts


def _best(step: int | None, evaluations: Sequence[Point], x: Scale, y: Scale, size: Size) -> list[str]:
    if step is None or not x.low <= step <= x.high:
        return []
    at = x(step)
    right = at > size.width / 2
    parts = [f'<line class="best" x1="{place(at)}" y1="{size.top}" x2="{place(at)}" y2="{size.height - size.bottom}"/>']
    parts.append(
        f'<text class="best-label" x="{place(at + (-7 if right else 7))}" y="{size.top + 12}"'
        f' text-anchor="{"end" if right else "start"}">best: step {step:,}</text>'
    )
    loss = next((loss for found, loss in evaluations if found == step and math.isfinite(loss)), None)
    if loss is not None:
        parts.append(f'<circle class="best-ring" cx="{place(at)}" cy="{place(y(loss))}" r="8"/>')
    return parts


def place(number: float) -> str:
    """A coordinate to a tenth of a unit, without a needless end."""
    text = f"{number:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
