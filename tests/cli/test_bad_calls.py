"""What a mistake costs: one message, the right exit code, and not a byte on disk."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.cli import bad_bench_calls, bad_calls, bad_data_calls
from tests.cli.calling import Call, call, snapshot, start

CALLS = [*bad_calls.CALLS, *bad_data_calls.CALLS, *bad_bench_calls.CALLS]


def arguments(text: str, tiny: str) -> list[str]:
    """The words of a case, with what it leaves out."""
    first, *words = text.split()
    if first not in ("RUN", "ON"):
        return [first, *words]
    added = ["run", "smollm2-135m"]
    for flag, value in (("--data", "faq.jsonl"), ("--backend", "peft"), ("--model", tiny if first == "RUN" else "")):
        if flag not in words:
            added += [flag, value]
    return [*added, *words]


def lay(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("case", CALLS, ids=lambda case: case.id)
def test_a_refused_call_says_why_and_writes_nothing(case: Call, work: Path, tiny: str):
    lay(case.files, work)
    before = snapshot(work)
    answer = call(*arguments(case.arguments, tiny))
    assert answer.err.startswith("error: ") and answer.err.endswith("\n")
    said = answer.err.removeprefix("error: ").removesuffix("\n")
    if case.says.startswith("re:"):
        assert re.fullmatch(case.says.removeprefix("re:"), said), said
    else:
        assert said == case.says
    assert (answer.code, answer.out) == (case.code, "")
    assert "Traceback" not in answer.err
    assert snapshot(work) == before


SOME = (
    "an unknown command", "three mistyped settings at once", "a recipe file with a syntax error", "two broken lines",
    "the data's folder as run directory",
    "a model that is cached nowhere, offline",
)  # fmt: skip


@pytest.mark.parametrize("case", [case for case in CALLS if case.id in SOME], ids=lambda case: case.id)
def test_a_process_of_its_own_says_the_same(case: Call, work: Path, tiny: str):
    lay(case.files, work)
    before = snapshot(work)
    answer = start(*arguments(case.arguments, tiny), cwd=work)
    assert (answer.code, answer.out, answer.err) == (case.code, "", f"error: {case.says}\n")
    assert snapshot(work) == before


def test_the_calls_are_as_many_as_were_promised():
    assert len(CALLS) >= 25 and len({case.id for case in CALLS}) == len(CALLS)
    assert set(SOME) <= {case.id for case in CALLS}


def test_offline_opens_no_socket(work: Path, monkeypatch: pytest.MonkeyPatch):
    def opened(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "getaddrinfo", opened)
    monkeypatch.setattr(socket.socket, "connect", opened)
    answer = call(*arguments("ON --model me/unknown --offline", ""))
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("error: me/unknown: not in the hub's cache, and offline.")


def test_data_check_puts_its_findings_on_stdout_even_when_they_are_errors(work: Path):
    (work / "d.jsonl").write_text("{\n", encoding="utf-8")
    answer = call("data", "check", "d.jsonl", "--json")
    assert (answer.code, answer.err) == (2, "")
    assert '"code": "invalid-json"' in answer.out


def test_a_bug_of_ours_has_a_traceback_and_exit_code_1(work: Path, monkeypatch: pytest.MonkeyPatch):
    from unsloth_ft import catalog

    def broken(name: str) -> None:
        raise ZeroDivisionError(name)

    monkeypatch.setattr(catalog, "find", broken)
    answer = call("recipes", "show", "qwen3-8b")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Traceback (most recent call last):")
    assert answer.err.endswith("bug: ZeroDivisionError. It is ours; report it with the lines above and `unsloth-ft doctor`.\n")


def test_an_interrupted_command_ends_with_130(work: Path, monkeypatch: pytest.MonkeyPatch):
    from unsloth_ft import catalog

    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "find", interrupted)
    answer = call("recipes", "show", "qwen3-8b")
    assert (answer.code, answer.out) == (130, "")
    assert "Traceback" not in answer.err
