"""The gate: whole exports pass, each deliberate damage fails with its own words, and what llama.cpp makes of a damage by itself."""

from __future__ import annotations

import io
import os
import re
import shutil

import pytest
from rich.console import Console

from tests.export import runs
from tests.export.damages import DAMAGES, GGUF, Damage, Places
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.errors import UserError
from unsloth_ft.export import in_llamacpp, proof
from unsloth_ft.export.pipeline import Exports
from unsloth_ft.export.targets import parse
from unsloth_ft.export.verify import verify, verify_files
from unsloth_ft.record import RunDirectory

TARGETS = ("adapter", "merged", "gguf:f16", "gguf-lora:f16", "ollama")


@pytest.fixture(scope="module")
def exported(family_dir, tmp_path_factory):
    """(run directory with every export, base). Copy it to change it."""
    return runs.exported(family_dir("smollm2"), tmp_path_factory.mktemp("verify"), *TARGETS)


@pytest.fixture(scope="module")
def answers(exported):
    """What the whole merged model and the adapter say; asked once for all damages."""
    directory, base = exported
    return opened(directory, base).trained.answers(directory.exports / "merged")[0]


def opened(directory, base, known=None):
    exports = Exports(directory, parse(TARGETS), runs.base_model(base), Chat(load_tokenizer(base)), Console(file=io.StringIO()))
    exports.trained._answers = known
    return exports


def copy_of(exported, tmp_path):
    directory, base = exported
    copied = RunDirectory(shutil.copytree(directory.path, tmp_path / "my-run"))
    at = copied.exports
    names = ("merged", "my-run-f16.gguf", "my-run-lora.gguf", "small-base-f16.gguf", "Modelfile")
    return copied, Places(base, *(at / name for name in names))


def checked(directory, base, console=None):
    quiet = console or Console(file=io.StringIO())
    return verify(directory, base=runs.base_model(base), chat=Chat(load_tokenizer(base)), console=quiet)


ASKED = (
    "merged model answers as the adapter",
    "merged model's probabilities are the adapter's",
    "token ids in llama.cpp",
    "llama.cpp answers as the merged model",
    "probabilities in llama.cpp",
    "answers stop in llama.cpp",
)


def test_whole_exports_pass_every_line_and_run_json_keeps_them(exported):
    directory, base = exported
    found = checked(directory, base)
    assert {target: [line["name"] for line in lines if line["ok"]] for target, lines in found["exports"].items()} == {
        "adapter": ["files", "tensors"],
        "merged": [
            "files",
            "weights read back",
            "tokenizer and configuration",
            "merged model answers as the adapter",
            "merged model's probabilities are the adapter's",
        ],
        "gguf:f16": [
            "files",
            "tensors read back",
            "metadata",
            *ASKED,
        ],
        "gguf-lora:f16": [
            "files",
            "adapter's tensors read back",
            "tensors read back",
            "metadata",
            *ASKED,
            "FROM and num_ctx",
            "TEMPLATE and stops",
            "token ids of TEMPLATE in llama.cpp",
        ],
        "ollama": ["files", "FROM and num_ctx", "TEMPLATE and stops", "token ids of TEMPLATE in llama.cpp"],
    }
    assert found["ok"] and directory.read()["verification"] == found
    ids = next(line for line in found["exports"]["gguf:f16"] if line["name"] == "token ids in llama.cpp")
    assert ids["found"] == "50 texts and 6 conversations, 0 with other ids"


def test_the_damages_are_many_and_no_two_are_one():
    assert len(DAMAGES) >= 30
    assert len({(damage.target, damage.id) for damage in DAMAGES}) == len(DAMAGES)


@pytest.mark.parametrize("damage", DAMAGES, ids=[f"{damage.target}, {damage.id}" for damage in DAMAGES])
def test_each_damage_fails_with_its_own_words(damage: Damage, exported, answers, tmp_path):
    directory, places = copy_of(exported, tmp_path)
    damage.change(places)
    exports = opened(directory, places.base, answers)
    # A GGUF is compared with the merged model; the damaged copy of it is none of the GGUF's business here.
    exports._merged_now = places.merged
    lines, _ = exports.check(parse([damage.target])[0])
    failed = [line for line in lines if not line["ok"]]
    assert failed[0]["name"] == damage.line
    assert re.search(damage.says, failed[0]["found"]), failed[0]["found"]


