"""What a training's time went into, told by the trainer's own events."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.setting import setting
from unsloth_ft.train.timing import PARTS, Timing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`clock(1.5)`: a second and a half go by."""
    now = 100.0

    def go_on(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    return go_on


def test_every_second_goes_to_the_part_it_was_spent_in(clock: Callable[[float], None]):
    timing = Timing(began=90.0)
    happens: list[tuple[float, str, dict[str, Any]]] = [
        (5, "on_train_begin", {}),
        (2, "on_log", {"logs": {"eval_loss": 1.0}}), (1, "on_evaluate", {}),  # before the first step
        (0.25, "on_step_begin", {}), (8, "on_step_end", {}), (0.125, "on_log", {"logs": {"loss": 1.0}}),
        (0.25, "on_step_begin", {}), (8, "on_step_end", {}), (4, "on_evaluate", {}), (0.5, "on_save", {}),
        (0.0625, "on_train_end", {}),
    ]  # fmt: skip
    for seconds, event, more in happens:
        clock(seconds)
        getattr(timing, event)(None, None, None, **more)
    assert timing.seconds == {"steps": 16.0, "evaluations": 7.0, "checkpoints": 0.5, "data": 0.5, "logging": 0.125, "rest": 0.0625}
    assert timing.start_up_seconds == 15.25  # 10 until the clock began, 5 until the training, 0.25 for its first batch


def test_a_training_tells_where_its_time_went(family_dir: Callable[[str], Path], tmp_path: Path):
    from unsloth_ft import backends

    run = setting(family_dir("smollm2"), "train.max_steps=4", "train.eval_steps=2", rows=8)
    backend = backends.activate("peft")
    began = time.perf_counter()
    trained = run.train(run.model(backend), backend, tmp_path)
    whole = time.perf_counter() - began
    assert tuple(trained.seconds_in) == PARTS
    assert trained.start_up_seconds is not None and 0 < trained.start_up_seconds < whole
    spent = sum(trained.seconds_in.values())
    assert all(trained.seconds_in[part] > 0 for part in ("steps", "evaluations", "checkpoints", "data"))
    assert spent + trained.start_up_seconds < whole + trained.seconds_in["data"] + 0.01  # the first batch counts to both
