"""kill -9 at any moment: the same call goes on by itself and ends where the uninterrupted run ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def kill(model: Path, work: Path, *, count: int, seed: int) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("killpoints.py")), str(model), str(work), str(count), str(seed)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def check(found: dict[str, Any]) -> None:
    assert found["status"] == 0
    assert found["straight"]["left_over"] == ["adapter", "checkpoints", "eval", "metrics.jsonl"]
    assert [step for step, _ in found["straight"]["curve"]] == [0, 1, 2, 2, 3, 4, 4]
    for case in found["cases"]:
        assert case["killed"] == signal.SIGKILL, case["point"]
        assert case["ended"] == 0, case["point"]
        # run.json is there when a warning was written, a temporary file when the kill hit the rewriting of metrics.jsonl.
        left_over = [name for name in case["outcome"].pop("left_over") if name != "run.json" and not name.startswith(".metrics.jsonl.")]
        assert left_over == ["adapter", "checkpoints", "eval", "metrics.jsonl"], case["point"]
        assert case["outcome"] == {key: found["straight"][key] for key in ("adapter", "curve", "losses before")}, case["point"]


def test_eight_kills_lose_nothing(family_dir: Callable[[str], Path], tmp_path: Path):
    found = kill(family_dir("smollm2"), tmp_path, count=8, seed=1)
    assert len(found["cases"]) == 8
    check(found)


@pytest.mark.slow
def test_a_kill_before_any_file_operation_loses_nothing(family_dir: Callable[[str], Path], tmp_path: Path):
    found = kill(family_dir("smollm2"), tmp_path, count=10_000, seed=2)
    assert len(found["cases"]) == found["operations"] > 100
    check(found)
