"""An export is there as it was before or whole and new, whatever happens on the way; and a merge that broke off goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.export import adapters, merge_cases
from unsloth_ft.errors import GateError, MachineError
from unsloth_ft.export import merged
from unsloth_ft.export.merged import merge

ROOT = Path(__file__).parents[2]


@pytest.fixture
def earlier(tiny_base, tiny_adapter, tmp_path):
    """out/ with an export of before, of another adapter, and its bytes."""
    louder = shutil.copytree(tiny_adapter, tmp_path / "louder")
    adapters.change_config(louder, lora_alpha=16)
    merge(tiny_base, louder, tmp_path / "out" / "merged")
    shutil.rmtree(louder)
    return tmp_path / "out", merge_cases.everything(tmp_path / "out")


def test_a_full_disk_is_the_machines_and_keeps_the_export_of_before(tiny_base, tiny_adapter, earlier):
    out, before = earlier
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a write past it fails, as on a full disk
    try:
        with pytest.raises(MachineError) as caught:
            merge(tiny_base, tiny_adapter, out / "merged")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith("merged: can't be written (File too large); about 0.0 GiB are needed, ")
    assert str(caught.value).endswith(" GiB are free. Free some space and export again; what is whole is kept.")
    assert merge_cases.everything(out) == before


def test_a_merge_after_one_that_was_killed_finds_the_export_and_clears_the_rest(tiny_base, tiny_adapter, earlier):
    out, before = earlier
    # as a kill between the two renames leaves it
    os.rename(out / "merged", out / ".merged.previous")
    (out / ".merged.partial").mkdir()
    (out / ".merged.partial" / "model.safetensors").write_bytes(b"half")
    adapters.change_weights(tiny_adapter, lambda state: [state[name].mul_(1e-12) for name in state if "lora_B" in name])
    with pytest.raises(GateError):
        merge(tiny_base, tiny_adapter, out / "merged")
    assert merge_cases.everything(out) == before


def test_a_new_merge_replaces_the_folder_of_before(tiny_base, tiny_adapter, earlier):
    out, before = earlier
    (out / "merged" / "stray.txt").write_text("from before")
    merge(tiny_base, tiny_adapter, out / "merged")
    after = merge_cases.everything(out)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == ["merged/model.safetensors"]


def kill(base: Path, adapter: Path, earlier: Path, work: Path, *, count: int, seed: int) -> dict[str, Any]:
    """The base in three files, killed at `count` moments."""
    merge_cases.shard(base, 3)
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, Path(__file__).with_name("merge_killpoints.py"), base, adapter, earlier, work, str(count), str(seed)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def check_kills(found: dict[str, Any]) -> None:
    assert found["status"] == 0 and found["differs"]
    assert found["written"] == [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
    for case in found["cases"]:
        assert case["killed"] == signal.SIGKILL, case
        assert case["there"] in ("before", "after"), case
        assert case["ended"] == 0 and case["same"], case
        assert case["twice"] == [] or case["point"][1] is not None, case


def test_sixteen_kills_lose_no_export_and_end_in_the_same_bytes(tiny_base, tiny_adapter, earlier, tmp_path):
    found = kill(tiny_base, tiny_adapter, earlier[0] / "merged", tmp_path / "kills", count=16, seed=1)
    assert len(found["cases"]) == 16
    check_kills(found)


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_no_export_and_ends_in_the_same_bytes(tiny_base, tiny_adapter, earlier, tmp_path):
    found = kill(tiny_base, tiny_adapter, earlier[0] / "merged", tmp_path / "kills", count=10_000, seed=2)
    assert len(found["cases"]) == found["moments"] > 60
    check_kills(found)


# -- what is kept of a merge that broke off


class Killed(BaseException):
    """Stands for a kill: nothing in a merge may catch it."""


def broken_off(base: Path, adapter: Path, out: Path, *, after: int) -> None:
    """A merge that dies after so many tensors."""

    def die(done: int, total: int) -> None:
        if done == after:
            raise Killed

    with pytest.raises(Killed):
        merge(base, adapter, out, on_tensor=die)


def opened_for_writing(base: Path, adapter: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The weight files that a merge writes."""
    names, write = [], merged._write_shard
    monkeypatch.setattr(merged, "_write_shard", lambda path, *rest: (names.append(path.name), write(path, *rest))[1])
    merge(base, adapter, out)
    monkeypatch.undo()
    return names


FIRST, SECOND, THIRD = (f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3))


def nothing(partial: Path, base: Path, adapter: Path) -> None:
    """The inputs and the file are as they were."""


def damage_the_file(partial: Path, base: Path, adapter: Path) -> None:
    content = bytearray((partial / FIRST).read_bytes())
    content[-1] ^= 1
    (partial / FIRST).write_bytes(content)


def remove_the_file(partial: Path, base: Path, adapter: Path) -> None:
    (partial / FIRST).unlink()


