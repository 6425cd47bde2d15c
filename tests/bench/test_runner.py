"""The runner, with a small worker that speaks the protocol and can be told to misbehave."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unsloth_ft.bench import measurement
from unsloth_ft.bench.case import Case, Leg
from unsloth_ft.bench.measurement import Measurement, Step
from unsloth_ft.bench.runner import Bench, Call, run
from unsloth_ft.bench.schedule import Round, in_turn, rounds
from unsloth_ft.hardware import Hardware

CPU = Hardware(gpus=(), cpu_name="a CPU", cpu_count=2, cpu_has_bfloat16=False, memory_bytes=2**34)
WORKER = "tests.bench.protocol_worker"
CASE = Case(what="Does the runner work?", repeats=3)


def case(*names: str, repeats: int = 2) -> Case:
    return CASE.model_copy(update={"legs": tuple(Leg(kind="peft-lora", name=name) for name in names), "repeats": repeats})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the worker keeps its log."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def measure(home: Path) -> Callable[..., list[Measurement]]:
    """Runs a case and returns what was measured."""

    def go(asked: Case, *, said: list[str] | None = None, **changed: object) -> list[Measurement]:
        return list(run(call(home, **changed), [Round("a-case", asked, {})], tell=(said if said is not None else []).append))

    return go


def call(home: Path, **changed: object) -> Call:
    values = {"workers": dict.fromkeys(("training", "startup", "matmul"), WORKER), "busy_ok": True, "sample_seconds": 0.02}
    values |= {"models": {CASE.recipe: home / "models" / "tiny"}}
    common = {"run": "a-run", "out": home / "out", "command": ["unsloth-ft", "bench", "run"], "hardware": CPU, "threads": 2}
    return Call(**(common | values | changed))  # type: ignore[arg-type]


def log(home: Path) -> list[str]:
    """What the workers did, without their process ids."""
    return [line.rpartition(" ")[0] for line in (home / "log.txt").read_text().splitlines()]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


# The order


def test_every_second_repeat_goes_backwards_and_none_is_always_first():
    legs = tuple(Leg(kind="peft-lora", name=name) for name in "ABCD")
    assert ["".join(leg.name for leg in in_turn(legs, repeat)) for repeat in range(6)] == ["ABCD", "DCBA", "BCDA", "ADCB", "CDAB", "BADC"]


def test_a_sweep_and_memory_caps_give_a_round_each_by_device():
    swept = Case.model_validate({"what": "?", "sweep": {"field": "r", "values": (8, 16), "gpu_values": (64,)}})
    assert [str(one) for one in rounds("c", swept, device="cpu")] == ["c r=8", "c r=16"]
    assert [str(one) for one in rounds("c", swept, device="cuda", memory_caps=(8 * 2**30, 24 * 2**30))] == [
        "c memory_cap_gib=8 r=64",
        "c memory_cap_gib=24 r=64",
    ]
    assert str(rounds("c", CASE, device="cpu", memory_caps=(1536 * 2**20,))[0]) == "c memory_cap_mib=1536"
    last = rounds("c", swept, device="cuda", memory_caps=(8 * 2**30, 24 * 2**30))[-1]
    assert (last.case.r, last.case.memory_cap_bytes, last.case.sweep) == (64, 24 * 2**30, None)


def test_legs_take_turns_in_a_fresh_process_each(measure: Callable[..., list[Measurement]], home: Path):
    measured = measure(case("a", "b"))
    assert log(home) == [
        "a start", "a repeat 0", "a end", "b start", "b repeat 0", "b end",
        "b start", "b repeat 1", "b end", "a start", "a repeat 1", "a end",
    ]  # fmt: skip
    assert [(each.leg, each.repeat, each.tokens_per_second) for each in measured] == [
        ("a", 0, 200.0), ("b", 0, 200.0), ("b", 1, 201.0), ("a", 1, 201.0),
    ]  # fmt: skip
    assert {each.process for each in measured} == {"fresh"}


def test_kept_processes_stay_loaded_and_take_turns(measure: Callable[..., list[Measurement]], home: Path):
    measured = measure(case("a", "b"), keep_loaded=True)
    assert sorted(log(home)[:2]) == ["a start", "b start"]  # side by side
    assert log(home)[2:6] == ["a repeat 0", "b repeat 0", "b repeat 1", "a repeat 1"]
    assert sorted(log(home)[6:]) == ["a end", "b end"]
    assert {each.process for each in measured} == {"kept"}


# What is recorded


def test_a_measurement_is_in_its_file_as_it_was_yielded(measure: Callable[..., list[Measurement]], home: Path):
    measured = measure(case("a", repeats=1))
    assert measurement.read_all(home / "out") == measured
    (only,) = measured
    assert (home / "out" / "a-run" / "a-case" / "a-0.json").is_file()
    assert (only.outcome, only.import_seconds, only.load_seconds) == ("done", 0.5, 0.25)
    assert only.steps == (Step(seconds=0.5, tokens=100, computed_tokens=120, loss=2.0),)
    assert only.machine["cpu"] == "a CPU"
    assert only.machine["busy_ok"] is True
    assert only.machine["caches"] == "cold"
    assert set(only.machine["load_before"]) == {"cpu_share", "load_average", "gpu", "gpu_processes"}
    assert only.case_values["what"] == "Does the runner work?"


def test_the_matmul_rate_is_measured_where_steps_are_and_only_there(measure: Callable[..., list[Measurement]]):
    (step,) = measure(case("a", repeats=1))
    asked = case("a", repeats=1).model_copy(update={"measures": "startup"})
    (start,) = measure(asked)
    assert step.setup["asked"]["matmul_flops_per_second"] == 1e12
    assert start.setup["asked"]["matmul_flops_per_second"] is None


def test_a_file_is_there_before_the_next_turn_begins(home: Path):
    running = run(call(home), [Round("a-case", case("a", "b"), {})], tell=lambda line: None)
    first = next(running)
    assert measurement.read_all(home / "out") == [first]
    running.close()
    assert log(home) == ["a start", "a repeat 0", "a end"]


def test_a_users_recipe_is_recorded_by_its_name(measure: Callable[..., list[Measurement]], tmp_path: Path):
    own = "/data/ada/mine.py"
    asked = case("a", repeats=1).model_copy(update={"recipe": own})
    (measured,) = measure(asked, models={own: tmp_path / "models" / "tiny"})
    assert measured.case_values["recipe"] == "mine.py"
    assert measured.setup["asked"]["model"] == "tiny"


def test_a_worker_sees_no_variable_that_would_change_what_is_measured(
    measure: Callable[..., list[Measurement]], monkeypatch: pytest.MonkeyPatch
):
    for name in ("HF_TOKEN", "UNSLOTH_ENABLE_LOGGING", "TORCH_LOGS", "MALLOC_ARENA_MAX", "HF_HUB_OFFLINE", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "of the user")
    seen = measure(case("a", repeats=1))[0].setup["asked"]["environment"]
    assert not {"HF_TOKEN", "UNSLOTH_ENABLE_LOGGING", "TORCH_LOGS", "MALLOC_ARENA_MAX"} & seen.keys()
    assert (seen["HF_HUB_OFFLINE"], seen["OMP_WAIT_POLICY"], seen["OMP_NUM_THREADS"]) == ("1", "PASSIVE", "2")


def test_a_second_process_of_a_leg_finds_what_the_first_compiled(measure: Callable[..., list[Measurement]]):
    assert [each.machine["caches"] for each in measure(case("a"))] == ["cold", "warm"]


# What goes wrong


@pytest.mark.parametrize(
    ("name", "outcome", "error"),
    [
        ("dies-at-ready", "failed", "ended with exit code 1.\nValueError: process-1/weights.bin is broken"),
        ("dies-at-0", "failed", "ended with exit code 1.\nValueError: process-1/weights.bin is broken"),
        (
            "runs-out-at-0",
            "out_of_memory",
            "ended with exit code 1.\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        ),
        ("killed-at-0", "out_of_memory", "killed by the system (SIGKILL), as it does when memory runs out."),
        ("babbles-at-0", "failed", "the worker told of speed, which a measurement hasn't"),
        ("shrugs-at-0", "failed", "the worker told of the outcome 'perhaps'"),
    ],
)
def test_what_a_leg_does_is_an_outcome_and_the_others_go_on(
    name: str, outcome: str, error: str, measure: Callable[..., list[Measurement]]
):
    broken, good = measure(case(name, "good", repeats=1))
    assert (broken.outcome, broken.error) == (outcome, error)
    assert (good.outcome, good.error) == ("done", "")


def test_a_leg_that_dies_while_all_are_loaded_says_why_and_is_not_waited_for(measure: Callable[..., list[Measurement]]):
    broken, good = measure(case("dies-at-ready", "good", repeats=1), keep_loaded=True, answer_seconds=30)
    assert (broken.outcome, broken.error) == ("failed", "ended with exit code 1.\nValueError: process-1/weights.bin is broken")
    assert good.outcome == "done"


def test_a_leg_that_hangs_while_all_are_loaded_is_not_out_of_memory(measure: Callable[..., list[Measurement]]):
    hung, good = measure(case("hangs-at-ready", "good", repeats=1), keep_loaded=True, answer_seconds=1)
    assert (hung.outcome, hung.error) == ("failed", "no answer within 1 s; ended.")
    assert good.outcome == "done"


def test_a_leg_that_died_is_started_again_in_the_next_repeat(measure: Callable[..., list[Measurement]], home: Path):
    measured = measure(case("dies-at-1", repeats=3), keep_loaded=True)
    assert [each.outcome for each in measured] == ["done", "failed", "done"]
    assert log(home).count("dies-at-1 start") == 2


def test_a_leg_that_hangs_is_ended_with_what_it_started(measure: Callable[..., list[Measurement]], home: Path):
    hung, good = measure(case("hangs-at-0", "good", repeats=1), answer_seconds=1)
    assert (hung.outcome, hung.error) == ("failed", "no answer within 1 s; ended.")
    assert good.outcome == "done"
    assert not is_running(int((home / "child.txt").read_text()))


def test_what_is_not_begun_when_the_budget_ends_is_recorded_as_no_time(measure: Callable[..., list[Measurement]], home: Path):
    said: list[str] = []
    measured = measure(case("hangs-at-0", "good", repeats=1), end=time.monotonic() + 2, said=said)
    assert [(each.leg, each.outcome, each.error) for each in measured] == [
        ("hangs-at-0", "no_time", "the time budget ended while it ran"),
        ("good", "no_time", "0 s were left"),
    ]
    assert [each.outcome for each in measurement.read_all(home / "out")] == ["no_time", "no_time"]
    assert said[-1] == "[2/2] a-case good repeat 1: no time: 0 s were left"


def test_a_turn_that_last_took_longer_than_what_is_left_is_not_begun(home: Path):
    round_ = Round("a-case", case("a"), {})
    facts = {"git": {}, "machine": {}}
    bench = Bench(call(home, end=time.monotonic() + 100), home, lambda line: None, facts, took_seconds={("a-case", "a"): 300.0})
    measured = bench.measure(round_, round_.case.legs[0], 1)
    assert measured.outcome == "no_time"
    assert re.fullmatch(r"\d\d s were left", measured.error) or measured.error == "100 s were left"
    assert not (home / "log.txt").exists()


def test_an_interrupt_ends_every_process_and_keeps_what_is_measured(home: Path):
    running = run(call(home, keep_loaded=True), [Round("a-case", case("a", "b"), {})], tell=lambda line: None)
    measured = [next(running), next(running)]
    processes = [int(line.rpartition(" ")[2]) for line in (home / "log.txt").read_text().splitlines() if " start " in line]
    assert all(map(is_running, processes)) and len(processes) == 2
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    assert not any(map(is_running, processes))
    assert measurement.read_all(home / "out") == measured
