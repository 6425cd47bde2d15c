"""Memory that runs out in a chosen step: the run goes on with fewer rows at once, along the curve of a run that began so."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tests.train.setting import Setting, setting
from unsloth_ft import backends
from unsloth_ft.backends import Backend
from unsloth_ft.errors import MachineError
from unsloth_ft.record import RunDirectory
from unsloth_ft.train.trainer import Trainer

# What torch's CPU allocator and a card say.
CPU_SAID = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
CARD_SAID = "CUDA out of memory. Tried to allocate 2.00 GiB."
STEPS = ("train.max_steps=4", "train.eval_steps=2", "train.per_device_eval_batch_size=4")


@pytest.fixture(scope="module")
def backend() -> Backend:
    return backends.activate("peft")


@pytest.fixture(scope="module")
def straight(family_dir: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`straight("peft", 2, 2)` → the folder of a run that began with those sizes, made once."""
    made: dict[tuple[Any, ...], Path] = {}

    def get(name: str, micro_batch: int, accumulation: int, *settings: str) -> Path:
        key = (name, micro_batch, accumulation, *settings)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("straight")
            go(of(family_dir("smollm2"), micro_batch, accumulation, *settings, backend=name), backends.activate(name), made[key])
        return made[key]

    return get


def of(folder: Path, micro_batch: int, accumulation: int, *settings: str, backend: str = "peft") -> Setting:
    """Eight rows in two steps an epoch."""
    sizes = f"train.per_device_train_batch_size={micro_batch}", f"train.gradient_accumulation_steps={accumulation}"
    return setting(folder, *STEPS, *sizes, *settings, backend=backend, rows=8)


def curve(out: Path) -> list[tuple[Any, ...]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(line["step"], line.get("loss", line.get("eval_loss")), line.get("grad_norm", 0.0), line.get("tokens", 0)) for line in lines]


def go(run: Setting, backend: Backend, out: Path) -> tuple[Any, str]:
    """(what train() tells, what stood on the console)"""
    said = io.StringIO()
    result = run.train(run.model(backend), backend, out, console=Console(file=said, width=1000))
    return result, said.getvalue()


