"""What a record says of machine, code and command, and what it must not say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from unsloth_ft.bench import machine, processes
from unsloth_ft.hardware import Hardware


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with one commit."""
    folder = tmp_path / "checkout"
    (folder / "bench" / "results").mkdir(parents=True)
    (folder / "code.py").write_text("x = 1\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder


def test_the_commit_and_whether_the_code_was_changed(checkout: Path):
    commit = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert machine.git(checkout) == {"commit": commit, "changed": False}
    (checkout / "bench" / "results" / "new.json").write_text("{}")
    assert machine.git(checkout)["changed"] is False
    (checkout / "code.py").write_text("x = 2\n")
    assert machine.git(checkout)["changed"] is True


def test_an_installed_package_has_no_commit(tmp_path: Path):
    assert machine.git(tmp_path) == {"commit": None, "changed": None}


def test_the_command_is_kept_without_places_of_this_machine():
    words = ["speed-faq", "mine/case.py", "--model", "/data/ada/llama", "--out=/home/ada/results", "--recipe", "../ada/r.py"]
    words += ["--out", "~/results"]
    kept = ["speed-faq", "mine/case.py", "--model", "llama", "--out=results", "--recipe", "r.py", "--out", "results"]
    assert machine.command(words) == ["unsloth-ft", "bench", "run", *kept]


def test_the_facts_say_what_a_reader_needs_to_repeat_a_figure():
    told = machine.facts(Hardware((), "a CPU", 2, False, 2**34), threads=1)
    assert (told["device"], told["gpu"], told["cpu"], told["cpu_count"], told["threads"]) == ("cpu", None, "a CPU", 2, 1)
    assert told["memory_bytes"] == 2**34
    assert {"kernel", "system", "architecture", "cpu_has_bfloat16", "summary"} <= told.keys()


def test_a_worker_has_the_listed_variables_and_no_others(tmp_path: Path):
    given = {"PATH": "/bin", "HOME": "/home/ada", "HF_TOKEN": "secret", "LD_PRELOAD": "x.so"}
    given |= {"CUDA_VISIBLE_DEVICES": "1", "PYTHONPATH": "site"}
    seen = processes.environment(threads=3, caches=tmp_path, given=given)
    assert {name: seen.pop(name) for name in processes.SET} == processes.SET
    assert seen.pop("PYTHONPATH").split(":")[-1] == str(Path("site").absolute())
    assert seen == {
        "PATH": "/bin",
        "HOME": "/home/ada",
        "CUDA_VISIBLE_DEVICES": "1",
        "OMP_NUM_THREADS": "3",
        "UNSLOTH_COMPILE_LOCATION": f"{tmp_path}/unsloth_compiled_cache",
        "TORCHINDUCTOR_CACHE_DIR": f"{tmp_path}/torchinductor",
        "TRITON_CACHE_DIR": f"{tmp_path}/triton",
    }
