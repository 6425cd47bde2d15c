from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from unsloth_ft.bench import plots
from unsloth_ft.bench.plots import Bar, Curve, Strip

BARS = (
    Bar("peft-naive", 0, "100 tokens/s", 100.0, 90.0, 110.0),
    Bar("mine (INVALID)", 3, "200 tokens/s", 200.0, 200.0, 200.0, invalid=True),
    Bar("peft-tuned", 1, "out of memory"),
)


def found(svg: str, kind: str) -> list[dict[str, str]]:
    """The attributes of every element of that class."""
    return [element.attrib for element in ElementTree.fromstring(str(svg)).iter() if kind in element.get("class", "").split()]


def words(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(str(svg)).iter() if element.text]


def test_a_bar_is_as_long_as_its_figure_with_a_whisker_from_least_to_largest():
    # 470 units (from 170 to 640) for 0 to 200 tokens/s.
    svg = plots.bars(BARS, narrow=False, label="speed")
    assert [(bar["x"], bar["width"]) for bar in found(svg, "fill")] == [("170", "235"), ("170", "470")]
    assert [(line["x1"], line["x2"]) for line in found(svg, "whisker")] == [("381.5", "428.5"), ("381.5", "381.5"), ("428.5", "428.5")]


def test_what_is_invalid_or_missing_is_seen():
    svg = plots.bars(BARS, narrow=False, label="speed")
    assert [bar["class"] for bar in found(svg, "invalid")] == ["name invalid", "fill leg-3 invalid"]
    assert words(svg) == ["peft-naive", "100 tokens/s", "mine (INVALID)", "200 tokens/s", "peft-tuned", "out of memory"]


def test_on_a_phone_names_and_figures_stand_above_their_bars():
    svg = plots.bars(BARS, narrow=True, label="speed")
    assert ElementTree.fromstring(svg).get("viewBox") == "0 0 360 138"
    names, figures = found(svg, "name"), found(svg, "figure")
    assert [(text["x"], text["text-anchor"]) for text in (names[0], figures[0])] == [("0", "start"), ("360", "end")]
    tops = [float(bar["y"]) for bar in found(svg, "fill")]
    assert [float(text["y"]) for text in names[:2]] == [top - 6 for top in tops]


def test_every_sample_is_a_dot_in_its_repeats_lane():
    rows = [Strip("a", 0, ((1.0, 2.0), (2.0, 3.0), (4.0, 10.0)))]
    svg = plots.strips(rows, narrow=False, unit="seconds a step", label="steps")
    dots = found(svg, "sample")
    # 694 units (from 170 to 864) for 0 to 10 s.
    assert [dot["cx"] for dot in dots] == ["239.4", "308.8", "308.8", "378.2", "447.6", "864"]
    assert len({dot["cy"] for dot in dots}) == 3
    assert [(line["x1"], line["x2"]) for line in found(svg, "median")] == [("343.5", "343.5")]
    (box,) = found(svg, "box")
    # Quartiles 2.0 and 3.75.
    assert (box["x"], box["width"]) == ("308.8", "121.4")


def test_equal_losses_share_one_line_with_dashes_in_turn():
    svg = plots.trajectories([("a", 0, [3.0, 2.0, 1.0]), ("b", 1, [3.0, 2.0, 1.0])], narrow=False, label="losses")
    lines = found(svg, "line")
    assert len({line["points"] for line in lines}) == 1
    dashed = [(line["class"], line["stroke-dasharray"], line["stroke-dashoffset"]) for line in lines if "stroke-dasharray" in line]
    assert dashed == [("line leg-0", "12 12", "0"), ("line leg-1", "12 12", "-12")]


def test_a_loss_that_is_no_number_breaks_its_line():
    svg = plots.trajectories([("a", 0, [3.0, 2.0, math.nan, 2.0, 1.0])], narrow=False, label="losses")
    assert [len(line["points"].split()) for line in found(svg, "line")] == [2, 2, 2, 2]
    assert "nan" not in svg


