"""A folder to work in, with a data file, and a tiny model outside of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.calling import rows


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a test, with faq.jsonl (12 rows) and eval.jsonl (4 others)."""
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "faq.jsonl").write_text(rows(12), encoding="utf-8")
    (folder / "eval.jsonl").write_text(rows(4, first=100), encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file can be brought to the disk."""

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)


@pytest.fixture(scope="session")
def tiny(family_dir: Callable[[str], Path]) -> str:
    """A tiny model with SmolLM2's tokenizer and template; the smallest to build."""
    return str(family_dir("smollm2"))
