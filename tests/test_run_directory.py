"""A run directory from its first moment to its second visit: what it tells, what it keeps to itself, and whose it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from tests.cli.calling import QUICK, ROOT, Answer, call, rows, snapshot
from unsloth_ft import begin
from unsloth_ft.errors import UserError
from unsloth_ft.evaluate.losses import row_losses
from unsloth_ft.record import RunDirectory

CANARIES = {
    name: f"canary-{number:02d}-3f9a1c"
    for number, name in enumerate(
        ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "OPENAI_API_KEY",
         "GITHUB_TOKEN",
         "ANTHROPIC_API_KEY", "COMET_API_KEY", "NEPTUNE_API_TOKEN", "DATABASE_URL", "SSH_AUTH_SOCK", "PGPASSWORD", "PIP_INDEX_URL")
    )
}  # fmt: skip
USER = "mallory-the-user"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, family_dir: Callable[[str], Path]) -> Iterator[tuple[Path, Answer]]:
    """/…/mallory-the-user/work as the current folder, with model and data beside it; and what `run --json` said that made runs/faq."""
    home = tmp_path_factory.mktemp("home") / USER
    work = home / "work"
    (home / "data").mkdir(parents=True)
    work.mkdir()
    (home / "model").symlink_to(family_dir("smollm2"))
    (home / "data" / "faq.jsonl").write_text(rows(12), encoding="utf-8")
    (home / "data" / "eval.jsonl").write_text(rows(4, first=100), encoding="utf-8")
    before = os.getcwd()
    with mock.patch.dict(os.environ, {**CANARIES, "HOME": str(home), "USER": USER, "LOGNAME": USER}):
        os.chdir(work)
        answer = run(work, "--json")
        assert answer.code == 0, answer.err
        yield work, answer
        os.chdir(before)


@pytest.fixture
def place(first: tuple[Path, Answer]) -> Path:
    """The current folder."""
    return first[0]


def run(work: Path, *more: str, out: str = "runs/faq", data: str = "") -> Answer:
    """The module's run; absolute paths everywhere."""
    home = work.parent
    return call(
        "run", "smollm2-135m", "--data", data or f"{home}/data/faq.jsonl", "--eval-data", f"{home}/data/eval.jsonl",
        "--model", f"{home}/model", "--out", f"{work}/{out}", *QUICK, *more,
    )  # fmt: skip


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def curve_begins(directory: RunDirectory) -> float:
    """The eval loss before the first step."""
    return json.loads(directory.metrics_file.read_text(encoding="utf-8").splitlines()[0])["eval_loss"]


def learned(directory: Path) -> dict[str, str]:
    """What must not change when a finished run is visited again: all but the times in the record and the page made from it."""
    return {
        name: digest
        for name, digest in snapshot(directory).items()
        if name not in ("run.json", "local.json", "report.html", "adapter/README.md")
    }


# What it tells and what it keeps


def test_json_of_a_run_is_one_document_and_progress_goes_to_stderr(first: tuple[Path, Answer]):
    place, answer = first
    assert json.loads(answer.out) == RunDirectory(place / "runs/faq").read()
    assert "step 3/3" in answer.err and "step 3/3" not in answer.out


def test_a_run_leaves_its_record_metrics_adapter_evaluation_and_report(place: Path):
    directory = RunDirectory(place / "runs" / "faq")
    known = directory.read()
    assert (known["status"], known["name"], known["error"]) == ("done", "faq", None)
    assert known["plan"]["max_steps"] == {"value": 3, "reason": "asked for"}
    assert known["recipe"]["name"] == "smollm2-135m" and known["seeds"] == {"train": 3407}
    assert [file["name"] for file in known["data"]["files"]] == ["faq.jsonl"]
    assert known["training"]["steps"] == 3 and known["evaluation"]["rows"] == 4
    assert known["evaluation"]["before"]["loss"] == known["training"]["first_eval_loss"] == curve_begins(directory)
    for path in (
        directory.metrics_file,
        directory.report,
        directory.adapter / "adapter_model.safetensors",
        directory.evaluation / "answers.jsonl",
    ):
        assert path.stat().st_size > 0


