"""New files: whole or not there, whatever the disk does, and JSON that our own reader takes."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from unsloth_ft.data.copies import as_line, new_files
from unsloth_ft.errors import MachineError, UserError


def write(path: Path, line: bytes) -> None:
    with new_files([str(path)]) as (file,):
        file.write(line)


def test_a_file_that_cannot_grow_leaves_nothing_when_it_is_closed_again(tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))  # a file can't grow past it: EFBIG, at each flush again
    try:
        with pytest.raises(MachineError) as refused:
            write(tmp_path / "new.jsonl", b"a" * 4000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(refused.value) == f"{tmp_path}/new.jsonl: could not be written: File too large. Nothing of it is left."
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_of_the_same_number_left_is_not_in_the_way(tmp_path: Path):
    (tmp_path / f".{os.getpid()}.new.jsonl").write_bytes(b"half")
    write(tmp_path / "new.jsonl", b"whole")
    assert (tmp_path / "new.jsonl").read_bytes() == b"whole"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_where_files_have_one_name_only_the_file_gets_it_and_takes_no_other_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    def no_link(source: str, target: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_link)
    write(tmp_path / "new.jsonl", b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("new.jsonl", b"whole")]
    with pytest.raises(UserError) as refused:
        write(tmp_path / "new.jsonl", b"other")
    assert str(refused.value) == f"{tmp_path}/new.jsonl: it appeared while this ran. Name another file."
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("new.jsonl", b"whole")]


def test_an_input_that_cannot_be_read_is_not_said_of_the_output(tmp_path: Path):
    with pytest.raises(OSError, match="Input/output error"), new_files([str(tmp_path / "new.jsonl")]):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert list(tmp_path.iterdir()) == []


def test_a_line_is_json_whatever_a_table_holds():
    row = {"score": float("nan"), "scores": [1.5, {"a": float("-inf")}], "text": "\u00e9"}
    assert as_line(row) == '{"score": null, "scores": [1.5, {"a": null}], "text": "\u00e9"}\n'.encode()
