"""An export that broke off within the merge goes on there; an export of before is never lost."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.export import adapters, merge_cases, runs
from unsloth_ft.export import merged
from unsloth_ft.record import RunDirectory


@pytest.fixture(scope="module")
def trained(family_dir, tmp_path_factory):
    """(base in three files, a run directory trained on it with its merged model exported)."""
    folder = tmp_path_factory.mktemp("resume")
    base = runs.small_model(family_dir("smollm2"), folder / "small")
    merge_cases.shard(base, 3)
    adapter = adapters.save(adapters.peft_model(base), folder / "adapter")
    directory = runs.trained_run(folder / "my-run", base, adapter, runs.answers(base, adapter))
    runs.make(directory, base, "merged")
    return base, directory


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run directory that a test may change."""
    return RunDirectory(shutil.copytree(trained[1].path, tmp_path / "my-run"))


def written(monkeypatch, *, until=None):
    """The names of the weight files that merges write from now on; the process is as good as dead when it comes to `until`."""
    names, write = [], merged._write_shard

    def note(path, *rest):
        if path.name == until:
            raise KeyboardInterrupt
        names.append(path.name)
        return write(path, *rest)

    monkeypatch.setattr(merged, "_write_shard", note)
    return names


def test_an_interrupted_export_goes_on_with_the_files_that_were_whole(run, trained, monkeypatch):
    base = trained[0]
    shutil.rmtree(run.exports / "merged")
    first = written(monkeypatch, until="model-00003-of-00003.safetensors")
    with pytest.raises(KeyboardInterrupt):
        runs.make(run, base, "merged")
    monkeypatch.undo()
    second = written(monkeypatch)
    runs.make(run, base, "merged")
    assert (first, second) == (
        ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"],
        ["model-00003-of-00003.safetensors"],
    )
    assert merge_cases.everything(run.exports) == merge_cases.everything(trained[1].exports)


def test_an_export_moved_aside_by_a_kill_gets_its_name_again(run, trained, monkeypatch):
    os.rename(run.exports / "merged", run.exports / ".merged.previous")
    files = written(monkeypatch)
    runs.make(run, trained[0], "adapter")
    assert files == []
    assert merge_cases.everything(run.exports) == merge_cases.everything(trained[1].exports)
