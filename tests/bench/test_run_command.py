"""`unsloth-ft bench run` whole: real workers, a tiny model, and what is left when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.calling import ROOT, start
from unsloth_ft.bench import commands, measurement
from unsloth_ft.bench.case import Case, Leg, Lengths
from unsloth_ft.bench.measurement import Measurement
from unsloth_ft.bench.runner import Call, run
from unsloth_ft.bench.schedule import Round
from unsloth_ft.hardware import Hardware

SMALL = Case(what="?", repeats=1, rows=30, lengths=Lengths(median=40, p95=80), steps=2, warm_up_steps=1)


@pytest.fixture
def model(family_dir: Callable[[str], Path]) -> Path:
    return family_dir("smollm2")


def measure(case: Case, model: Path, folder: Path) -> list[Measurement]:
    hardware = Hardware((), "a CPU", 2, False, 2**34)
    call = Call("a-run", folder, ["unsloth-ft"], hardware, 1, {case.recipe: model}, busy_ok=True, sample_seconds=0.02)
    return list(run(call, [Round("a-case", case, {})], tell=lambda line: None))


def case(measures: str, *kinds: str) -> Case:
    return SMALL.model_copy(update={"measures": measures, "legs": tuple(Leg(kind=kind) for kind in kinds)})


def works_in(folder: Path) -> list[str]:
    """Processes that have their working directory below the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += [process.name] if os.readlink(process / "cwd").startswith(str(folder)) else []
        except OSError:  # it has ended meanwhile, or is another user's
            continue
    return found


# Training


