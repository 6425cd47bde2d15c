"""What may be passed as a data file: plain files, and for everything else a sentence that says why not."""

from __future__ import annotations

import os
import socket

import pytest

from tests.data.building import GOOD, lines, qa, refusal
from unsloth_ft.data import examine, files, load
from unsloth_ft.errors import MachineError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_text(GOOD)
    return tmp_path


def test_missing_file_names_the_nearest(folder):
    assert refusal("fqa.jsonl") == "fqa.jsonl: no such file. Did you mean faq.jsonl?"
    assert refusal("unlike") == "unlike: no such file."


def test_missing_file_in_a_missing_folder(folder):
    assert refusal("data/faq.jsonl") == 'data/faq.jsonl: no such file. There is no folder "data" either.'


def test_path_through_a_file(folder):
    assert refusal("faq.jsonl/x") == "faq.jsonl/x: no such file: a part of the path is a file, not a folder."


def test_folder_says_what_is_in_it(folder):
    assert refusal(folder) == f'{folder}: a folder; expected a file. It holds "faq.jsonl": pass what you want of it.'
    (folder / "empty").mkdir()
    assert refusal("empty") == "empty: a folder; expected a file."


def test_pipe_is_refused_without_opening_it(folder):
    os.mkfifo("pipe.jsonl")
    expected = "pipe.jsonl: a pipe; expected a file, since it is read more than once. Save it to a file first."
    assert refusal("pipe.jsonl") == expected


def test_device_and_socket_are_refused(folder):
    assert refusal("/dev/zero") == "/dev/zero: a device; expected a file."
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s.jsonl")
        assert refusal("s.jsonl") == "s.jsonl: a socket; expected a file."


def test_symbolic_links(folder):
    os.symlink("b.jsonl", "a.jsonl")
    os.symlink("a.jsonl", "b.jsonl")
    assert refusal("a.jsonl") == "a.jsonl: symbolic links that lead in a circle. Pass the file itself."
    os.symlink("gone.jsonl", "dangling.jsonl")
    assert refusal("dangling.jsonl") == 'dangling.jsonl: a symbolic link to "gone.jsonl", which is not there.'
    os.symlink("faq.jsonl", "good.jsonl")
    assert load("good.jsonl").conversations[0].where == "good.jsonl:1"


