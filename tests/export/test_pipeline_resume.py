"""An export that broke off within the merge goes on there; an export of before is never lost."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.export import adapters, merge_cases, runs
from unsloth_ft.export import merged
from unsloth_ft.export.verify import verify_files
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


def test_what_a_kill_left_of_other_exports_is_removed_when_an_export_succeeds(run, trained):
    for name in (".my-run-q8_0.gguf.partial", ".my-run-q4_k_m.gguf.bf16", ".Modelfile.1.tmp"):
        (run.exports / name).write_bytes(b"half a file")
    runs.make(run, trained[0], "adapter")
    assert sorted(path.name for path in run.exports.iterdir()) == ["merged"]


def test_an_adapter_on_bases_of_two_quantizations_has_a_modelfile_for_each(run, trained):
    for target in ("gguf-lora:f16", "gguf-lora:q8_0"):
        runs.make(run, trained[0], target)
    exports = run.read()["exports"]
    assert {target: [file["name"] for file in exports[target]["files"]] for target in ("gguf-lora:f16", "gguf-lora:q8_0")} == {
        "gguf-lora:f16": ["export/my-run-lora.gguf", "export/small-base-f16.gguf", "export/Modelfile.lora"],
        "gguf-lora:q8_0": ["export/my-run-lora.gguf", "export/small-base-q8_0.gguf", "export/Modelfile.lora-q8_0"],
    }
    assert verify_files(run)["ok"]


def test_a_run_named_as_its_bases_gguf_keeps_both_files_apart(trained, tmp_path):
    directory = RunDirectory(shutil.copytree(trained[1].path, tmp_path / "small-base"))
    directory.update(name="small-base", exports={})
    made = runs.make(directory, trained[0], "gguf:f16", "gguf-lora:f16")
    assert made["gguf:f16"]["files"][0]["name"] == "export/small-base-f16.gguf"
    assert made["gguf-lora:f16"]["files"][1]["name"] == "export/small-base-model-f16.gguf"
    assert verify_files(directory)["ok"]


def test_an_export_moved_aside_by_a_kill_gets_its_name_again(run, trained, monkeypatch):
    os.rename(run.exports / "merged", run.exports / ".merged.previous")
    files = written(monkeypatch)
    runs.make(run, trained[0], "adapter")
    assert files == []
    assert merge_cases.everything(run.exports) == merge_cases.everything(trained[1].exports)