def test_the_base_s_losses_are_computed_once_where_the_held_out_rows_are_split_off_too(place: Path):
    with mock.patch("unsloth_ft.evaluate.compare.row_losses", wraps=row_losses) as computed:
        home = place.parent
        answer = call(
            "run", "smollm2-135m", "--data", f"{home}/data/faq.jsonl", "--model", f"{home}/model", "--out", "runs/split", *QUICK,
            "--set", "data.held_out=0.4",
        )  # fmt: skip
    assert answer.code == 0, answer.err
    directory = RunDirectory(place / "runs/split")
    known = directory.read()
    assert computed.call_count == 1  # the tuned model's
    assert known["evaluation"]["before"]["loss"] == known["training"]["first_eval_loss"] == curve_begins(directory)


def test_the_record_names_no_absolute_path_and_no_user(place: Path):
    text = (place / "runs/faq/run.json").read_text(encoding="utf-8")
    assert USER not in text and str(place) not in text
    assert re.findall(r"(?<![\w<.:/])/(?:[\w.-]+/)+[\w.-]+", text) == []
    assert json.loads(text)["command"] == [
        "unsloth-ft",
        "run",
        "smollm2-135m",
        "--data",
        "faq.jsonl",
        "--eval-data",
        "eval.jsonl",
        "--model",
        "model",
        "--out",
        "faq",
        *QUICK,
        "--json",
    ]


def test_only_the_private_files_name_the_user(place: Path):
    directory = place / "runs" / "faq"
    named = {str(path.relative_to(directory)).split("/")[0] for path in files(directory) if USER.encode() in path.read_bytes()}
    assert named <= {"local.json", "checkpoints"}
    for path in (directory / "report.html", *files(directory / "adapter"), *files(directory / "eval"), directory / "metrics.jsonl"):
        assert USER.encode() not in path.read_bytes()


def test_no_secret_of_the_environment_is_in_any_file(place: Path):
    assert all(os.environ[name] == canary for name, canary in CANARIES.items())
    found = [
        f"{path.name}: {name}" for path in files(place.parent) for name, canary in CANARIES.items() if canary.encode() in path.read_bytes()
    ]
    assert found == []


def test_the_directory_is_private_to_its_user(place: Path):
    assert oct((place / "runs/faq").stat().st_mode & 0o777) == "0o700"


def test_no_pickle_is_written_but_a_checkpoints_own(place: Path):
    outside = [
        path.name
        for path in files(place / "runs/faq")
        if path.suffix in (".bin", ".pt", ".pth", ".pkl") and "checkpoints" not in path.parts
    ]
    assert outside == []
    assert [path for path in files(place) if path.name == "training_args.bin"] == []


# Its second visit


def test_the_same_command_again_is_finished_at_once_and_changes_nothing(place: Path):
    before = learned(place / "runs/faq")
    answer = run(place)
    assert answer.code == 0
    assert "loading" not in answer.err
    assert learned(place / "runs/faq") == before


def test_what_a_run_measured_plans_later_ones_and_leaves_its_own_plan_as_it_was(place: Path, tmp_path: Path):
    with mock.patch.dict(os.environ, {"UNSLOTH_FT_REMEMBER": "1", "UNSLOTH_FT_CACHE": str(tmp_path)}):
        assert run(place, out="runs/measured").code == 0
        ((kept,),) = json.loads((tmp_path / "peaks.json").read_text(encoding="utf-8"))["peaks"].values()
        directory = RunDirectory(place / "runs/measured")
        known = directory.read()
        assert kept["source"] == "run" and kept["peaks"] == {"training step": known["training"]["peak_allocated_bytes"]}
        assert directory.read_local()["peaks"] == [] and "corrected by" not in known["memory"]["basis"]
        assert run(place, out="runs/measured").code == 0
        assert directory.read()["plan"] == known["plan"]
        home = place.parent
        planned = call("plan", "smollm2-135m", "--data", f"{home}/data/faq.jsonl", "--eval-data", f"{home}/data/eval.jsonl",
                       "--model", f"{home}/model", *QUICK, "--json")  # fmt: skip
    memory = json.loads(planned.out)["memory"]
    assert memory["basis"].endswith("; corrected by 1 peak that a run measured on this machine")
    (training,) = [phase for phase in memory["phases"] if phase["name"] == "training step"]
    assert training["bytes"] == pytest.approx(kept["peaks"]["training step"], rel=1e-6) and training["bound"] == 0.1


