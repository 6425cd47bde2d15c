"""A run directory from somebody else, or from an earlier version: nothing outside of it is read or written, and nothing hangs."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from tests.export import adapters, runs
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.cli import results
from unsloth_ft.errors import UserError
from unsloth_ft.export.modelfile import parse_modelfile
from unsloth_ft.export.preflight import preflight
from unsloth_ft.export.recorded import recorded_exports
from unsloth_ft.export.targets import Target, parse
from unsloth_ft.export.trained import LONGEST_LINE, Trained
from unsloth_ft.export.verify import verify_files
from unsloth_ft.hardware import Hardware
from unsloth_ft.record import RunDirectory


@pytest.fixture(scope="module")
def trained(family_dir, tmp_path_factory):
    """(base, adapter, lines of eval/prompts.jsonl)."""
    base = runs.small_model(family_dir("smollm2"), tmp_path_factory.mktemp("recorded") / "small")
    adapter = adapters.save(adapters.peft_model(base), base.with_name("adapter"))
    return base, adapter, runs.answers(base, adapter)


@pytest.fixture
def run(trained, tmp_path):
    """A new run directory, trained."""
    return runs.trained_run(tmp_path / "my-run", *trained)


def entry(*names: str, **more):
    """An export as run.json has it."""
    files = [{"name": name, "bytes": 10, "sha256": "0" * 64} for name in names]
    return {"files": files, "checks": [{"name": "files", "ok": True, "found": "", "expected": ""}], "notes": [], **more}


OUTSIDE = {
    "gguf:q8_0": ("../evil.gguf", "/tmp/evil.gguf", "export/../../evil.gguf", "export/..", "run.json", "adapter/x.safetensors", ""),
    "merged": ("export/merged/../../run.json", "export/model.safetensors"),
    "adapter": ("../../adapter/adapter_config.json", "export/x"),
    "ollama": ("../Modelfile", "export/a\0b"),
}


@pytest.mark.parametrize(("target", "name"), [(target, name) for target, names in OUTSIDE.items() for name in names])
def test_a_file_outside_of_its_folder_is_refused_by_everything_that_reads_the_record(target, name, run, trained):
    (run.path.parent / "evil.gguf").write_bytes(b"ten bytes!")
    more = {"from": "x.gguf"} if target == "ollama" else {}
    run.update(exports={target: entry(name, **more)})
    before = sorted(run.path.parent.rglob("*"))
    base, chat = runs.base_model(trained[0]), Chat(load_tokenizer(trained[0]))
    machine = Hardware((), "a CPU", 2, False, 2**40)
    calls = [
        lambda: runs.make(run, trained[0], "gguf:q8_0"),
        lambda: verify_files(run),
        lambda: preflight(parse(["adapter"]), base, chat, run, machine, dtype="float32"),
        lambda: results._gguf(os.fspath(run.path)),
    ]
    for call in calls:
        with pytest.raises(UserError, match=f"^my-run/run.json: the export {target} names the file .*; expected files in "):
            call()
    assert sorted(run.path.parent.rglob("*")) == before
    assert (run.path.parent / "evil.gguf").read_bytes() == b"ten bytes!"


@pytest.mark.parametrize(
    ("exports", "says"),
    [
        ([], "exports is a list"),
        ({"gguf:q8_0": 1}, "is a int"),
        ({"gguf:q8_0": {"files": 1, "checks": []}}, "has no list of files"),
        ({"gguf:q8_0": {"files": [{"name": 1}], "checks": []}}, "has no list of files"),
        ({"gguf:q8_0": {"files": [], "checks": []}}, "has 0 files; expected 1 or more"),
        ({"gguf-lora:f16": entry("export/a.gguf", "export/b.gguf")}, "has 2 files; expected 3 or more"),
        ({"gguf:q8_0": entry("export/a.gguf", quantizer="rm")}, "says quantizer = 'rm'"),
        ({"ollama": entry("export/Modelfile", **{"from": "../a.gguf"})}, "says from = '../a.gguf'"),
        ({"ollama": entry("export/Modelfile", **{"from": "a.gguf", "adapter": "/a.gguf"})}, "says adapter = '/a.gguf'"),
        ({"ollama": entry("export/Modelfile", **{"from": "a.gguf", "system": 1})}, "says system = 1"),
        ({"rm": entry("export/a")}, 'export target "rm" is not known'),
    ],
)
def test_what_is_no_record_of_an_export_is_refused_in_a_line(exports, says, run):
    run.update(exports=exports)
    with pytest.raises(UserError) as caught:
        recorded_exports(run)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_the_record_of_an_earlier_version_is_filled_in(run, trained):
    runs.make(run, trained[0], "gguf:f16", "ollama")
    exports = run.read()["exports"]
    for target, key in (("gguf:f16", "quantizer"), ("ollama", "system"), ("ollama", "adapter")):
        del exports[target][key]
    run.update(exports=exports)
    known = recorded_exports(run)
    assert known[Target("gguf", "f16")]["quantizer"] == "own"
    assert (known[Target("ollama")]["system"], known[Target("ollama")]["adapter"]) == (None, None)
    stamp = (run.exports / "my-run-f16.gguf").stat().st_mtime_ns
    runs.make(run, trained[0], "gguf:f16", "ollama", system="Be brief.")
    assert parse_modelfile((run.exports / "Modelfile").read_text(encoding="utf-8"))["system"] == "Be brief."
    assert (run.exports / "my-run-f16.gguf").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("name", [".my-run-f16.gguf.partial", "my-run-f16.gguf"])
def test_a_link_in_the_exports_is_replaced_and_not_followed(name, run, trained):
    outside = run.path.parent / "outside"
    outside.write_text("kept")
    run.exports.mkdir()
    (run.exports / name).symlink_to(outside)
    runs.make(run, trained[0], "gguf:f16")
    assert outside.read_text() == "kept"
    assert (run.exports / "my-run-f16.gguf").is_file() and not (run.exports / "my-run-f16.gguf").is_symlink()


def test_folders_pipes_and_devices_beside_the_adapter_are_no_files_of_it(run, trained):
    (run.adapter / "notes").mkdir()
    os.mkfifo(run.adapter / "pipe")
    (run.adapter / "zero").symlink_to("/dev/zero")
    files = [file["name"] for file in runs.make(run, trained[0], "adapter")["adapter"]["files"]]
    assert files == [f"adapter/{name}" for name in sorted(path.name for path in trained[1].iterdir()) if name != "README.md"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "eval/prompts.jsonl:2: not JSON"),
        ("[" * 100_000, "eval/prompts.jsonl:2: not JSON"),
        ("[]", "eval/prompts.jsonl:2: a list; expected a JSON object."),
        ('{"prompt_ids": ["a"], "answer_ids": []}', "eval/prompts.jsonl:2: expected prompt_ids and answer_ids"),
        ('{"prompt_ids": [], "answer_ids": []}', "eval/prompts.jsonl:2: expected prompt_ids and answer_ids"),
        ('{"prompt_ids": [1]}', "eval/prompts.jsonl:2: expected prompt_ids and answer_ids"),
        ('{"prompt_ids": [2048], "answer_ids": []}', "lists of ids below 2,048"),
        ('{"prompt_ids": [-1], "answer_ids": []}', "lists of ids below 2,048"),
        (json.dumps({"prompt_ids": [1] * 100_000, "answer_ids": []}), "the prompt of 1 to 8,192."),
        ('{"where": "' + "x" * LONGEST_LINE, "eval/prompts.jsonl:2: not JSON"),
    ],
    ids=["half", "deep", "a list", "texts", "empty", "no answer", "too large", "negative", "too long a prompt", "too long a line"],
)
def test_questions_that_are_none_are_refused_in_a_line(line, says, run, trained):
    first = (run.evaluation / "prompts.jsonl").read_text(encoding="utf-8").splitlines()[0]
    (run.evaluation / "prompts.jsonl").write_text(f"{first}\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        Trained(run, runs.base_model(trained[0]), Chat(load_tokenizer(trained[0]))).questions
    assert says in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_of_many_questions_only_the_first_are_read(run, trained):
    lines = (run.evaluation / "prompts.jsonl").read_text(encoding="utf-8")
    with (run.evaluation / "prompts.jsonl").open("w", encoding="utf-8") as stream:
        stream.write(lines * 3)
        stream.truncate(stream.tell() + 2**40)  # a hole: nothing on the disk, and a terabyte to whoever reads it all
    assert len(Trained(run, runs.base_model(trained[0]), Chat(load_tokenizer(trained[0]))).questions) == 8


def test_a_renamed_copy_keeps_its_record(run, trained, tmp_path):
    runs.make(run, trained[0], "gguf:f16")
    copied = RunDirectory(shutil.copytree(run.path, tmp_path / "other"))
    assert list(recorded_exports(copied)) == [Target("gguf", "f16")]
    assert verify_files(copied)["ok"]
