"""A GGUF file run by llama.cpp itself (the wheel `xllamacpp`): what it makes of a text, and what it answers.

This is the proof of an export: not our reading of the file, but the program's that users run. Everything here is greedy and exact
where it can be: no sampling, no penalties, no BOS that the prompt already has, and a float32 attention cache.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from unsloth_ft.errors import MachineError, UserError

INSTALL = "pip install xllamacpp"
WORKER = Path(__file__).with_name("llamacpp_worker.py")
WARNINGS, EVERYTHING = 2, 4  # llama.cpp's log levels
LAST_LINES = 8  # of llama.cpp's log, shown when it fails


@dataclass(frozen=True)
class Completion:
    """A greedy answer. `ids` are llama.cpp's own (not the text tokenized again), without the end token that stopped it."""

    ids: tuple[int, ...]
    text: str
    stopped: bool  # at an end token, not at max_new_tokens


class LlamaCpp:
    """A loaded GGUF file, with the adapter in the GGUF file `lora` applied where one is given. A context manager: leaving it ends
    llama.cpp's process, which is one of its own.

    `timeout_seconds` bounds the loading and each request. `verbose` shows llama.cpp's log on stderr.
    """

    def __init__(
        self,
        path: Path,
        *,
        lora: Path | None = None,
        context_length: int = 2048,
        threads: int | None = None,
        verbose: bool = False,
        timeout_seconds: float = 600.0,
    ) -> None:
        self.path = path
        self.lora = lora
        self.context_length = context_length
        self.threads = threads
        self.verbose = verbose
        self.timeout_seconds = timeout_seconds

    def __enter__(self) -> LlamaCpp:
        """Raises: MachineError when xllamacpp is not installed; UserError when llama.cpp does not load the files."""
        if importlib.util.find_spec("xllamacpp") is None:
            raise MachineError(f"running {self.path} needs llama.cpp, and xllamacpp is not installed. Install it: {INSTALL}")
        for file in filter(None, (self.path, self.lora)):
            if not file.is_file():
                raise UserError(f"{file}: not found; expected a GGUF file.")
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self.verbose else self.log,
            encoding="utf-8",
        )
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self.read_answers, daemon=True).start()
        if not self.exchange(self.settings()):
            reason, loaded = self.last_lines(), f"it with the adapter {self.lora}" if self.lora else "it"
            self.close()
            raise UserError(f"{self.path}: llama.cpp does not load {loaded}. {reason}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def settings(self) -> dict[str, Any]:
        """What the worker is told first."""
        return {
            "model": str(self.path),
            "lora": str(self.lora) if self.lora else None,
            "context_length": self.context_length,
            "threads": self.threads,
            "verbosity": EVERYTHING if self.verbose else WARNINGS,
        }

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def tokenize(self, text: str) -> list[int]:
        """The ids of a rendered text: its special tokens are recognized, and none is added."""
        return self.post("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]

    def generate(self, prompt: str | list[int], max_new_tokens: int) -> Completion:
        """The greedy continuation of a rendered prompt, or of its ids. Nothing is put before the prompt.

        Raises: UserError when the prompt does not fit into the context.
        """
        ids = self.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
        answer = self.complete(ids, max_new_tokens=max_new_tokens)
        stopped = answer["stop_type"] == "eos"
        return Completion(tuple(answer["tokens"][:-1] if stopped else answer["tokens"]), answer["content"], stopped)

    def next_logprobs(self, ids: list[int], *, count: int) -> dict[int, float]:
        """The `count` likeliest tokens after `ids`, likeliest first, with their natural-log probabilities over the whole vocabulary.

        What `ids` and the request before have in common is not computed again: asked along an answer, each step costs one token.
        """
        # llama.cpp reports no probabilities for a token that ends inside a character, and those that it reports are taken before the
        # bias: so the token that it goes on with is forced to be a letter.
        letter = self.tokenize("a")[-1]
        answer = self.complete(list(ids), max_new_tokens=1, n_probs=count, logit_bias=[[letter, 1e9]], cache_prompt=True)
        return {entry["id"]: entry["logprob"] for entry in answer["completion_probabilities"][0]["top_logprobs"]}

    def chat(
        self, messages: list[dict[str, str]], *, max_new_tokens: int = 256, template_kwargs: Mapping[str, Any] | None = None
    ) -> str:
        """The greedy answer to a conversation, rendered with the template inside the file.

        `template_kwargs` are the template's variables, as in training. Without them llama.cpp sets `date_string` to today's date, where
        Llama 3's templates have a fixed one of their own (common/chat.cpp, common_chat_extra_context).
        """
        request = {
            "messages": messages,
            "max_tokens": max_new_tokens,
            "temperature": 0.0,
            "repeat_penalty": 1.0,
            "cache_prompt": False,
            "chat_template_kwargs": dict(template_kwargs or {}),
        }
        return self.ask({"chat": request})["choices"][0]["message"]["content"]

    def complete(self, ids: list[int], *, max_new_tokens: int, **more: Any) -> dict[str, Any]:
        request = {
            "prompt": ids,
            "n_predict": max_new_tokens,
            "temperature": 0.0,  # greedy
            "repeat_penalty": 1.0,  # the file may name another, as Qwen2.5's does: general.sampling.penalty_repeat
            "return_tokens": True,
            "cache_prompt": False,  # a prompt computed in other pieces rounds differently
            **more,
        }
        return self.post("/completion", request)

    def post(self, route: str, value: dict[str, Any]) -> dict[str, Any]:
        return self.ask({"route": route, "value": value})

    def ask(self, request: dict[str, Any]) -> Any:
        """The answer of llama.cpp's process to one request.

        Raises: UserError when llama.cpp refuses the request; MachineError when its process ends or does not answer in time.
        """
        line = self.exchange(request)
        if not line:
            raise MachineError(f"{self.path}: llama.cpp ended with {self.process.wait()}. {self.last_lines()}")
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(f"{self.path}: llama.cpp refused: {answer['error'].get('message', answer['error'])}")
        return answer

    def exchange(self, request: dict[str, Any]) -> str:
        """The line that answers a request, or '' when the process has ended."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return ""
        try:
            return self.answers.get(timeout=self.timeout_seconds)
        except queue.Empty as error:
            self.process.kill()
            seconds = f"{self.timeout_seconds:g} seconds"
            raise MachineError(f"{self.path}: llama.cpp did not answer within {seconds}. {self.last_lines()}") from error

    def read_answers(self) -> None:
        """Every line that the process writes, and '' at its end. Runs in a thread of its own: a pipe has no read with a time limit."""
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def last_lines(self) -> str:
        if self.verbose:
            return "Its log is above."
        self.log.seek(0)
        lines = self.log.read().decode("utf-8", "replace").strip().splitlines()[-LAST_LINES:]
        return "Its last lines:\n" + "\n".join(lines) if lines else "It printed nothing."
