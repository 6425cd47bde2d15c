"""What is exported, in which order, what is refused beforehand, and what is made again."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from safetensors.torch import load_file, save_file

from tests.export import adapters, runs
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export import in_llamacpp, pipeline, references
from unsloth_ft.export.modelfile import parse_modelfile
from unsloth_ft.export.ollama_model import end_texts, model_name
from unsloth_ft.export.pipeline import is_done
from unsloth_ft.export.targets import Target, complete, parse
from unsloth_ft.export.trained import MERGED_ANSWERS, MERGED_PROBABILITIES
from unsloth_ft.record import RunDirectory


@pytest.fixture(scope="module")
def trained(family_dir, tmp_path_factory):
    """(base, adapter, eval/prompts.jsonl's lines)."""
    base = runs.small_model(family_dir("smollm2"), tmp_path_factory.mktemp("pipeline") / "small")
    adapter = adapters.save(adapters.peft_model(base), tmp_path_factory.mktemp("pipeline") / "adapter")
    return base, adapter, runs.answers(base, adapter)


@pytest.fixture
def run(trained, tmp_path):
    """A new run directory, trained."""
    return runs.trained_run(tmp_path / "my-run", *trained)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """A run directory with all its exports. Read it, or copy it."""
    directory = runs.trained_run(tmp_path_factory.mktemp("pipeline") / "my-run", *trained)
    return directory, runs.make(directory, trained[0], "ollama", "gguf:f16", "adapter", "merged")


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of it that a test may change."""
    return RunDirectory(shutil.copytree(exported[0].path, tmp_path / "my-run"))


def chat_of(folder):
    return Chat(load_tokenizer(folder))


def stamps(directory):
    return {file: file.stat().st_mtime_ns for file in directory.exports.rglob("*") if file.is_file()}


def visible(directory):
    return sorted(path.name for path in directory.exports.iterdir())


# -- order


def test_exports_build_on_each_other_whatever_order_they_were_named_in():
    assert complete(parse(["ollama", "gguf:q8_0", "gguf:f16", "merged", "adapter"])) == tuple(
        parse(["adapter", "merged", "gguf:q8_0", "gguf:f16", "ollama"])
    )


def test_ollama_brings_a_q8_0_gguf_where_none_was_asked_for():
    assert complete([Target("ollama")]) == (Target("gguf", "q8_0"), Target("ollama"))
    assert complete(parse(["ollama", "gguf:f16"])) == (Target("gguf", "f16"), Target("ollama"))


# -- what is made


def test_all_exports_are_made_and_each_passed_its_checks(exported):
    directory, made = exported
    assert list(made) == ["adapter", "merged", "gguf:f16", "ollama"]
    assert [(target, check["name"]) for target, result in made.items() for check in result["checks"] if check["ok"]] == [
        ("adapter", "tensors"),
        ("merged", "weights read back"),
        ("merged", "tokenizer and configuration"),
        ("merged", "merged model answers as the adapter"),
        ("merged", "merged model's probabilities are the adapter's"),
        ("gguf:f16", "tensors read back"),
        ("gguf:f16", "metadata"),
        ("gguf:f16", "merged model answers as the adapter"),
        ("gguf:f16", "merged model's probabilities are the adapter's"),
        ("gguf:f16", "token ids in llama.cpp"),
        ("gguf:f16", "llama.cpp answers as the merged model"),
        ("gguf:f16", "probabilities in llama.cpp"),
        ("gguf:f16", "answers stop in llama.cpp"),
        ("ollama", "FROM and num_ctx"),
        ("ollama", "TEMPLATE and stops"),
        ("ollama", "token ids of TEMPLATE in llama.cpp"),
    ]
    assert visible(directory) == ["Modelfile", "merged", "my-run-f16.gguf"]
    assert [file["name"] for file in made["gguf:f16"]["files"]] == ["export/my-run-f16.gguf"]
    assert all(is_done(result, directory) for result in made.values())


def test_modelfile_names_the_gguf_every_end_token_and_a_context(exported):
    read = parse_modelfile((exported[0].exports / "Modelfile").read_text(encoding="utf-8"))
    assert read["from"] == "./my-run-f16.gguf"
    assert read["parameters"] == {"stop": ["<|im_end|>"], "num_ctx": ["2048"], "temperature": ["0"]}


def test_the_note_says_how_to_use_it(exported):
    assert exported[1]["ollama"]["notes"][-1] == "to use it: cd export && ollama create my-run -f Modelfile && ollama run my-run"


def test_ends_are_the_turn_end_eos_and_those_of_generation_config(trained, tmp_path):
    folder, chat = shutil.copytree(trained[0], tmp_path / "base"), chat_of(trained[0])
    assert end_texts(chat, folder) == ("<|im_end|>",)
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 2, 4]}')
    assert end_texts(chat, folder) == ("<|im_end|>", "<|endoftext|>", "<reponame>")
    (folder / "generation_config.json").unlink()
    assert end_texts(chat, folder) == ("<|im_end|>",)


@pytest.mark.parametrize(
    ("trained_tokens", "known_tokens", "num_ctx"),
    [(64, 8192, 2048), (1024, 8192, 2048), (1500, 8192, 3000), (6000, 8192, 8192), (64, 512, 512)],
)
def test_context_is_twice_what_was_trained_from_2048_to_what_the_model_knows(trained_tokens, known_tokens, num_ctx, trained, tmp_path):
    directory = runs.trained_run(tmp_path / "run", *trained, max_seq_length=trained_tokens)
    base = runs.base_model(runs.changed_config(trained[0], tmp_path, max_position_embeddings=known_tokens))
    assert pipeline.Exports(directory, (), base, None, None).num_ctx() == num_ctx


def test_an_adapters_gguf_comes_with_its_base_and_a_modelfile_that_names_both(run, trained):
    made = runs.make(run, trained[0], "gguf-lora:f16", "ollama", system="Be brief.")
    assert list(made) == ["gguf-lora:f16", "ollama"]
    assert [file["name"] for file in made["gguf-lora:f16"]["files"]] == [
        "export/my-run-lora.gguf",
        "export/small-base-f16.gguf",
        "export/Modelfile.lora",
    ]
    for name in ("Modelfile", "Modelfile.lora"):
        read = parse_modelfile((run.exports / name).read_text(encoding="utf-8"))
        assert (read["from"], read["adapter"], read["system"]) == ("./small-base-f16.gguf", "./my-run-lora.gguf", "Be brief.")
    assert visible(run) == ["Modelfile", "Modelfile.lora", "my-run-lora.gguf", "small-base-f16.gguf"]


def test_system_stands_in_a_modelfile_only_where_it_was_asked_for(copied, trained):
    assert "system" not in parse_modelfile((copied.exports / "Modelfile").read_text(encoding="utf-8"))
    before = stamps(copied)
    runs.make(copied, trained[0], "gguf:f16", "ollama", system="Be brief.")
    assert parse_modelfile((copied.exports / "Modelfile").read_text(encoding="utf-8"))["system"] == "Be brief."
    assert {file for file, stamp in stamps(copied).items() if before.get(file) != stamp} == {copied.exports / "Modelfile"}


def test_the_merged_model_of_a_gguf_is_removed_when_it_was_not_asked_for(run, trained):
    runs.make(run, trained[0], "gguf:q8_0")
    assert visible(run) == ["my-run-q8_0.gguf"]


def test_what_a_killed_export_left_is_removed_and_not_used(run, trained):
    for name in (".merged", ".merged.partial", "..merged.partial"):
        (run.exports / name).mkdir(parents=True)
        (run.exports / name / "model.safetensors").write_bytes(b"half a model")
    runs.make(run, trained[0], "gguf:q8_0")
    assert visible(run) == ["my-run-q8_0.gguf"]


def test_a_run_that_asked_no_questions_says_so_and_still_asks_llamacpp_one(run, trained):
    (run.evaluation / "prompts.jsonl").write_text("")
    checks = {check["name"]: check["found"] for check in runs.make(run, trained[0], "gguf:f16")["gguf:f16"]["checks"]}
    assert checks["merged model answers as the adapter"].startswith("not compared: ")
    assert checks["llama.cpp answers as the merged model"].startswith("1 of 1 answers equal")


def test_without_xllamacpp_a_gguf_carries_a_note_and_passes(run, trained, monkeypatch):
    monkeypatch.setattr(in_llamacpp, "find_spec", lambda name: None)
    made = runs.make(run, trained[0], "gguf:q8_0")["gguf:q8_0"]
    assert [check["name"] for check in made["checks"]] == ["tensors read back", "metadata", MERGED_ANSWERS, MERGED_PROBABILITIES]
    assert made["notes"] == ["not compared in llama.cpp: xllamacpp is not installed (pip install xllamacpp)"]


def test_without_memory_for_the_merged_model_there_is_a_note_and_no_failure(run, trained, monkeypatch):
    def none(folder, **kwargs):
        raise MachineError("the 16-bit model needs 16.1 GiB of memory to answer, this machine has 8.0 GiB")

    monkeypatch.setattr(references, "room", none)
    made = runs.make(run, trained[0], "gguf:q8_0")["gguf:q8_0"]
    assert [check["name"] for check in made["checks"]] == ["tensors read back", "metadata", "token ids in llama.cpp"]
    assert made["notes"] == ["not compared with the adapter: the 16-bit model needs 16.1 GiB of memory to answer, this machine has 8.0 GiB"]


def test_after_qlora_the_merge_is_compared_with_the_adapter_on_the_16_bit_base(trained, tmp_path):
    base, adapter, lines = trained
    other = [line | {"answer_ids": [5, *line["answer_ids"][1:]]} for line in lines]  # as NF4's rounding may change an answer
    plain = runs.trained_run(tmp_path / "plain", base, adapter, other)
    with pytest.raises(GateError):
        runs.make(plain, base, "merged")
    quantized = runs.trained_run(tmp_path / "quantized", base, adapter, other, load_in_4bit=True)
    made = runs.make(quantized, base, "merged")["merged"]
    assert made["notes"] == [
        "the adapter was trained on NF4 weights; on the 16-bit base, which is what is exported, 0 of 3 answers are the same, "
        "0.0% of their tokens up to the first difference"
    ]


# -- again


def test_a_second_call_makes_nothing(copied, trained):
    before, record = stamps(copied), copied.record_file.read_bytes()
    runs.make(copied, trained[0], "ollama", "gguf:f16", "merged", "adapter")
    assert stamps(copied) == before
    assert copied.record_file.read_bytes() == record


@pytest.mark.parametrize("damage", ["one byte", "shorter", "gone"])
def test_a_damaged_file_is_made_again_and_nothing_else(damage, copied, trained):
    path = copied.exports / "my-run-f16.gguf"
    content, before = path.read_bytes(), stamps(copied)
    if damage == "gone":
        path.unlink()
    elif damage == "shorter":
        os.truncate(path, 1000)
    else:
        path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    assert not is_done(copied.read()["exports"]["gguf:f16"], copied)
    runs.make(copied, trained[0], "merged", "gguf:f16", "ollama")
    assert path.read_bytes() == content
    assert {file for file, stamp in stamps(copied).items() if before[file] != stamp} == {path}


def test_a_modelfile_of_another_gguf_is_made_again(copied, trained):
    runs.make(copied, trained[0], "gguf:q8_0", "ollama")
    assert parse_modelfile((copied.exports / "Modelfile").read_text(encoding="utf-8"))["from"] == "./my-run-q8_0.gguf"
    assert visible(copied) == ["Modelfile", "merged", "my-run-f16.gguf", "my-run-q8_0.gguf"]


def test_a_renamed_run_and_a_renamed_model_give_the_same_modelfile(copied, trained, tmp_path):
    expected = (copied.exports / "Modelfile").read_bytes()
    (copied.exports / "Modelfile").unlink()
    renamed = RunDirectory(copied.path.rename(tmp_path / "another name"))
    base = shutil.copytree(trained[0], tmp_path / "another-model")
    made = runs.make(renamed, base, "gguf:f16", "ollama")
    assert (renamed.exports / "Modelfile").read_bytes() == expected
    assert visible(renamed) == ["Modelfile", "merged", "my-run-f16.gguf"]
    assert made["ollama"]["from"] == "my-run-f16.gguf"


# -- gates


def test_an_export_that_is_not_what_was_trained_is_kept_recorded_and_an_error(trained, tmp_path):
    base, adapter, lines = trained
    directory = runs.trained_run(tmp_path / "run", base, adapter, [line | {"answer_ids": [5, 6, 7]} for line in lines])
    with pytest.raises(GateError) as caught:
        runs.make(directory, base, "merged", "gguf:f16")
    assert str(caught.value) == (
        "run: merged is not what was trained. It is kept for a look; don't use it.\n"
        "  merged model answers as the adapter: 0 of 3 answers equal, 0.0% of the tokens agree; "
        "expected at least 85% of the tokens, near-ties (up to 0.5 nats) aside"
    )
    assert caught.value.exit_code == 4
    assert list(directory.read()["exports"]) == ["merged"]
    assert not is_done(directory.read()["exports"]["merged"], directory)
    assert (directory.exports / "merged" / "model.safetensors").is_file()


def test_a_gguf_that_llamacpp_reads_otherwise_is_kept_recorded_and_an_error(run, trained, monkeypatch):
    write = pipeline.write_gguf

    def of_the_base(folder, path, **how):
        return write(trained[0], path, **how)

    monkeypatch.setattr(pipeline, "write_gguf", of_the_base)
    with pytest.raises(
        GateError, match=r"^my-run: gguf:q8_0 is not what was trained\. It is kept for a look; don't use it\.\n  llama\.cpp answers as"
    ):
        runs.make(run, trained[0], "ollama")
    assert visible(run) == ["my-run-q8_0.gguf"]
    assert list(run.read()["exports"]) == ["gguf:q8_0"]
    monkeypatch.undo()
    assert list(runs.make(run, trained[0], "ollama")) == ["gguf:q8_0", "ollama"]


def test_another_base_of_the_same_shapes_is_refused_by_its_fingerprint(run, trained, tmp_path):
    other = shutil.copytree(trained[0], tmp_path / "other")
    state = {name: tensor * 1.5 for name, tensor in load_file(other / "model.safetensors").items()}
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError) as caught:
        runs.make(run, other, "merged")
    assert str(caught.value) == (
        "other: this is not the base model that the adapter was trained on (its fingerprint differs). Pass the right one with --model DIR."
    )
    assert visible(run) == [] if run.exports.exists() else True


# -- names


@pytest.mark.parametrize(
    ("run_name", "model"),
    [
        ("llama31-8b-faq", "llama31-8b-faq"),
        ("My Run", "My-Run"),
        ("-rf", "rf"),
        ("..hidden", "hidden"),
        ("v1.2_final", "v1.2_final"),
        ("a\"b'c", "a-b-c"),
        ("a\nFROM evil", "a-FROM-evil"),
        ("$(id);x", "id-x"),
        ("größe 🙂", "gr-e"),
        ("模型", "model"),
        ("", "model"),
        ("a:b", "a-b"),
        ("x" * 300, "x" * 80),
    ],
)
def test_names_are_what_ollama_and_file_systems_take(run_name, model):
    assert model_name(run_name) == model


@pytest.mark.parametrize("name", ['-a run\'s "best" {{.}} 模', "x" * 255])
def test_a_run_with_an_odd_name_exports_all_the_same(name, trained, tmp_path):
    directory = runs.trained_run(tmp_path / name, *trained)
    made = runs.make(directory, trained[0], "ollama")
    file = f"{model_name(name)}-q8_0.gguf"
    assert visible(directory) == sorted(["Modelfile", file])
    assert parse_modelfile((directory.exports / "Modelfile").read_text(encoding="utf-8"))["from"] == f"./{file}"
    assert (
        made["ollama"]["notes"][-1]
        == f"to use it: cd export && ollama create {model_name(name)} -f Modelfile && ollama run {model_name(name)}"
    )
