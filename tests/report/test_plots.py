from __future__ import annotations

import math
from xml.etree import ElementTree

from unsloth_ft.report import plots

NAN = math.nan
SIZE = plots.Size(200, 100, left=20, right=10, top=10, bottom=30)


def draw(train, evaluations=(), best_step=None):
    return str(plots.loss_curves(train, evaluations, best_step=best_step, size=SIZE, label="a <label>"))


def found(svg: str, name: str) -> list[dict[str, str]]:
    """The attributes of every element whose class is `name`."""
    return [element.attrib for element in ElementTree.fromstring(svg).iter() if element.get("class") == name]


def test_ticks_are_round_numbers_around_the_range():
    assert plots.ticks(0, 10, count=5) == [0, 2, 4, 6, 8, 10]
    assert plots.ticks(0.11, 2.31, count=5) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert plots.ticks(0.651, 0.6534, count=5) == [0.651, 0.6515, 0.652, 0.6525, 0.653, 0.6535]
    assert plots.ticks(0, 200, count=4) == [0, 50, 100, 150, 200]


def test_ticks_of_one_value_stand_around_it():
    assert plots.ticks(2.0, 2.0, count=5) == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert plots.ticks(0.0, 0.0, count=5) == [-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6]


def test_training_loss_runs_through_these_coordinates():
    # 170 units for steps 0..10, 60 units for losses 0..2 (from y=70 up to y=10).
    svg = draw([(0, 2.0), (5, 1.0), (10, 0.0)])
    assert [line["points"] for line in found(svg, "train")] == ["20,10 105,40 190,70"]
    assert found(svg, "raw") == []


def test_eval_loss_is_a_line_with_a_dot_each_and_the_best_step_is_marked():
    svg = draw([(0, 2.0), (10, 0.0)], [(0, 2.0), (5, 0.5), (10, 1.0)], best_step=5)
    assert [line["points"] for line in found(svg, "eval")] == ["20,10 105,55 190,40"]
    assert [(dot["cx"], dot["cy"]) for dot in found(svg, "eval-dot")] == [("20", "10"), ("105", "55"), ("190", "40")]
    assert [(line["x1"], line["y1"], line["x2"], line["y2"]) for line in found(svg, "best")] == [("105", "10", "105", "70")]
    assert [(ring["cx"], ring["cy"]) for ring in found(svg, "best-ring")] == [("105", "55")]
    assert ">best: step 5</text>" in svg


def test_axes_name_their_units():
    svg = draw([(0, 2.0), (10, 0.0)])
    assert ">optimizer step</text>" in svg
    assert ">loss, nats a token</text>" in svg
    assert [line.get("y1") for line in found(svg, "grid")] == ["70", "55", "40", "25", "10"]


def test_a_loss_that_is_no_number_breaks_the_line():
    svg = draw([(0, 2.0), (1, 1.0), (2, NAN), (3, 1.0), (4, math.inf), (8, 1.0), (10, 0.0)])
    assert [line["points"] for line in found(svg, "train")] == ["20,10 37,40", "156,40 190,70"]
    assert [(dot["cx"], dot["cy"]) for dot in found(svg, "train-dot")] == [("71", "40")]
    assert "nan" not in svg and "inf" not in svg


def test_no_point_or_no_finite_point_gives_no_plot():
    assert draw([]) == ""
    assert draw([(1, NAN), (2, NAN)], [(0, math.inf)]) == ""


def test_one_point_gives_a_dot():
    assert [(dot["cx"], dot["cy"]) for dot in found(draw([(10, 2.0)]), "train-dot")] == [("190", "40")]


def test_a_label_is_escaped():
    assert 'aria-label="a &lt;label&gt;"' in draw([(1, 1.0)])


def test_smoothing_is_a_mean_of_neighbours_without_those_that_are_no_number():
    assert plots.smooth([1.0, 2.0, 6.0], 3) == [1.5, 3.0, 4.0]
    assert plots.smooth([1.0, 2.0, 6.0], 1) == [1.0, 2.0, 6.0]
    smoothed = plots.smooth([1.0, NAN, 3.0], 3)
    assert smoothed[0] == 1.0 and math.isnan(smoothed[1]) and smoothed[2] == 3.0


def test_a_short_run_is_not_smoothed_and_a_long_one_lightly():
    assert [plots.smoothing_width(count) for count in (0, 1, 39, 40, 60, 200, 1_000)] == [1, 1, 1, 3, 3, 11, 51]


def test_a_long_series_is_thinned_to_means():
    assert plots.thin([(0, 1.0), (1, 3.0), (2, 5.0)], most=2) == [(0.5, 2.0), (2.0, 5.0)]
    assert len(plots.thin([(step, 1.0) for step in range(100_000)])) == 400


def test_a_bar_is_as_wide_as_its_share():
    assert '<rect class="fill" width="87" height="10"/>' in plots.bar(0.87, kind="after")
    assert '<rect class="fill" width="0" height="10"/>' in plots.bar(NAN, kind="after")
    assert '<rect class="fill" width="100" height="10"/>' in plots.bar(1.3, kind="after")


def test_an_interval_stands_at_its_place_beside_zero():
    # Range -2..0 with a tenth more at both ends, over 324 units from x=8: one nat is 135 units, and 0 stands at x=305.
    svg = str(plots.interval(-1.0, -2.0, -0.5, label="difference"))
    assert [(line["x1"], line["x2"]) for line in found(svg, "span")] == [("35", "237.5")]
    assert [line["x1"] for line in found(svg, "zero")] == ["305"]
    assert [dot["cx"] for dot in found(svg, "value")] == ["170"]


def test_an_interval_of_zero_or_of_no_number_does_not_fail():
    assert [dot["cx"] for dot in found(str(plots.interval(0.0, 0.0, 0.0, label="difference")), "value")] == ["170"]
    assert plots.interval(NAN, NAN, NAN, label="difference") == ""