def test_unreadable_file(folder, monkeypatch):
    (folder / "faq.jsonl").chmod(0)
    if os.geteuid() == 0:  # root may read everything: let the opening fail as it does for others

        def denied(*arguments, **options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", denied)
    assert refusal("faq.jsonl") == "faq.jsonl: no permission to read it. Run: chmod u+r faq.jsonl"


def test_path_with_nul_and_path_too_long(folder):
    assert refusal("a\0b") == r"a\u0000b: a path can't hold a NUL character."
    assert refusal("x" * 300) == f"{'x' * 300}: can't be opened: File name too long."


def test_name_that_is_not_utf8_can_be_shown(folder):
    name = os.fsdecode(b"caf\xe9.csv")
    assert refusal(name) == r"caf\udce9.csv: no such file."


def test_no_file_and_the_same_file_twice(folder):
    assert refusal([]) == "no data file is given; expected at least one. Pass --data FILE."
    assert refusal(["faq.jsonl", "faq.jsonl"]) == "faq.jsonl: the same file is given twice. Pass it once."
    assert refusal(["faq.jsonl", "./faq.jsonl"]) == "./faq.jsonl: the same file as faq.jsonl. Pass it once."
    os.link("faq.jsonl", "linked.jsonl")
    assert refusal(["linked.jsonl", "faq.jsonl"]) == "faq.jsonl: the same file as linked.jsonl. Pass it once."


@pytest.mark.parametrize("change", ["truncated", "written to", "exchanged", "removed"])
def test_a_file_that_changes_while_it_is_read_is_refused(folder, change):
    path = folder / "long.jsonl"
    path.write_text("".join(f'{{"question": "Who is number {number}?", "answer": "Me."}}\n' for number in range(100_000)))
    found = files.records("long.jsonl")
    assert next(found).value["question"] == "Who is number 0?"
    if change == "truncated":
        os.truncate(path, 3_000_000)
    elif change == "written to":
        with path.open("a") as file:
            file.write(GOOD + "\n")
    elif change == "exchanged":
        os.replace("faq.jsonl", path)
    else:
        path.unlink()
    last = list(found)[-1]
    assert str(last) == "long.jsonl: the file changed while it was read. Start again when nothing writes to it."


def test_files_of_the_kernel_are_refused_at_once():
    assert refusal("/proc/cpuinfo") == "/proc/cpuinfo: the file is empty; expected at least one row."
    assert refusal("/proc/self/exe").startswith("/proc/self/exe: this is a program; expected JSON Lines or a JSON array")
    assert refusal("/proc/self/fd").startswith("/proc/self/fd: a folder; expected a file.")
    assert refusal("/proc/self/fd/x") == "/proc/self/fd/x: no such file."
    assert refusal("/dev/null") == "/dev/null: a device; expected a file."
    assert refusal("/dev/full") == "/dev/full: a device; expected a file."


def test_folders_and_links_under_the_names_of_data_files(folder):
    (folder / "rows.jsonl").mkdir()
    assert refusal("rows.jsonl") == "rows.jsonl: a folder; expected a file."
    os.symlink("rows.jsonl", "link.jsonl")
    assert refusal("link.jsonl") == "link.jsonl: a folder; expected a file."
    os.symlink("self.jsonl", "self.jsonl")
    assert refusal("self.jsonl") == "self.jsonl: symbolic links that lead in a circle. Pass the file itself."
    os.symlink("/dev/zero", "zero.jsonl")
    assert refusal("zero.jsonl") == "zero.jsonl: a device; expected a file."
    os.mkfifo("pipe.gz")
    os.symlink("pipe.gz", "piped.jsonl")
    assert refusal("piped.jsonl") == "piped.jsonl: a pipe; expected a file, since it is read more than once. Save it to a file first."
    assert refusal("faq.jsonl/") == "faq.jsonl/: no such file: a part of the path is a file, not a folder."
    assert refusal("") == ": no such file."


def test_disk_error_is_the_machines(folder, monkeypatch):
    from unsloth_ft.data import files

    def failing(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "open_stream", failing)
    with pytest.raises(MachineError) as failed:
        load("faq.jsonl")
    assert str(failed.value) == "faq.jsonl: could not be read: Input/output error."


@pytest.mark.parametrize(("name", "package"), [("faq.jsonl.zst", "zstandard"), ("faq.parquet", "pyarrow")])
def test_missing_package_is_the_machines_with_the_command(folder, monkeypatch, name, package):
    import sys

    content = {"faq.jsonl.zst": b"\x28\xb5\x2f\xfd1234", "faq.parquet": b"PAR1 1234 PAR1"}[name]
    (folder / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MachineError) as failed:
        load(name)
    kind = {"zstandard": "zstd", "pyarrow": "Parquet"}[package]
    assert str(failed.value) == f"{name}: reading {kind} needs the package {package}. Run: pip install {package}"


def test_importing_the_package_loads_no_heavy_library():
    import subprocess
    import sys

    heavy = "torch transformers pandas pyarrow datasets zstandard numpy urllib.request"
    code = f"import sys, unsloth_ft.data; print([name for name in '{heavy}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_check_returns_what_load_raises(folder):
    (folder / "bad.jsonl").write_text("3\n")
    found = tuple(examine(["faq.jsonl", "bad.jsonl"]).findings)
    assert [(finding.file, finding.line, finding.severity, finding.code) for finding in found] == [
        ("bad.jsonl", 1, "error", "not-an-object")
    ]
    assert refusal(["faq.jsonl", "bad.jsonl"]) == str(found[0])


def test_a_pattern_stands_for_its_files_in_order(folder):
    (folder / "data" / "deep").mkdir(parents=True)
    for name in ("data/b.jsonl", "data/a.jsonl", "data/.hidden.jsonl", "data/c.csv", "data/deep/d.jsonl"):
        (folder / name).write_bytes(lines(qa(name)) if name != "data/c.csv" else b"question,answer\nc,d\n")
    assert [file.path for file in load("data/*.jsonl").files] == ["data/a.jsonl", "data/b.jsonl"]
    assert [file.path for file in load(["data/*", "faq.jsonl"]).files] == ["data/a.jsonl", "data/b.jsonl", "data/c.csv", "faq.jsonl"]
    assert [file.path for file in load("data/**/[d-z].jsonl").files] == ["data/deep/d.jsonl"]


def test_a_pattern_that_matches_nothing_names_what_is_near(folder):
    (folder / "deep").mkdir()
    assert refusal("*.jsnl") == "*.jsnl: no file matches. Did you mean faq.jsonl?"
    assert refusal("*.csv") == '*.csv: no file matches. There is "faq.jsonl": pass what you want of it.'
    assert refusal("deep/*.jsonl") == "deep/*.jsonl: no file matches."
    assert refusal("dep/*.jsonl") == 'dep/*.jsonl: no file matches. There is no folder "dep" either.'
    assert refusal("dee?") == "dee?: no file matches. Did you mean deep?"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    (folder / "faq[1].jsonl").write_bytes(lines(qa("one")))
    (folder / "faq*.jsonl").write_bytes(lines(qa("star")))
    assert [row.question for row in load("faq[1].jsonl").conversations] == ["one"]
    assert [row.question for row in load("faq*.jsonl").conversations] == ["star"]


def test_the_same_file_from_two_patterns_is_given_twice(folder):
    assert refusal(["*.jsonl", "f*.jsonl"]) == "faq.jsonl: the same file is given twice. Pass it once."


def test_the_command_line_expands_a_quoted_pattern(folder):
    from tests.cli.calling import call

    (folder / "faq2.jsonl").write_bytes(lines(qa("two")))
    assert call("data", "check", "faq*.jsonl").out.splitlines()[:2] == call("data", "check", "faq.jsonl", "faq2.jsonl").out.splitlines()[:2]
    assert call("data", "check", "*.csv").code == 2