def change_the_adapter(partial: Path, base: Path, adapter: Path) -> None:
    adapters.change_weights(adapter, lambda state: [state[name].mul_(2) for name in state if "lora_B" in name])


def change_its_config(partial: Path, base: Path, adapter: Path) -> None:
    adapters.change_config(adapter, lora_alpha=16)


def touch_the_base(partial: Path, base: Path, adapter: Path) -> None:
    os.utime(base / THIRD)


def damage_the_list(partial: Path, base: Path, adapter: Path) -> None:
    (partial / ".merge.json").write_text("{")


def forge_the_list(partial: Path, base: Path, adapter: Path) -> None:
    manifest = json.loads((partial / ".merge.json").read_text())
    (partial / ".merge.json").write_text(json.dumps({**manifest, "shards": {FIRST: {"sha256": 5}}}))


@pytest.mark.parametrize(
    ("change", "written"),
    [
        (nothing, [SECOND, THIRD]),
        (damage_the_file, [FIRST, SECOND, THIRD]),
        (remove_the_file, [FIRST, SECOND, THIRD]),
        (change_the_adapter, [FIRST, SECOND, THIRD]),
        (change_its_config, [FIRST, SECOND, THIRD]),
        (touch_the_base, [FIRST, SECOND, THIRD]),
        (damage_the_list, [FIRST, SECOND, THIRD]),
        (forge_the_list, [FIRST, SECOND, THIRD]),
    ],
)
def test_whole_files_are_kept_and_anything_doubtful_is_written_again(change, written, tiny_base, tiny_adapter, tmp_path, monkeypatch):
    merge_cases.shard(tiny_base, 3)
    first = len(load_file(tiny_base / FIRST))
    broken_off(tiny_base, tiny_adapter, tmp_path / "merged", after=first + 1)
    assert sorted(os.listdir(tmp_path / ".merged.partial")) == [".merge.json", FIRST, SECOND]
    change(tmp_path / ".merged.partial", tiny_base, tiny_adapter)
    assert opened_for_writing(tiny_base, tiny_adapter, tmp_path / "merged", monkeypatch) == written
    merge(tiny_base, tiny_adapter, tmp_path / "straight")
    assert merge_cases.everything(tmp_path / "merged") == merge_cases.everything(tmp_path / "straight")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base", "merged", "straight"]
    assert not (tmp_path / "merged" / ".merge.json").exists()


def test_the_counts_of_a_merge_that_went_on_are_those_of_the_whole(tiny_base, tiny_adapter, tmp_path):
    merge_cases.shard(tiny_base, 3)
    seen = []
    broken_off(tiny_base, tiny_adapter, tmp_path / "merged", after=len(load_file(tiny_base / FIRST)) + 1)
    went_on = merge(tiny_base, tiny_adapter, tmp_path / "merged", on_tensor=lambda done, total: seen.append(done))
    straight = merge(tiny_base, tiny_adapter, tmp_path / "straight")
    assert dataclasses.replace(went_on, folder=straight.folder) == straight
    assert (straight.tensors, straight.targeted, straight.changed) == (20, 6, 6)
    assert seen == list(range(len(load_file(tiny_base / FIRST)), 21))


# -- a full disk

FULL_DISK = """
import json, os, sys
from pathlib import Path
from tests.export.merge_cases import everything
from unsloth_ft.errors import MachineError
from unsloth_ft.export.merged import merge

base, adapter, disk = map(Path, sys.argv[1:])
said = []
ballast = disk / "ballast"
merge(base, adapter, disk / "merged")
before = everything(disk / "merged")
# room for one of three files and a half
ballast.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - sum(len(content) for content in before.values()) // 2))
try:
    merge(base, adapter, disk / "merged")
except MachineError as error:
    said.append(str(error))
kept = everything(disk / "merged") == before, sorted(os.listdir(disk / ".merged.partial"))
ballast.unlink()
merge(base, adapter, disk / "merged")
print(json.dumps([said, *kept, everything(disk / "merged") == before, sorted(os.listdir(disk))]))
"""


def test_on_a_really_full_disk_the_export_of_before_stays_and_the_next_call_goes_on(tiny_base, tiny_adapter, tmp_path):
    merge_cases.shard(tiny_base, 3)
    size = sum(file.stat().st_size for file in tiny_base.glob("*.safetensors"))
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size={4 * size} tmpfs "$1" && exec "$2" -c "$3" "$4" "$5" "$1"'
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces: no small disk can be made")
    command = ["unshare", "-rm", "sh", "-c", script, "sh", disk, sys.executable, FULL_DISK, tiny_base, tiny_adapter]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    said, untouched, partial, same, left = json.loads(done.stdout)
    assert said == [
        "merged: can't be written (No space left on device); about 0.0 GiB are needed, 0.0 GiB are free. "
        "Free some space and export again; what is whole is kept."
    ]
    assert untouched and partial == [".merge.json", FIRST]
    assert same and left == ["merged"]
