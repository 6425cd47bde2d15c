"""A GGUF file run by llama.cpp itself (the wheel `xllamacpp`): what it makes of a text, and what it answers.

This is the proof of an export: not our reading of the file, but the program's that users run. Everything here is greedy and exact
where it can be: no sampling, no penalties, no BOS that the prompt already has, and a float32 attention cache.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from unsloth_ft.errors import MachineError, UserError

INSTALL = "pip install xllamacpp"
QUIET, VERBOSE = -1, 4  # llama.cpp's log levels; below 0 not even errors are printed


@dataclass(frozen=True)
class Completion:
    """A greedy answer. `ids` are llama.cpp's own (not the text tokenized again), without the end token that stopped it."""

    ids: tuple[int, ...]
    text: str
    stopped: bool  # at an end token, not at max_new_tokens


class LlamaCpp:
    """A loaded GGUF file. A context manager: leaving it frees the model.

    llama.cpp's server runs inside this process and listens on a Unix socket in a private folder; no network is used.
    """

    def __init__(self, path: Path, *, context_length: int = 2048, threads: int | None = None, verbose: bool = False) -> None:
        self.path = path
        self.context_length = context_length
        self.threads = threads
        self.verbose = verbose

    def __enter__(self) -> LlamaCpp:
        """Raises: MachineError when xllamacpp is not installed; UserError when llama.cpp does not load the file."""
        try:
            import xllamacpp
        except ModuleNotFoundError as error:
            raise MachineError(f"running {self.path} needs llama.cpp, and xllamacpp is not installed. Install it: {INSTALL}") from error
        if not self.path.is_file():
            raise UserError(f"{self.path}: not found; expected a GGUF file.")
        self.folder = Path(tempfile.mkdtemp(prefix="llamacpp-"))  # short: a Unix socket's path has at most 107 bytes
        self.socket_path = self.folder / "server.sock"
        try:
            self.server = xllamacpp.Server(self.parameters(xllamacpp))
        except RuntimeError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            hint = "LlamaCpp(..., verbose=True) shows its reasons"
            raise UserError(f"{self.path}: llama.cpp does not load it ({error}); {hint}.") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        del self.server
        shutil.rmtree(self.folder, ignore_errors=True)

    def parameters(self, xllamacpp: Any) -> Any:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self.path)
        parameters.n_ctx = self.context_length
        parameters.n_parallel = 1
        parameters.n_gpu_layers = 0
        parameters.fit_params = False  # it would change the context length to fit the memory
        parameters.warmup = False
        parameters.verbosity = VERBOSE if self.verbose else QUIET
        parameters.hostnames = [str(self.socket_path)]
        parameters.ui = False
        parameters.cache_ram_mib = 0
        # the default cache rounds keys and values to float16: a difference that is not the file's
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if self.threads is not None:
            parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = self.threads
        return parameters

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
        """The `count` likeliest tokens after `ids`, likeliest first, with their natural-log probabilities over the whole vocabulary."""
        # llama.cpp reports no probabilities for a token that ends inside a character, and those that it reports are taken before the
        # bias: so the token that it goes on with is forced to be a letter.
        letter = self.tokenize("a")[-1]
        answer = self.complete(list(ids), max_new_tokens=1, n_probs=count, logit_bias=[[letter, 1e9]])
        return {entry["id"]: entry["logprob"] for entry in answer["completion_probabilities"][0]["top_logprobs"]}

    def chat(self, messages: list[dict[str, str]], *, max_new_tokens: int = 256) -> str:
        """The greedy answer to a conversation, rendered with the template inside the file."""
        request = {"messages": messages, "max_tokens": max_new_tokens, "temperature": 0.0, "cache_prompt": False}
        answer = check(self.server.handle_chat_completions(request), self.path)
        return answer["choices"][0]["message"]["content"]

    def complete(self, ids: list[int], *, max_new_tokens: int, **more: Any) -> dict[str, Any]:
        request = {
            "prompt": ids,
            "n_predict": max_new_tokens,
            "temperature": 0.0,  # greedy
            "return_tokens": True,
            "cache_prompt": False,  # a prompt computed in other pieces rounds differently
            **more,
        }
        return check(self.post("/completion", request), self.path)

    def post(self, route: str, value: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection("llama.cpp")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self.socket_path))
            connection.request("POST", route, json.dumps(value), {"Content-Type": "application/json"})
            return check(json.loads(connection.getresponse().read()), self.path)
        finally:
            connection.close()


def check(answer: dict[str, Any], path: Path) -> dict[str, Any]:
    if "error" in answer:
        raise UserError(f"{path}: llama.cpp refused: {answer['error'].get('message', answer['error'])}")
    return answer