@pytest.mark.parametrize("name", ["faq", "runs/faq", "runs/faq/"])
def test_resume_finds_a_run_by_its_name_and_by_its_directory(name: str, place: Path):
    before = learned(place / "runs/faq")
    answer = call("resume", name, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["status"] == "done"
    assert json.loads(answer.out)["command"][1] == "run"
    assert learned(place / "runs/faq") == before


def test_the_model_may_be_named_otherwise_as_long_as_it_is_the_same(place: Path):
    answer = run(place, "--model", "../model")
    assert answer.code == 0, answer.err
    (place.parent / "renamed").symlink_to(place.parent / "model")
    assert run(place, "--model", str(place.parent / "renamed")).code == 0


def test_resume_works_from_another_folder(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    answer = call("resume", str(place / "runs/faq"))
    assert answer.code == 0, answer.err
    assert not list(tmp_path.iterdir())


def test_runs_are_listed_and_shown(place: Path):
    found = {each["name"]: each for each in json.loads(call("runs", "list", "--json").out)}
    assert found["faq"]["status"] == "done" and found["faq"]["verdict"] in ("better", "no change", "worse")
    assert json.loads(call("runs", "show", "faq", "--json").out) == RunDirectory(place / "runs/faq").read()
    assert call("runs", "show", "faq").out.startswith("faq: done; smollm2-135m on faq.jsonl\n")


# Whose it is


@pytest.mark.parametrize(
    ("more", "differences"),
    [
        (("--seed", "5"), ["  recipe.train.seed: 3407 there, 5 now"]),
        (
            ("--set", "lora.r=4", "--set", "train.learning_rate=0.5"),
            ["  recipe.lora.r: 16 there, 4 now", "  recipe.train.learning_rate: 0.002 there, 0.5 now"],
        ),
        (
            ("--max-steps", "2"),
            ["  recipe.train.max_steps: 3 there, 2 now", "  plan.max_steps: 3 there, 2 now", "  plan.eval_steps: 2 there, 1 now"],
        ),
    ],
)
def test_another_seed_or_recipe_is_refused_with_each_difference(more: tuple[str, ...], differences: list[str], place: Path):
    before = snapshot(place / "runs/faq")
    answer = run(place, *more)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines() == ["error: faq holds another run. Name another directory with --out. What differs:", *differences]
    assert snapshot(place / "runs/faq") == before


def test_other_data_are_refused_by_their_sha256(place: Path):
    (place / "other.jsonl").write_text(rows(11) + rows(1, first=50), encoding="utf-8")
    before = snapshot(place / "runs/faq")
    answer = run(place, data="other.jsonl")
    assert answer.code == 2
    assert re.fullmatch(r"  data_sha256: [0-9a-f]{12} there, [0-9a-f]{12} now", answer.err.splitlines()[-1])
    assert len(answer.err.splitlines()) == 2
    assert snapshot(place / "runs/faq") == before


def test_another_model_of_the_same_shapes_is_refused(place: Path, tmp_path: Path):
    other = tmp_path / "model"
    other.mkdir()
    for file in (place.parent / "model").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[len(weights) // 2 + 100] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    answer = run(place, "--model", str(other))
    assert answer.code == 2
    assert re.fullmatch(r"  base_model_sha256: [0-9a-f]{12} there, [0-9a-f]{12} now", answer.err.splitlines()[-1])


def test_a_directory_that_another_process_holds_ends_with_5(place: Path):
    code = (
        "import sys; from pathlib import Path; from unsloth_ft.record import RunDirectory\n"
        "with RunDirectory(Path('runs/faq')).held(): print('held', flush=True); sys.stdin.readline()"
    )
    before = snapshot(place / "runs/faq")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        answer = run(place)
        other.kill()
    assert (answer.code, answer.out, answer.err) == (5, "", "error: faq: another process is working in this run directory.\n")
    assert snapshot(place / "runs/faq") == before


# Its first moments


@pytest.mark.parametrize("moment", ["before local.json", "between local.json and run.json", "in the middle of run.json"])
def test_a_kill_at_the_beginning_costs_nothing(moment: str, place: Path):
    out = f"runs/{moment.replace(' ', '-')}"

    class Killed(BaseException):
        """The process ends here."""

    def killed(*_: object, **__: object) -> None:
        raise Killed

    target = {
        "before local.json": (RunDirectory, "update_local"),
        "between local.json and run.json": (RunDirectory, "update"),
        "in the middle of run.json": (os, "replace"),
    }[moment]
    with mock.patch.object(*target, killed), pytest.raises(Killed):
        run(place, out=out)
    assert (place / out / ".lock").is_file() and not (place / out / "run.json").exists()
    with mock.patch("unsloth_ft.run.tuned_model", side_effect=UserError("stopped here")):
        assert run(place, out=out).err.endswith("error: stopped here\n")
    left = sorted(path.name for path in (place / out).iterdir() if path.name.startswith("."))
    assert left == [".lock"]
    assert RunDirectory(place / out).read()["status"] == "failed"


def test_a_failed_run_keeps_its_reason_and_the_same_command_goes_on(place: Path):
    with mock.patch("unsloth_ft.run.prove", side_effect=UserError(f"{place.parent}/model: not today")):
        answer = run(place, out="runs/later")
    directory = RunDirectory(place / "runs/later")
    assert (answer.code, answer.out) == (2, "")
    assert (directory.read()["status"], directory.read()["error"]) == ("failed", "model: not today")
    assert call("runs", "show", "later").out.endswith("error: model: not today\n")
    trained = directory.read()["training"]
    assert run(place, out="runs/later").code == 0
    known = directory.read()
    assert (known["status"], known["error"], known["training"]) == ("done", None, trained)
    assert known["evaluation"]["before"]["loss"] == trained["first_eval_loss"]


def test_a_kill_shows_as_stopped_in_the_list(place: Path):
    class Killed(BaseException):
        """The process ends here."""

    with mock.patch("unsloth_ft.run.tuned_model", side_effect=Killed), pytest.raises(Killed):
        run(place, out="runs/killed")
    assert {each["name"]: each["status"] for each in json.loads(call("runs", "list", "--json").out)}["killed"] == "stopped"
    (place / "runs/killed/run.json").write_text("{", encoding="utf-8")
    assert {each["name"]: each["status"] for each in json.loads(call("runs", "list", "--json").out)}["killed"] == "damaged"


def test_going_on_with_other_versions_is_a_warning_in_the_record(place: Path):
    record = place / "runs/faq/run.json"
    known = json.loads(record.read_text(encoding="utf-8"))
    known["versions"]["transformers"] = "5.3.0"
    record.write_text(json.dumps(known), encoding="utf-8")
    assert run(place).code == 0
    now = RunDirectory(place / "runs/faq").read()
    assert now["warnings"] == [f"the run began with transformers 5.3.0 and goes on with {_installed('transformers')}"]


def _installed(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def test_versions_that_came_and_went_are_named():
    assert begin.version_changes({"torch": "2.13.0", "xformers": "0.0.35"}, {"torch": "2.13.0", "unsloth": "2026.10.9"}) == [
        "the run began with xformers 0.0.35 and goes on with none",
        "the run began with unsloth not installed and goes on with 2026.10.9",
    ]


def test_more_than_ten_differences_are_counted():
    with pytest.raises(UserError) as error:
        begin.refuse_other_run(
            {"a": dict.fromkeys("abcdefghijkl", 1)}, {"a": dict.fromkeys("abcdefghijkl", 2)}, RunDirectory(Path("runs/faq"))
        )
    lines = str(error.value).splitlines()
    assert (len(lines), lines[1], lines[-1]) == (12, "  a.a: 1 there, 2 now", "  and 2 more")


def test_the_demanded_verdict_decides_the_exit_code(place: Path):
    answer = run(place, "--set", "train.learning_rate=0", "--set", "evaluate.require=better", out="runs/control")
    assert (answer.code, answer.out) == (4, "")
    assert answer.err.endswith('error: control: the result is "no change" and evaluate.require demands "better". Everything is kept.\n')
    assert (place / "runs/control/report.html").is_file()