# What llama.cpp itself shows of a damaged file, were its bytes not compared at all: at least one of these lines.
SEEN_BY_RUNNING = {
    "the base's GGUF": {"llama.cpp answers as the merged model", "probabilities in llama.cpp"},
    "q without llama.cpp's order of rows": {"llama.cpp answers as the merged model", "probabilities in llama.cpp"},
    "k without llama.cpp's order of rows": {"llama.cpp answers as the merged model", "probabilities in llama.cpp"},
    "two tensors exchanged": {"llama.cpp answers as the merged model", "probabilities in llama.cpp"},
    "a tensor dropped": {"opens in llama.cpp"},
    "cut short": {"opens in llama.cpp"},
    "another pre-tokenizer": {"token ids in llama.cpp"},
    "half of the merges": {"token ids in llama.cpp"},
    "two tokens exchanged": {"token ids in llama.cpp"},
}


@pytest.mark.parametrize("damage", [damage for damage in GGUF if damage.id in SEEN_BY_RUNNING], ids=lambda damage: damage.id)
def test_most_damages_show_in_llamacpp_too(damage: Damage, exported, answers, tmp_path):
    directory, places = copy_of(exported, tmp_path)
    damage.change(places)
    trained = opened(directory, places.base).trained
    lines = in_llamacpp.in_llamacpp(
        places.gguf, trained.chat, trained.prompts, answers.merged, limit=proof.LIMITS["f16"], max_new_tokens=trained.longest
    )
    assert {line["name"] for line in lines if not line["ok"]} >= SEEN_BY_RUNNING[damage.id]


@pytest.mark.parametrize(
    ("change", "says"), [("longer", "has 6,"), ("flipped", "has other bytes than were written"), ("gone", "is missing")]
)
def test_quick_finds_a_file_that_is_not_the_one_that_was_written(change, says, exported, tmp_path):
    directory, places = copy_of(exported, tmp_path)
    content = places.modelfile.read_bytes()
    if change == "gone":
        places.modelfile.unlink()
    else:
        places.modelfile.write_bytes(content + b"#" * 6000 if change == "longer" else content[:-2] + b"1\n")
    before = directory.record_file.read_bytes()
    found = verify_files(directory)
    assert [(target, says in line["found"]) for target, (line,) in found["exports"].items() if not line["ok"]] == [("ollama", True)]
    assert not found["ok"] and directory.record_file.read_bytes() == before


def test_a_modelfile_whose_gguf_is_gone_is_a_line_and_no_error(exported, tmp_path):
    directory, places = copy_of(exported, tmp_path)
    places.gguf.unlink()
    directory.update(exports={"ollama": directory.read()["exports"]["ollama"]})
    found = checked(directory, places.base)
    assert [(line["name"], line["ok"]) for line in found["exports"]["ollama"]] == [("files", True), ("FROM and ADAPTER", False)]
    assert found["exports"]["ollama"][1]["found"] == "my-run-f16.gguf: missing"


def test_a_modelfile_whose_gguf_llamacpp_refuses_is_a_line_and_no_error(exported, tmp_path):
    directory, places = copy_of(exported, tmp_path)
    os.truncate(places.gguf, places.gguf.stat().st_size // 2)
    directory.update(exports={"ollama": directory.read()["exports"]["ollama"]})
    assert checked(directory, places.base)["exports"]["ollama"][-1]["name"] == "opens in llama.cpp"


def test_a_run_without_exports_has_nothing_to_verify(exported, tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    directory.update(status="done")
    with pytest.raises(UserError, match="^run has no exports"):
        verify_files(directory)


def test_a_gguf_is_verified_without_the_merged_folder_which_is_made_again_and_removed(exported, tmp_path):
    directory, places = copy_of(exported, tmp_path)
    shutil.rmtree(places.merged)
    known = directory.read()["exports"]
    directory.update(exports={"gguf:f16": known["gguf:f16"]})
    assert checked(directory, places.base)["ok"]
    assert not places.merged.exists() and not (directory.exports / ".merged").exists()
