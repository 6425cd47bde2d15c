"""Calls of the command line, in this process or in one of its own, and what a call left in its folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[2]
TOWNS = ("Oslo", "Lima", "Quito", "Cairo", "Accra", "Hanoi", "Minsk", "Sofia", "Tunis", "Dhaka", "Bern", "Riga")
# A run of three steps on a tiny model, with answers of four tokens.
QUICK = (
    "--backend", "peft", "--max-steps", "3", "--set", "evaluate.answers=2", "--set", "evaluate.max_new_tokens=4",
    "--set", "evaluate.bootstrap_samples=200", "--set", "dtype=float32",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """How a call ended, and all that it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Call:
    """A refused call: its arguments, the files it finds, the exit code, and all that stderr says.

    "RUN" begins a run with the tiny model on faq.jsonl, "ON" one with another model; what a case names itself is not added.
    A text that begins with "re:" is a pattern for the whole of stderr.
    """

    id: str
    arguments: str
    says: str
    code: int = 2
    files: dict[str, str] = field(default_factory=dict)


def call(*arguments: str) -> Answer:
    """main() in this process, in the current folder; the environment is put back afterwards."""
    from unsloth_ft.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ))
        stack.enter_context(mock.patch.object(sys, "argv", ["unsloth-ft", *arguments]))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return Answer(code, out.getvalue(), err.getvalue())


def start(*arguments: str, cwd: Path, **environment: str) -> Answer:
    """The program as a user starts it, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "unsloth_ft", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below the folder: "folder", "-> target", or its sha256."""
    return {str(path.relative_to(folder)): _kind(path) for path in sorted(folder.rglob("*"))}


def _kind(path: Path) -> str:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    return "folder" if path.is_dir() else sha256(path)


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(count: int, *, first: int = 0) -> str:
    """A FAQ as JSON Lines; other numbers give other questions."""
    return "".join(
        json.dumps({"question": f"When does the office in {TOWNS[number % 12]} open on day {number}?", "answer": f"At {number % 9 + 1}."})
        + "\n"
        for number in range(first, first + count)
    )


def row(question: str, answer: str) -> str:
    """A row as JSON Lines."""
    return json.dumps({"question": question, "answer": answer}) + "\n"
