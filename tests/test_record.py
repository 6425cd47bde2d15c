"""run.json: whole or not there, readable by anyone, silent about this machine; and one process a directory."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from unsloth_ft import record
from unsloth_ft.errors import BusyError, MachineError, UserError
from unsloth_ft.record import RunDirectory, without_folders


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """runs/faq below the current folder, with a record."""
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory(Path("runs/faq"))
    directory.update(status="running")
    return directory


class Killed(BaseException):
    """The process ends here."""


# Writing


def test_an_update_keeps_what_stood_under_other_names(run: RunDirectory):
    run.update(plan={"a": 1})
    run.update(plan={"b": 2}, seeds={"train": 3})
    found = json.loads(run.record_file.read_text(encoding="utf-8"))
    assert (found["schema"], found["name"], found["status"], found["plan"], found["seeds"]) == (1, "faq", "running", {"b": 2}, {"train": 3})
    assert found["created"] <= found["updated"]


@pytest.mark.parametrize("moment", ["replace", "fsync"])
def test_a_kill_in_the_middle_of_an_update_leaves_the_old_record(moment: str, run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    before = run.record_file.read_bytes()

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, moment, killed)
        run.update(status="done")
    assert run.record_file.read_bytes() == before


def test_a_kill_right_after_the_rename_leaves_the_new_record(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    def killed(_: Path) -> None:
        raise Killed

    monkeypatch.setattr(record, "sync", killed)
    with pytest.raises(Killed):
        run.update(status="done")
    assert run.read()["status"] == "done"


def test_what_a_kill_left_half_written_is_removed_and_nothing_else(run: RunDirectory):
    for name in (".run.json.ab12", ".local.json.cd34", "notes.txt"):
        (run.path / name).write_text("{", encoding="utf-8")
    run.remove_leftovers()
    assert sorted(file.name for file in run.path.iterdir()) == ["notes.txt", "run.json"]


@pytest.mark.parametrize("call", ["mkstemp", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_says_how_much_is_needed(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "run.json"
    record.write_atomically(file, "old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(record.tempfile if call == "mkstemp" else os, call, full)
    with pytest.raises(MachineError) as error:
        record.write_atomically(file, "é" * 1000)
    assert str(error.value) == (
        "run.json: can't be written (No space left on device); 2,000 bytes are needed. Free some space and run the same command again."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"] and file.read_text() == "old"


def test_a_record_is_private_to_its_user(run: RunDirectory):
    assert oct(run.record_file.stat().st_mode & 0o777) == "0o600"
    with RunDirectory(Path("runs/new")).held():
        assert oct(os.stat("runs/new").st_mode & 0o777) == "0o700"


def test_a_number_that_is_none_is_null_in_json(run: RunDirectory):
    run.update(training={"losses": (1.5, float("nan"), float("inf")), "best": float("-inf")})
    text = run.record_file.read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["training"] == {"losses": [1.5, None, None], "best": None}


def test_lines_are_a_dataclass_each(tmp_path: Path):
    @dataclass(frozen=True)
    class Pair:
        question: str
        score: float

    record.write_lines(tmp_path / "pairs.jsonl", [Pair("où ?", 0.5), Pair("b", float("nan"))])
    assert (tmp_path / "pairs.jsonl").read_text(
        encoding="utf-8"
    ) == '{"question": "où ?", "score": 0.5}\n{"question": "b", "score": null}\n'


def test_a_file_name_that_is_no_utf_8_does_not_stop_the_record(run: RunDirectory):
    run.update(data={"files": [{"name": os.fsdecode(b"f\xff.jsonl")}]})
    assert run.read()["data"]["files"][0]["name"] == os.fsdecode(b"f\xff.jsonl")


def test_warnings_are_kept_once_each(run: RunDirectory):
    run.warn("a", "b")
    run.warn("b", "c")
    assert run.read()["warnings"] == ["a", "b", "c"]


# Reading


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{",
            "faq/run.json: not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); the run directory is "
            "damaged.",
        ),
        ("[]", "faq/run.json: not a JSON object; the run directory is damaged."),
        ("{}", "faq/run.json: not a run record of schema 1."),
        ('{"schema": 2}', "faq/run.json: not a run record of schema 1."),
    ],
)
def test_a_record_that_is_none_is_refused(text: str, said: str, run: RunDirectory):
    run.record_file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        run.read()
    assert str(error.value) == said
    assert run.status() == "damaged"


def test_a_record_nested_too_deep_is_damaged_and_no_crash(run: RunDirectory):
    run.record_file.write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(UserError, match="^faq/run.json: not JSON "):
        run.read()


def test_a_folder_without_a_record_is_no_run(tmp_path: Path):
    with pytest.raises(UserError) as error:
        RunDirectory(tmp_path).read()
    assert str(error.value) == f"{tmp_path.name}: no run.json in it; expected a run directory, as `unsloth-ft run` makes them."


def test_a_local_file_that_is_damaged_is_said_and_a_missing_one_is_empty(run: RunDirectory):
    assert run.read_local() == {}
    run.update_local(inputs={"a": 1})
    run.update_local(exports=[])
    assert run.read_local() == {"inputs": {"a": 1}, "exports": []}
    run.local_file.write_text("nothing", encoding="utf-8")
    with pytest.raises(UserError, match="^faq/local.json: not JSON "):
        run.read_local()


# Names


def test_a_run_is_found_by_its_directory_and_by_its_name_under_runs(run: RunDirectory):
    assert record.find("faq").path == record.find("runs/faq").path == record.find("runs/faq/").path == Path("runs/faq")
    with pytest.raises(UserError) as error:
        record.find("fag")
    assert str(error.value) == '"fag" is no run: neither a run directory nor a name under runs/ (there: faq).'


@pytest.mark.parametrize("name", ["", "no\0name", "runs"])
def test_other_names_are_no_run(name: str, run: RunDirectory):
    with pytest.raises(UserError, match="is no run"):
        record.find(name)


def test_the_current_folder_is_a_run_with_a_name(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run.path)
    assert record.find(".").name == "faq"


def test_a_new_run_takes_the_next_free_name(run: RunDirectory):
    assert record.new_run("other").path == Path("runs/other")
    assert record.new_run("faq").path == Path("runs/faq-2")
    Path("runs/faq-2").mkdir()
    assert record.new_run("faq").path == Path("runs/faq-3")


def test_runs_are_listed_the_newest_last(run: RunDirectory):
    RunDirectory(Path("runs/older")).update(status="done")
    os.utime("runs/older/run.json", (0, 0))
    assert [each.name for each in record.all_runs()] == ["older", "faq"]


# One process a directory

HOLD = """
import sys
from pathlib import Path
from unsloth_ft.record import RunDirectory
with RunDirectory(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_is_told_that_the_directory_is_held(run: RunDirectory):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path.absolute())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(BusyError) as error, run.held():
            pass
        assert (str(error.value), error.value.exit_code) == ("faq: another process is working in this run directory.", 5)
        assert (run.is_held(), run.status()) == (True, "running")
        other.kill()
        other.wait()
    assert (run.is_held(), run.status()) == (False, "stopped")
    with run.held():
        pass