def full(monkeypatch: pytest.MonkeyPatch, *, rows: int, step: int, error: BaseException, in_pass: int = 0, after_backward: bool = False) -> list[int]:
    """From that step on no forward pass of more than so many rows fits, from that pass of the step on. Returns the rows of each try."""
    real, tried = Trainer.training_step, []

    def training_step(self: Trainer, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        tried.append(len(inputs["index"]))
        fails = tried[-1] > rows and self.state.global_step >= step - 1 and len(self.micro_batches) >= in_pass
        if fails and not after_backward:
            raise error
        loss = real(self, model, inputs, *args, **kwargs)
        if fails:
            raise error  # its gradients are there already
        return loss

    monkeypatch.setattr(Trainer, "training_step", training_step)
    return tried


@pytest.mark.parametrize("error", [RuntimeError(CPU_SAID), torch.OutOfMemoryError(CARD_SAID)], ids=["CPU", "card"])
def test_in_the_first_step_the_curve_is_that_of_the_smaller_sizes_to_the_last_digit(
    error: BaseException,
    family_dir: Callable[[str], Path],
    backend: Backend,
    straight: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """In mixed precision, whose wrapper around the model the second trainer has to find there, and with dropout."""
    expected = curve(straight("peft", 2, 2, "lora.lora_dropout=0.1", "dtype=bfloat16"))
    full(monkeypatch, rows=2, step=1, error=error, after_backward=True)
    _, said = go(of(family_dir("smollm2"), 4, 1, "lora.lora_dropout=0.1", "dtype=bfloat16"), backend, tmp_path / "recovered")
    assert curve(tmp_path / "recovered") == expected
    known = RunDirectory(tmp_path / "recovered").read()
    assert known["recovered"] == [{"step": 1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}]
    (warning,) = known["warnings"]
    assert warning == (
        f"memory ran out in step 1 ({error}); it is done again with 2 rows at a time, 2 times a step: the effective batch size stays 4"
    )
    assert warning in said


@pytest.mark.parametrize(("name", "step"), [("peft", 2), ("fused", 3)])
def test_in_a_later_step_the_run_goes_on_from_the_state_before_it(
    name: str,
    step: int,
    family_dir: Callable[[str], Path],
    straight: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """2 × 2 first, then 4 × 1: the second pass of the step fails when the first one's gradients are there."""
    expected = curve(straight(name, 1, 4))
    tried = full(monkeypatch, rows=1, step=step, error=RuntimeError(CPU_SAID), in_pass=1)
    result, _ = go(of(family_dir("smollm2"), 2, 2, backend=name), backends.activate(name), tmp_path / "recovered")
    assert tried == [2, 2] * step + [1] * 4 * (5 - step)
    for line, wanted in zip(curve(tmp_path / "recovered"), expected, strict=True):
        assert line == pytest.approx(wanted, rel=1e-4), line  # which rows share a pass decides how sums are rounded
    assert RunDirectory(tmp_path / "recovered").read()["recovered"][0]["step"] == step
    assert result.steps == 4


def test_it_goes_down_until_a_pass_fits_and_a_resumed_run_begins_there(
    family_dir: Callable[[str], Path], backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = of(family_dir("smollm2"), 4, 1)
    full(monkeypatch, rows=1, step=1, error=RuntimeError(CPU_SAID))
    go(run, backend, tmp_path)
    recorded = RunDirectory(tmp_path).read()["recovered"]
    assert [(one["per_device_train_batch_size"], one["gradient_accumulation_steps"]) for one in recorded] == [(2, 2), (1, 4)]
    for left in (tmp_path / "checkpoints").glob("checkpoint-4"):
        (left / "manifest.json").unlink()
    monkeypatch.undo()
    tried = full(monkeypatch, rows=8, step=1, error=RuntimeError(CPU_SAID))
    assert go(run, backend, tmp_path)[0].resumed_from_step == 2
    assert tried == [1] * 8


def test_one_row_that_does_not_fit_ends_the_run_with_what_to_try(
    family_dir: Callable[[str], Path], backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    full(monkeypatch, rows=0, step=2, error=RuntimeError(CPU_SAID))
    with pytest.raises(MachineError, match=r"(?s)^out of memory while training \(.*can't allocate memory.*gradient_checkpointing=true"):
        go(of(family_dir("smollm2"), 2, 2), backend, tmp_path)
    assert [one["per_device_train_batch_size"] for one in RunDirectory(tmp_path).read()["recovered"]] == [1]


def test_memory_that_runs_out_in_the_update_is_not_tried_again(
    family_dir: Callable[[str], Path], backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Half of the weights may be new by then."""

    def step(*_: Any, **__: Any) -> None:
        raise RuntimeError(CPU_SAID)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(MachineError, match=r"^out of memory while training"):
        go(of(family_dir("smollm2"), 2, 2), backend, tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_an_evaluation_that_does_not_fit_is_done_in_smaller_parts(
    family_dir: Callable[[str], Path], backend: Backend, straight: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from unsloth_ft.train import trainer

    run, expected = of(family_dir("smollm2"), 2, 2), curve(straight("peft", 2, 2))
    real, tried = trainer.row_losses, []

    def row_losses(*args: Any, batch_tokens: int, **kwargs: Any) -> Any:
        tried.append(batch_tokens)
        if batch_tokens > 100:
            raise RuntimeError(CPU_SAID)
        return real(*args, batch_tokens=batch_tokens, **kwargs)

    monkeypatch.setattr(trainer, "row_losses", row_losses)
    go(run, backend, tmp_path / "smaller")
    assert max(tried) > 100 >= tried[-1] and tried == sorted(tried, reverse=True)
    for line, wanted in zip(curve(tmp_path / "smaller"), expected, strict=True):
        assert line == pytest.approx(wanted, rel=1e-6)
    warnings = RunDirectory(tmp_path / "smaller").read()["warnings"]
    assert warnings[-1].endswith(f"it is done with {tried[-1]:,} tokens at a time")
    monkeypatch.setattr(trainer, "row_losses", lambda *args, **kwargs: (_ for _ in ()).throw(RuntimeError(CPU_SAID)))
    with pytest.raises(MachineError, match=r"^out of memory in an evaluation of one row of \d+ tokens"):
        go(run, backend, tmp_path / "none")
