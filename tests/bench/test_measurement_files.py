"""What is read from a results folder: whole measurements as they were written, and a line for everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.sample import GPU, everything, measurement
from unsloth_ft.bench.measurement import path_of, read, read_all, write
from unsloth_ft.errors import UserError


def written(folder: Path, **changed: Any) -> Path:
    """A measurement's file in which fields are others; a dotted name is a field within one."""
    told: dict[str, Any] = json.loads(json.dumps(measurement(machine=GPU).as_json()))
    for name, value in changed.items():
        *above, last = name.split("__")
        place: Any = told
        for step in above:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value
    path = folder / "one.json"
    path.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """What is said of the file, without its name; one line."""
    with pytest.raises(UserError) as caught:
        read(path)
    (line,) = str(caught.value).splitlines()
    return line.removeprefix(f"{path}: ")


def test_what_was_written_is_read_as_it_was(tmp_path: Path):
    every = {path_of(one, tmp_path): one for one in everything()}
    for one in every.values():
        write(one, tmp_path)
    assert read_all(tmp_path) == [every[path] for path in sorted(every)]


def test_a_loss_that_is_no_number_is_read(tmp_path: Path):
    path = write(measurement(outcome="failed", losses=[float("nan")] * 10), tmp_path)
    assert json.dumps([step.loss for step in read(path).steps]) == json.dumps([float("nan")] * 10)


OURS = "expected a file that this version's `bench run` wrote."


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"tokens_per_second": "fast"}, f"tokens_per_second: Input should be a valid number; {OURS}"),
        ({"tokens_per_second": float("nan")}, f"tokens_per_second: Value error, no number that can be measured; {OURS}"),
        ({"peak_host_bytes": 10**400}, f"peak_host_bytes: Value error, no number that can be measured; {OURS}"),
        ({"steps__0__seconds": -1.0}, f"steps.0.seconds: Input should be greater than or equal to 0; {OURS}"),
        ({"steps__0__colour": "red"}, f"steps.0.colour: Unexpected keyword argument; {OURS}"),
        ({"work__tokens": True}, f"work.tokens: Input should be a valid integer; {OURS}"),
        ({"outcome": "perhaps", "repeat": None}, f"repeat: Input should be a valid integer (and 1 more); {OURS}"),
        ({"point": {"length": 0}}, f"point.length: Input should be greater than or equal to 1; {OURS}"),
        ({"machine__gpu__name": 5}, f"machine.gpu.name: Input should be a valid string; {OURS}"),
        ({"machine": {}}, f"machine.device: Field required (and 5 more); {OURS}"),
        ({"machine__load_before": 5}, f"machine.load_before: Input should be an object; {OURS}"),
    ],
)
def test_a_value_that_no_measurement_has_is_refused_in_a_line(changed: dict[str, Any], says: str, tmp_path: Path):
    assert refusal(written(tmp_path, **changed)) == says


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "can't be read as a measurement (Expecting value: line 1 column 1 (char 0))."),
        (b'{"format": 1, "run": "', "can't be read as a measurement (Unterminated string starting at: line 1 column 22 (char 21))."),
        (b'{"format": 1, "run": "\xff"}', "can't be read as a measurement ("),
        (b'{"format": 1, "run": ' + b"[" * 100_000, "can't be read as a measurement (maximum recursion depth exceeded"),
        (b"[1]", "not a measurement of format 1; expected a file that `bench run` wrote."),
        (b'{"format": 1}', "run: Field required (and 14 more)"),
    ],
)
def test_a_file_that_is_no_measurement_is_refused_in_a_line(content: bytes, says: str, tmp_path: Path):
    (tmp_path / "one.json").write_bytes(content)
    assert refusal(tmp_path / "one.json").startswith(says)


def test_what_is_of_another_kind_is_left_out(tmp_path: Path):
    write(measurement(), tmp_path)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "loop.json").symlink_to("loop.json")
    (tmp_path / "round").symlink_to(".")
    (tmp_path / "gone.json").symlink_to("nowhere")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    (tmp_path / "other.json").write_text('{"schema": 1}', encoding="utf-8")
    assert read_all(tmp_path) == [measurement()]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"none: no measurements; expected a folder that `unsloth-ft bench run` wrote\."):
        read_all(tmp_path / "none")