def test_two_legs_train_the_same_rows_to_the_same_losses(model: Path, tmp_path: Path):
    answer = start(
        "bench", "run", "speed-faq", "--quick", "--legs", "peft-naive,peft-tuned", "--repeats", "1", "--steps", "2",
        "--model", str(model), "--out", str(tmp_path / "results"), "--busy-ok", "--json",
        cwd=tmp_path, OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    found = measurement.read_all(tmp_path / "results")
    assert sorted(told) == ["measurements", "run"]
    assert json.loads(json.dumps([each.as_json() for each in found])) == sorted(told["measurements"], key=lambda each: each["leg"])
    naive, tuned = found
    assert (naive.leg, naive.outcome, tuned.leg, tuned.outcome) == ("peft-naive", "done", "peft-tuned", "done")
    assert naive.work is not None and naive.work == tuned.work
    assert (naive.work.steps, naive.work.effective_batch_size) == (2, 4)
    assert [step.warm_up for step in naive.steps] == [True, False, False]
    for one, other in zip(naive.steps, tuned.steps, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.02)
    assert naive.matmul_flops_per_second == tuned.matmul_flops_per_second and naive.matmul_flops_per_second is not None
    written = "".join(path.read_text() for path in (tmp_path / "results").rglob("*.json"))
    assert str(tmp_path) not in written and str(Path.home()) + "/" not in written and str(ROOT) + "/" not in written


def test_a_call_in_which_nothing_could_be_measured_ends_with_3(model: Path, tmp_path: Path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((model / name).read_bytes() if name != "model.safetensors" else b"torn")
    answer = start(
        "bench", "run", "export", "--legs", "gguf-f16", "--repeats", "1", "--model", str(tmp_path), "--out", "results", "--busy-ok",
        cwd=tmp_path,
    )  # fmt: skip
    assert answer.code == 3
    assert "error: nothing could be measured; the first reason: ended with exit code 1." in answer.err
    assert [each.outcome for each in measurement.read_all(tmp_path / "results")] == ["failed"]


def test_a_busy_card_is_refused_before_anything_is_written(card: Callable[..., None], model: Path, tmp_path: Path):
    card("97, 41000, 71, 1980, 612.00", "4711\\n")
    answer = start("bench", "run", "--model", str(model), "--out", "results", cwd=tmp_path)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("error: this machine is busy: ")
    assert "1 other compute processes are on the card; none is accepted; the card is busy for 97% of the time" in answer.err
    assert not (tmp_path / "results").exists()


# Commands


def test_all_ways_to_prepare_data_see_the_same_tokens(model: Path, tmp_path: Path):
    ours, again, theirs = measure(case("data", "prepare-ours", "prepare-again", "prepare-datasets"), model, tmp_path)
    assert (ours.outcome, theirs.outcome) == ("done", "done"), (ours.error, theirs.error)
    assert ours.amount == again.amount
    assert ours.amount["rows"] == theirs.amount["rows"] == 30
    assert ours.amount["tokens"] == theirs.amount["tokens"] > 30 * 20
    # the line end behind the turn-end token, one a row: part of the answer for TRL, not learned by us
    assert theirs.amount["learned_tokens"] == ours.amount["learned_tokens"] + 30
    assert len(ours.seconds) == 1 and ours.seconds[0] > 0


def test_a_file_is_checked_and_read_by_commands_whose_processes_are_counted(model: Path, tmp_path: Path):
    ours, theirs = measure(case("data", "check-ours", "check-datasets"), model, tmp_path)
    assert (ours.outcome, theirs.outcome) == ("done", "done"), (ours.error, theirs.error)
    assert ours.amount["rows"] == theirs.amount["rows"] == 30 and ours.amount["bytes"] == theirs.amount["bytes"]
    assert ours.setup["command"] == ["unsloth-ft", "data", "check", "rows.jsonl", "--json"]
    assert all(each.peak_host_bytes is not None and each.peak_host_bytes > 20 * 2**20 for each in (ours, theirs))


def test_the_exports_are_written_and_their_sizes_told(model: Path, tmp_path: Path):
    merged, quantized = measure(case("export", "merge", "gguf-q8_0"), model, tmp_path)
    assert (merged.outcome, quantized.outcome) == ("done", "done"), (merged.error, quantized.error)
    assert merged.amount["bytes"] > quantized.amount["bytes"] > 0  # 16 bits a weight, and 8.5
    assert merged.amount["tensors"] == quantized.amount["tensors"]
    assert merged.setup == {"writes": "unsloth_ft.export.merged.merge", "r": 16}
    assert quantized.setup == {"writes": "unsloth_ft.export.gguf.write_gguf", "quantization": "q8_0"}
    assert merged.peak_host_bytes is not None and quantized.peak_host_bytes is not None


def test_a_command_is_started_as_often_as_the_case_says(model: Path, tmp_path: Path):
    helped, checked = measure(case("startup", "cli-help", "cli-doctor"), model, tmp_path)
    assert (helped.outcome, len(helped.seconds), helped.setup) == ("done", 2, {"command": ["unsloth-ft", "--help"]})
    assert (checked.outcome, len(checked.seconds)) == ("done", 2), checked.error
    assert min(checked.seconds) > min(helped.seconds)  # it looks at every package


@pytest.mark.slow
def test_a_run_is_timed_until_its_first_step(model: Path, tmp_path: Path):
    (trained,) = measure(case("startup", "cli-run"), model, tmp_path)
    assert (trained.outcome, len(trained.seconds)) == ("done", 1), trained.error
    assert 1 < trained.seconds[0] < 120  # it imports torch
    assert trained.setup["until"] == "the first step; the evaluation before it is left out"


def test_rows_are_the_same_for_the_same_seed_and_all_different(tmp_path: Path):
    first = commands.write_rows(tmp_path / "a.jsonl", SMALL).read_text()
    assert commands.write_rows(tmp_path / "b.jsonl", SMALL).read_text() == first
    assert commands.write_rows(tmp_path / "c.jsonl", SMALL.model_copy(update={"seed": 1})).read_text() != first
    assert len(set(first.splitlines())) == 30


# Stopping


@pytest.fixture
def running(model: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A call that has measured once and would go on for minutes; its processes work below tmp_path/scratch."""
    (tmp_path / "scratch").mkdir()
    words = ["bench", "run", "startup", "--legs", "cli-help", "--repeats", "500", "--model", str(model), "--out", "results", "--busy-ok"]
    with subprocess.Popen(
        [sys.executable, "-m", "unsloth_ft", *words],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "scratch")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background job has SIGINT ignored, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        next(line for line in iter(process.stderr.readline, "") if line.startswith("[1/500]"))
        yield process
        process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_what_is_measured_and_no_process(
    number: signal.Signals, code: int, running: subprocess.Popen[str], tmp_path: Path
):
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (code, "")
    assert err.splitlines()[-1].startswith("interrupted; what was measured until then is in results/")
    kept = measurement.read_all(tmp_path / "results")
    assert len(kept) >= 1 and {each.outcome for each in kept} == {"done"}
    assert works_in(tmp_path / "scratch") == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_workers_of_a_killed_call_end_by_themselves(running: subprocess.Popen[str], tmp_path: Path):
    running.kill()
    running.wait(30)
    end = time.monotonic() + 60
    while works_in(tmp_path / "scratch") and time.monotonic() < end:
        time.sleep(0.1)
    assert works_in(tmp_path / "scratch") == []
    kept = measurement.read_all(tmp_path / "results")
    assert len(kept) >= 1 and {each.outcome for each in kept} == {"done"}