def test_a_directory_that_cannot_be_made_is_the_users_and_a_full_disk_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError) as error, RunDirectory(tmp_path / "file" / "run").held():
        pass
    assert str(error.value) == f"{tmp_path}/file/run: can't be written as a run directory (Not a directory). Name another with --out."

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(MachineError, match="No space left on device"), RunDirectory(tmp_path / "run").held():
        pass


# Places for a run


def test_a_new_place_an_empty_one_and_a_runs_own_are_fit(run: RunDirectory):
    run.refuse_unusable()
    RunDirectory(Path("a/b/c")).refuse_unusable()
    Path("empty").mkdir()
    RunDirectory(Path("empty")).refuse_unusable()
    assert not Path("a").exists()


@pytest.mark.parametrize(
    "left", [(".lock",), (".lock", "local.json"), (".lock", ".local.json.x1"), (".lock", "local.json", ".run.json.x1")]
)
def test_what_a_run_killed_in_its_first_moments_left_is_fit(left: tuple[str, ...], tmp_path: Path):
    for name in left:
        (tmp_path / name).write_text("", encoding="utf-8")
    RunDirectory(tmp_path).refuse_unusable()


def test_a_dangling_link_is_no_place(tmp_path: Path):
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="is a file; expected a new directory"):
        RunDirectory(tmp_path / "run").refuse_unusable()


def test_a_place_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(UserError) as error:
        RunDirectory(tmp_path / "a" / "b").refuse_unusable()
    assert str(error.value) == f"{tmp_path}/a/b: {tmp_path} can't be written. Name another directory with --out."


# Privacy

FOLDERS = ["/home/me/projects/faq", "/home/me/data", "../../data", "/home/me", "/a"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/me/data/faq.jsonl", "faq.jsonl"),
        ("--data=/home/me/data/faq.jsonl", "--data=faq.jsonl"),
        ("/home/me/projects/faq/d/x.jsonl:3: bad", "d/x.jsonl:3: bad"),
        ("in '/home/me/data/a' and (/home/me/b)", "in 'a' and (b)"),
        ("file:///home/me/x", "file://x"),
        ("../../data/faq.jsonl", "faq.jsonl"),
        ("/home/me", "."),
        ("nothing in /home/me.", "nothing in .."),
        ("/home/mek/x", "/home/mek/x"),
        ("/b/a/c", "/b/a/c"),
        ("https://a/b", "https://a/b"),
        ("a /a/c", "a c"),
        ("runs/faq", "runs/faq"),
        (["/home/me/x", {"k": ("/home/me/data/y", 3, None)}], ["x", {"k": ["y", 3, None]}]),
    ],
)
def test_folders_are_taken_out_of_every_text(text: object, kept: object):
    assert without_folders(text, FOLDERS) == kept


def test_a_record_names_no_folder_of_this_machine(run: RunDirectory, tmp_path: Path):
    home = os.path.expanduser("~")
    run.update_local(
        inputs={"data_files": ["/srv/me/data/faq.jsonl"], "eval_data": ["hf://me/rows"], "recipe": "qwen3-8b", "model": None},
        base_model="/srv/me/models/tiny",
    )
    run.update(
        command=[
            "unsloth-ft",
            "run",
            f"{tmp_path}/r.py",
            "--data",
            "/srv/me/data/faq.jsonl",
            "--model",
            os.path.relpath("/srv/me/models/tiny"),
            f"--out={run.path.absolute()}",
        ],
        error=f"/srv/me/models/tiny: bad; see {home}/.cache/x",
    )
    found = run.read()
    assert found["command"] == ["unsloth-ft", "run", "r.py", "--data", "faq.jsonl", "--model", "tiny", "--out=faq"]
    assert found["error"] == "tiny: bad; see .cache/x"


def test_versions_name_what_is_installed_and_nothing_else():
    found = record.versions()
    assert {"unsloth_ft", "python", "torch", "transformers"} <= set(found)
    assert all(version and " " not in version for version in found.values())


def test_the_sha256_of_a_file(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert record.sha256(tmp_path / "x") == digest
    with (tmp_path / "x").open("rb") as stream:
        assert record._digest(stream) == digest
