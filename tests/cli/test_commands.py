"""The command line as a surface: its commands, flags and exit codes are a promise, and --help costs next to nothing."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.calling import ROOT, call, start
from unsloth_ft import cli, errors

TRAINING = "RECIPE --backend --data --eval-data --json --max-steps --mix --model --offline --seed --set"
# Command -> its arguments (in capitals) and flags. A change here is a change of what users type.
SURFACE = {
    "run": f"{TRAINING} --dry-run --export --out --probe",
    "resume": "NAME --json --offline",
    "plan": f"{TRAINING} --export --gpu --probe",
    "data check": "FILES --eval-data --json --model --offline --recipe --report --set",
    "data preview": "FILE --html --json --model --offline --recipe --row --rows --set --statistics --tokens",
    "data fix": "FILES --changes --drop --drop-contradictions --encoding --eval-data --json --near-duplicates --offline --out --set",
    "data split": "FILES --json --offline --out --rows --seed --set --share",
    "recipes list": "--json",
    "recipes show": "NAME --json --set",
    "eval": "RUN --data --json --model --offline",
    "chat": "RUN QUESTION --json --max-new-tokens",
    "export": "RUN --json --model --offline --quantizer --system --to",
    "verify": "RUN --json --model --offline --quick",
    "runs list": "--json",
    "runs show": "RUN --json",
    "bench cases": "--json",
    "bench compare": "A B --json",
    "bench report": "FOLDER --check --out --readme",
    "bench run": (
        "CASE --busy-ok --json --keep-loaded --legs --memory-cap --model --offline --out --quick --recipe --repeats --steps --time-budget"
    ),
    "bench synth": "RECIPE --json --layers --nf4 --out --seed",
    "doctor": "--forget --json",
}
HEAVY = {"torch", "transformers", "trl", "peft", "unsloth", "datasets", "rich.progress", "numpy", "jinja2"}


def commands() -> dict[str, click.Command]:
    """ "data check" -> the command."""
    found: dict[str, click.Command] = {}
    for name, (module, attribute, _) in cli.COMMANDS.items():
        command = getattr(importlib.import_module(f"unsloth_ft.cli.{module}"), attribute)
        if isinstance(command, click.Group):
            context = click.Context(command)
            found.update({f"{name} {each}": command.get_command(context, each) for each in command.list_commands(context)})
        else:
            found[name] = command
    return found


def surface(command: click.Command) -> str:
    arguments = [
        each.make_metavar(click.Context(command)).strip("[]").rstrip(".") for each in command.params if isinstance(each, click.Argument)
    ]
    return " ".join(
        [
            *(name.strip("[]") for name in arguments),
            *sorted(option for each in command.params if isinstance(each, click.Option) for option in each.opts),
        ]
    )


# What there is


def test_the_commands_and_their_flags_are_these():
    found = {name: surface(command).split() for name, command in commands().items()}
    assert {name: sorted(words) for name, words in found.items()} == {name: sorted(words.split()) for name, words in SURFACE.items()}


def test_the_exit_codes_are_these():
    assert {
        each.__name__: each.exit_code
        for each in (errors.UnslothFtError, errors.UserError, errors.MachineError, errors.GateError, errors.BusyError)
    } == {
        "UnslothFtError": 1,
        "UserError": 2,
        "MachineError": 3,
        "GateError": 4,
        "BusyError": 5,
    }


@pytest.mark.parametrize("kind", [errors.UserError, errors.MachineError, errors.GateError, errors.BusyError])
def test_an_error_of_ours_is_a_line_and_its_exit_code(kind: type[errors.UnslothFtError], monkeypatch: pytest.MonkeyPatch):
    from unsloth_ft import catalog

    def refused(name: str) -> None:
        raise kind("faq.jsonl:3: wrong\nfaq.jsonl:4: wrong")

    monkeypatch.setattr(catalog, "find", refused)
    answer = call("recipes", "show", "x")
    assert (answer.code, answer.out, answer.err) == (kind.exit_code, "", "error: faq.jsonl:3: wrong\nfaq.jsonl:4: wrong\n")


@pytest.mark.parametrize("name", ["", *SURFACE, "bench", "data", "recipes", "runs"])
def test_help_is_on_stdout_with_exit_code_0(name: str):
    for flag in ("--help", "-h"):
        answer = call(*name.split(), flag)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith(f"Usage: unsloth-ft {name}".rstrip() + " [OPTIONS]")


@pytest.mark.parametrize("name", SURFACE)
def test_every_flag_says_what_it_does(name: str):
    silent = [each.opts[0] for each in commands()[name].params if isinstance(each, click.Option) and not each.help]
    assert silent == []
    assert commands()[name].help


def test_the_list_of_commands_says_what_each_does():
    out = call("--help").out
    assert [name for name, (_, _, text) in cli.COMMANDS.items() if f"  {name:<8} {text}" not in out] == []


@pytest.mark.parametrize("words", [[], ["bench"], ["data"], ["recipes"], ["runs"]])
def test_a_group_without_a_command_shows_its_help_on_stderr(words: list[str]):
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"Usage: unsloth-ft {' '.join(words)}".rstrip() + " [OPTIONS] COMMAND")


def test_the_version():
    from unsloth_ft import __version__

    assert (call("--version").code, call("--version").out) == (0, f"unsloth-ft, version {__version__}\n")


# What it costs


@pytest.mark.parametrize(
    "words",
    [
        "--help", "run --help", "bench --help", "bench cases", "recipes list", "recipes list --json", "recipes show qwen3-8b",
        "runs list", "data check faq.jsonl", "rnu",
    ],  # fmt: skip
)
def test_a_look_around_imports_no_heavy_library(words: str, work: Path):
    heavy = HEAVY - ({"numpy"} if words.startswith("data check") else set())  # its index of rows is an array
    code = (
        "import sys; sys.argv = ['unsloth-ft', *sys.argv[1:]]; from unsloth_ft.cli import main\n"
        "try: main()\n"
        f"finally: print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, cwd=work, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.returncode == (2 if words == "rnu" else 0)


def test_a_reader_that_has_gone_is_no_error(work: Path):
    done = subprocess.run(
        f"{sys.executable} -m unsloth_ft recipes show qwen3-8b | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "qwen3-8b (built in)\n", "")


def test_the_program_runs_as_a_module_and_by_its_name(work: Path):
    answer = start("--version", cwd=work)
    assert (answer.code, answer.out.split(",")[0]) == (0, "unsloth-ft")


# JSON


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("recipes list --json", list),
        ("recipes show qwen3-8b --set lora.r=4 --json", dict),
        ("data check faq.jsonl --json", dict),
        ("runs list --json", list),
    ],
)
def test_json_is_one_document_on_stdout_and_nothing_else(words: str, kind: type, work: Path):
    answer = call(*words.split())
    assert (answer.code, answer.err) == (0, "")
    assert type(json.loads(answer.out)) is kind


def test_a_recipe_as_json_has_the_settings_in_it():
    found = json.loads(call("recipes", "show", "qwen3-8b", "--set", "lora.r=4", "--json").out)
    assert (found["model"], found["lora"]["r"]) == ("Qwen/Qwen3-8B", 4)


def test_the_plan_as_json_has_values_reasons_data_and_warnings(work: Path, tiny: str):
    answer = call("plan", "smollm2-135m", "--data", "faq.jsonl", "--model", tiny, "--backend", "peft", "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert list(found) == ["plan", "memory", "data", "exports", "warnings"]
    assert found["plan"]["num_train_epochs"] == {"value": 5.0, "reason": "11 training rows; early stopping may end it sooner"}
    assert found["data"]["files"][0]["name"] == "faq.jsonl"
    assert call("run", "smollm2-135m", "--data", "faq.jsonl", "--model", tiny, "--backend", "peft", "--json", "--dry-run").out == answer.out
    assert not (work / "runs").exists()


def test_a_preview_as_json_has_the_learned_pieces(work: Path, tiny: str):
    answer = call("data", "preview", "faq.jsonl", "--recipe", "smollm2-135m", "--model", tiny, "--rows", "2", "--json")
    assert (answer.code, answer.err) == (0, "")
    first, second = json.loads(answer.out)
    assert (first["where"], second["where"]) == ("faq.jsonl:1", "faq.jsonl:2")
    assert [piece["text"] for piece in first["pieces"] if piece["learned"]] == ["At 1.<|im_end|>"]


def test_doctor_as_json_says_whether_this_machine_can_train(work: Path):
    answer = call("doctor", "--json")
    found = json.loads(answer.out)
    assert (found["ok"], answer.code) in ((True, 0), (False, 3))
    assert {"problems", "versions", "machine", "backend", "disk_free_gib", "ollama"} <= set(found)


# doctor


def versions(monkeypatch: pytest.MonkeyPatch, **other: str | None) -> None:
    from unsloth_ft import record

    good = {"torch": "2.13.0+cpu", "transformers": "5.17.0", "trl": "1.14.2", "peft": "0.21.2", "datasets": "4.8.5",
            "bitsandbytes": "0.50.2", "gguf": "0.19.0", "jinja2": "3.1.6", "safetensors": "0.8.0", "unsloth": "2026.10.9",
            "xllamacpp": None, "xformers": None} | other  # fmt: skip
    monkeypatch.setattr(record, "version", good.__getitem__)


def test_doctor_is_content_with_the_tested_set(monkeypatch: pytest.MonkeyPatch):
    versions(monkeypatch)
    answer = call("doctor")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith("this machine can train\n")


def test_doctor_names_every_clash_and_one_command_that_mends_them(monkeypatch: pytest.MonkeyPatch):
    versions(monkeypatch, trl="1.15.0", datasets="5.0.1", peft="0.20.0", jinja2=None)
    answer = call("doctor")
    assert answer.code == 3
    assert answer.err == (
        "error: this machine can't train yet:\n"
        "  trl is 1.15.0; expected 1.5 or newer, below 1.15\n"
        "  peft is 0.20.0; expected 0.21 or newer\n"
        "  datasets is 5.0.1; expected 4.6 or newer, below 5\n"
        "  jinja2 is not installed; expected 3.1.6 or newer\n"
        "This mends it: pip install 'trl>=1.5,<1.15' 'peft>=0.21' 'datasets>=4.6,<5' 'jinja2>=3.1.6'\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's tunables")
def test_what_trains_is_begun_again_with_large_pages_and_the_same_words():
    code = "import os, sys, unsloth_ft.__main__ as m; m.main = lambda: print(os.environ['GLIBC_TUNABLES'], os.getpid(), sys.argv[1:]); m.start()"
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    with subprocess.Popen([sys.executable, "-c", code, "run", "a b"], stdout=subprocess.PIPE, text=True, env=environment) as process:
        told, _ = process.communicate(timeout=60)
    assert told == f"glibc.malloc.hugetlb=1 {process.pid} ['run', 'a b']\n"
