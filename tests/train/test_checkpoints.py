"""Checkpoints on disk, without a model: sealed, checked, rotated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unsloth_ft.train import checkpoints

FILES = [*checkpoints.NEEDED, "adapter_config.json", "README.md"]


def sealed(folder: Path, step: int) -> Path:
    staged = folder / checkpoints.STAGING / f"checkpoint-{step}"
    staged.mkdir(parents=True)
    for name in FILES:
        (staged / name).write_bytes(f"{name} of step {step}".encode() * 50)
    checkpoints.seal(staged, folder / staged.name)
    return folder / staged.name


def missing(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def one_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def of_another_step(file: Path) -> None:
    other = file.parent.parent / "checkpoint-2" / file.name
    file.write_bytes(other.read_bytes())


@pytest.mark.parametrize("damage", [missing, empty, half, one_bit, of_another_step])
@pytest.mark.parametrize("name", [*FILES, checkpoints.MANIFEST])
def test_a_damaged_file_is_noticed_and_the_checkpoint_before_is_used(tmp_path: Path, name: str, damage):
    before, newest = sealed(tmp_path, 2), sealed(tmp_path, 4)
    assert checkpoints.newest_whole(tmp_path) == (newest, [])
    damage(newest / name)
    assert checkpoints.newest_whole(tmp_path) == (before, ["checkpoint-4"])


@pytest.mark.parametrize("manifest", ["[]", "{}", "5", "null", '{"README.md": "00"}', "{", "\udcff"])
def test_a_manifest_that_is_none_is_damage(tmp_path: Path, manifest: str):
    newest = sealed(tmp_path, 4)
    (newest / checkpoints.MANIFEST).write_bytes(manifest.encode("utf-8", "surrogateescape"))
    assert checkpoints.newest_whole(tmp_path) == (None, ["checkpoint-4"])


@pytest.mark.parametrize("name", checkpoints.NEEDED)
def test_a_manifest_without_a_file_that_a_resume_needs_is_damage(tmp_path: Path, name: str):
    newest = sealed(tmp_path, 4)
    manifest = newest / checkpoints.MANIFEST
    manifest.write_text(json.dumps({key: value for key, value in json.loads(manifest.read_text()).items() if key != name}))
    (newest / name).unlink()
    assert not checkpoints.is_whole(newest)


def test_what_was_staged_and_never_renamed_does_not_count(tmp_path: Path):
    whole = sealed(tmp_path, 2)
    staged = tmp_path / checkpoints.STAGING / "checkpoint-4"
    staged.mkdir()
    (staged / "optimizer.pt").write_bytes(b"half")
    assert checkpoints.newest_whole(tmp_path) == (whole, [])


def test_other_folders_are_not_checkpoints(tmp_path: Path):
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "checkpoint-3").write_text("a file")
    assert checkpoints.newest_whole(tmp_path) == (None, [])
    assert checkpoints.newest_whole(tmp_path / "nowhere") == (None, [])


def test_newest_means_the_highest_step_not_the_last_by_name(tmp_path: Path):
    newest = sealed(tmp_path, 10)
    sealed(tmp_path, 9)
    assert checkpoints.newest_whole(tmp_path) == (newest, [])


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(2, None, [3, 4]), (2, 4, [3, 4]), (2, 1, [1, 4]), (1, 1, [1, 4]), (1, None, [4]), (3, 2, [2, 3, 4]), (9, 1, [1, 2, 3, 4])],
)
def test_rotation_keeps_the_best_and_the_newest(tmp_path: Path, keep: int, best: int | None, left: list[int]):
    for step in (1, 2, 3, 4):
        sealed(tmp_path, step)
    checkpoints.rotate(tmp_path, keep=keep, best_step=best)
    assert [checkpoints.step_of(path) for path in checkpoints.all_checkpoints(tmp_path)] == left


def test_sealing_again_replaces_the_checkpoint_of_the_same_step(tmp_path: Path):
    old = sealed(tmp_path, 2)
    (old / "stray").write_text("x")
    assert not (sealed(tmp_path, 2) / "stray").exists()