def test_doubling_values_are_equally_far_apart_and_memory_begins_at_zero():
    rows = [Curve("a", 0, ((256.0, 1.0, 0.9, 1.1), (512.0, 2.0, 2.0, 2.0), (1024.0, 4.0, 4.0, 4.0)))]
    svg = plots.curves(rows, narrow=False, label="memory", x_title="tokens a row", y_title="GiB")
    # x from 72 to 852 for 256 to 1024, y from 276 to 26 for 0 to 4.
    assert [line["points"] for line in found(svg, "line")] == ["72,213.5 462,151 852,26"]
    assert [(line["y1"], line["y2"]) for line in found(svg, "range")] == [("219.8", "207.2")]
    assert words(svg)[-2:] == ["tokens a row", "GiB"]


def test_what_grows_in_proportion_is_parallel_to_the_reference():
    points = tuple((at, at / 100, at / 100, at / 100) for at in (100.0, 200.0, 400.0))
    rows = [Curve("a", 0, points), Curve("b", 1, tuple((at, 2 * value, 2 * value, 2 * value) for at, value, *_ in points))]
    svg = plots.curves(rows, narrow=False, label="time", x_title="rows", y_title="seconds", logarithmic=True, linear_reference=True)
    (line,) = found(svg, "reference")

    def slope(x1: str, y1: str, x2: str, y2: str) -> float:
        return (float(y2) - float(y1)) / (float(x2) - float(x1))

    begin, *_, end = found(svg, "line")[1]["points"].split()
    assert slope(line["x1"], line["y1"], line["x2"], line["y2"]) == pytest.approx(slope(*begin.split(","), *end.split(",")), abs=1e-3)
    assert (line["x1"], line["x2"]) == ("72", "852")


def test_points_that_were_not_reached_are_marked_above_the_plot():
    rows = [
        Curve("a", 0, ((8.0, 1.0, 1.0, 1.0),), failed=(16.0,)),
        Curve("b", 1, (), failed=(16.0,)),
        Curve("c", 2, ((16.0, 2.0, 2.0, 2.0),)),
    ]
    svg = plots.curves(rows, narrow=False, label="memory", x_title="r", y_title="GiB")
    assert [(text["class"], text["x"], text["y"]) for text in found(svg, "failed")] == [
        ("failed leg-0", "845.5", "36"), ("failed leg-1", "858.5", "36")
    ]  # fmt: skip


def test_numbers_below_an_axis_do_not_touch():
    points = tuple((at, 1.0, 1.0, 1.0) for at in (100.0, 101.0, 102.0, 200.0))
    svg = plots.curves([Curve("a", 0, points)], narrow=True, label="x", x_title="rows", y_title="GiB")
    assert [text for text in words(svg) if text in ("100", "101", "102", "200")] == ["100", "200"]


@pytest.mark.parametrize("draw", [
    lambda: plots.bars([Bar("a", 0, "failed")], narrow=False, label=""),
    lambda: plots.strips([], narrow=False, unit="s", label=""),
    lambda: plots.trajectories([("a", 0, [math.nan])], narrow=False, label=""),
    lambda: plots.curves([Curve("a", 0, (), failed=(1.0,))], narrow=False, label="", x_title="", y_title=""),
])  # fmt: skip
def test_without_a_figure_there_is_no_plot(draw):
    assert draw() == ""


def test_names_are_text_and_never_markup():
    svg = plots.bars([Bar("<b>", 0, "5 & 6", 5.0, 5.0, 5.0)], narrow=False, label='a "label" <i>')
    assert words(svg) == ["<b>", "5 & 6"]
    assert ElementTree.fromstring(svg).get("aria-label") == 'a "label" <i>'


def test_one_value_is_in_the_middle_of_a_logarithmic_axis():
    svg = plots.curves([Curve("a", 0, ((64.0, 1.0, 1.0, 1.0),))], narrow=False, label="x", x_title="rows", y_title="s", logarithmic=True)
    assert [marker["cx"] for marker in found(svg, "marker")] == ["462"]


def test_legs_have_shapes_besides_colours():
    assert [plots.swatch(leg).count("<circle") for leg in range(4)] == [1, 0, 0, 0]
    assert len({str(plots.swatch(leg)) for leg in range(plots.COLOURS)}) == plots.COLOURS
