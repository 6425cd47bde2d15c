"""The memory table against every point that was measured, and the program that fits it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from unsloth_ft.bench import memory_fitting
from unsloth_ft.bench.memory_fitting import EVALUATED, FIRM, Measured, errors, fitted, least_squares, read
from unsloth_ft.bench.memory_grid import Point, grid, ways
from unsloth_ft.memory import estimate
from unsloth_ft.memory_fit import fit_for, fits

RESULTS = Path(__file__).parents[2] / "bench" / "results"
FILES = sorted([*RESULTS.glob("*-memory-grid-*.json"), *RESULTS.glob("*-cuda/*/*.json"), *RESULTS.glob("*-cuda/*/*/*.json")])
POINTS = sorted((point for file in FILES for point in read(file)), key=lambda point: point.key)
GROUPS = {key: list(group) for key, group in groupby(POINTS, key=lambda point: point.key)}


SELECTIVE = [point for file in RESULTS.glob("*-memory-selective-*.json") for point in read(file)]


def shipped(key: tuple[str, str, str, str]):
    backend, device, dtype, way = key
    return fit_for(backend, device, dtype, {"none": False, "layers": True}.get(way, "unsloth"))


def test_there_are_points_of_every_backend_and_every_shipped_fit_has_its_own():
    assert {key[0] for key in GROUPS} == {"fused", "peft", "unsloth"}
    assert {(fit.backend, fit.device, fit.dtype, fit.checkpointing): fit.points for fit in fits()} == {
        key: len(points) for key, points in GROUPS.items()
    }


@pytest.mark.parametrize("key", GROUPS, ids=str)
def test_the_estimate_is_within_its_bound_of_every_measured_peak(key: tuple[str, str, str, str]):
    fit = shipped(key)
    assert max(map(abs, errors(fit, GROUPS[key], FIRM))) <= fit.bound
    assert max(map(abs, errors(fit, GROUPS[key], EVALUATED)), default=0.0) <= fit.evaluated_bound


@pytest.mark.parametrize("key", GROUPS, ids=str)
def test_the_shipped_constants_are_what_the_program_makes_of_the_points(key: tuple[str, str, str, str]):
    assert fitted(GROUPS[key]) == shipped(key)


def test_the_estimate_is_within_its_bound_where_half_of_the_layers_are_checkpointed():
    """No constant was fitted to these points."""
    assert {point.key[0] for point in SELECTIVE} == {"fused", "peft"} and len(SELECTIVE) >= 3
    for point in SELECTIVE:
        for name, peak in point.peaks.items():
            phase = estimate(point.work).phase(name)
            assert abs(phase.tensor_bytes / peak - 1) <= phase.bound, (point.key, name)


def test_least_squares_finds_what_the_points_were_made_of_and_nothing_below_zero():
    columns = [[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 1.0, 4.0]]
    wanted = [0.5 * one + 2.0 * two for one, two in zip(columns[0], columns[1])]
    assert least_squares(columns, wanted, [1.0, 1.0, 1.0]) == pytest.approx([0.5, 2.0, 0.0], abs=0.01)
    falling = [10.0 - value for value in columns[1]]
    assert least_squares([columns[1]], falling, [1.0])[0] >= 0.0


def test_the_bound_is_not_smaller_than_the_error_on_a_model_that_was_left_out():
    points = [replace(point, model=f"model {at}") for at, point in enumerate(GROUPS["fused", "cpu", "bfloat16", "none"][:5])]
    worst, _ = memory_fitting.worst_of(memory_fitting.solve(points[1:]), points[:1])
    assert worst <= fitted(points).bound
    few = [replace(point, model="one") for point in points]
    assert fitted(few).bound >= 0.15


def test_a_grid_meets_every_model_with_every_backend_and_way_before_it_repeats_one():
    points = list(grid("cpu", ("peft", "fused"), ("bfloat16",)))
    assert len(set(points)) == len(points)
    first = points[: 5 * 2 * 2]
    assert len({(point.recipe, point.layers, point.backend, point.checkpointing) for point in first}) == len(first)
    assert {point.load_in_4bit for point in points} == {False, True}
    assert ways("unsloth", "cuda") == ("none", "layers", "unsloth")


def test_a_point_is_a_run_with_everything_set_by_hand(tmp_path: Path):
    from unsloth_ft.bench.memory_grid import request
    from unsloth_ft.bench.synth import synthesize
    from unsloth_ft.hardware import GIB, Hardware

    machine = Hardware(gpus=(), cpu_name="a CPU", cpu_count=2, cpu_has_bfloat16=True, memory_bytes=16 * GIB)
    folder = synthesize("smollm2-135m", tmp_path / "m", layers=1, device="cpu")
    asked, work = request(Point("peft", "bfloat16", "layers", True, "smollm2-135m", 1, 8, 2, 64), folder, machine)
    assert (work.r, work.load_in_4bit, work.gradient_checkpointing, work.training.tokens) == (8, True, True, 128)
    assert work.training.learned == sum(label != -100 for _, labels in asked["rows"] for label in labels) == 52
    assert [len(ids) for ids, _ in asked["rows"]] == [64, 64] == [len(prompt) for prompt in asked["prompts"]]
    json.dumps(asked)


def test_two_points_that_differ_in_checkpointing_are_fitted_apart():
    assert isinstance(POINTS[0], Measured)
    assert ("peft", "cpu", "bfloat16", "none") in GROUPS and ("peft", "cpu", "bfloat16", "layers") in GROUPS
