"""The user's own Ollama: a model made from a Modelfile, and one question to it; or, where there is none, the commands to type.

Sources: ollama's docs/api.md, docs/modelfile.mdx, envconfig/config.go (OLLAMA_HOST) and types/model/name.go.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsloth_ft.errors import MachineError, UserError, short
from unsloth_ft.export.modelfile import parse_modelfile, read_modelfile

VARIABLE = "OLLAMA_HOST"
DEFAULT_PORTS = {"": 11434, "http": 80, "https": 443}  # by the scheme that OLLAMA_HOST names
LAST_LINES = 8  # of `ollama create`, shown when it fails
SHOWN = 200  # characters of an answer in a message
LARGEST_ANSWER_BYTES = 16 * 2**20
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}(:[A-Za-z0-9_][A-Za-z0-9._-]{0,79})?")
# What `ollama create` draws its progress with: colours, cursor moves, the cursor switched off and on.
DRAWING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Address:
    """Where the server listens. `path` stands before every route, for a server behind another."""

    scheme: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


@dataclass(frozen=True)
class Answer:
    """`stopped`: the model ended its answer by itself (`done_reason` is "stop"), and was not cut at the most tokens allowed."""

    text: str
    stopped: bool


def address() -> Address:
    """This machine's server, or the one that OLLAMA_HOST names, read as Ollama's own client reads it.

    Raises: UserError for a scheme that is not HTTP.
    """
    value = os.environ.get(VARIABLE, "").strip().strip("\"'")
    scheme, found, rest = value.partition("://")
    if not found:
        scheme, rest = "", value
    if scheme not in DEFAULT_PORTS:
        raise UserError(f"{VARIABLE} is {value!r}; expected HOST, HOST:PORT or http(s)://HOST:PORT.")
    place, _, path = rest.partition("/")
    host, port = host_and_port(place, DEFAULT_PORTS[scheme])
    return Address(scheme or "http", reachable(host or "127.0.0.1"), port, f"/{path}".rstrip("/"))


def host_and_port(place: str, default_port: int) -> tuple[str, int]:
    """`127.0.0.1:11434`, `[::1]:11434`, `::1`, `host` and `:11434`; a port that is none is the default, as Ollama takes it."""
    found = re.fullmatch(r"(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:]*)):(?P<port>[^:]*)", place)
    if found is None:
        return place.strip("[]"), default_port
    port = found["port"]
    in_range = port.isascii() and port.isdigit() and int(port) <= 65535
    return found["v6"] or found["host"] or "", int(port) if in_range else default_port


def reachable(host: str) -> str:
    """A server told to listen everywhere (0.0.0.0 or ::) is reached by this machine's loopback."""
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        return host
    return ("::1" if ":" in host else "127.0.0.1") if everywhere else host


def unavailable(*, offline: bool = False, timeout_seconds: float = 5.0) -> str:
    """Why no model can be made in Ollama here, in words to print; "" when its program is installed and its server answers.

    With `offline` nothing is tried: the server is spoken to through a socket, and offline opens none, on this machine or another.
    """
    if offline:
        return "offline no socket is opened, and Ollama is spoken to through one"
    if shutil.which("ollama") is None:
        return "`ollama` is not on PATH"
    try:
        call("GET", "/api/version", timeout_seconds=timeout_seconds)
    except MachineError as error:
        return str(error)
    return ""


def commands(modelfile: Path, model: str) -> tuple[str, str]:
    """What to type in a shell: make the model from the Modelfile, and talk to it."""
    check_name(model)
    return f"ollama create {shlex.quote(model)} -f {shlex.quote(str(modelfile))}", f"ollama run {shlex.quote(model)}"


def create(modelfile: Path, model: str, *, timeout_seconds: float | None = None) -> None:
    """Make the model `model` in Ollama, which copies the GGUF files that the Modelfile names into its own store.

    Raises: UserError for a name that Ollama does not take, or a Modelfile that is none; MachineError, with its last lines, when
    `ollama create` fails, hangs or is not installed.
    """
    check_name(model)
    if timeout_seconds is None:
        timeout_seconds = patience_seconds(modelfile)
    command = ["ollama", "create", model, "-f", str(modelfile.absolute())]
    with tempfile.TemporaryFile() as log:  # not a pipe: what the program starts and leaves behind can't keep us waiting
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=timeout_seconds, check=False)
        except FileNotFoundError as error:
            raise MachineError(f"{shlex.join(command)}: `ollama` is not on PATH. Install Ollama, or type the command elsewhere.") from error
        except subprocess.TimeoutExpired as error:
            raise MachineError(
                f"{shlex.join(command)}: not done within {timeout_seconds:g} seconds, and ended. {last_lines(log)}"
            ) from error
        if done.returncode:
            raise MachineError(f"{shlex.join(command)}: ended with {done.returncode}. {last_lines(log)}")


def patience_seconds(modelfile: Path) -> float:
    """Time for `ollama create`: 5 minutes, and what hashing and copying the files takes at 20 MB a second, a slow disk's rate."""
    if not modelfile.is_file():
        raise UserError(f"{modelfile}: not found; expected a Modelfile.")
    found = parse_modelfile(read_modelfile(modelfile))
    files = [modelfile.parent / found[name] for name in ("from", "adapter") if name in found]
    return 300.0 + sum(file.stat().st_size for file in files if file.is_file()) / 20e6


def ask(model: str, question: str, *, max_new_tokens: int = 256, timeout_seconds: float = 300.0) -> Answer:
    """The greedy answer of Ollama's model to one user message, with the Modelfile's own TEMPLATE, SYSTEM and stops.

    Raises: MachineError when the server is not there, refuses, answers nonsense, or says nothing for `timeout_seconds`.
    """
    request = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "stream": False,
        "options": {"temperature": 0, "num_predict": max_new_tokens},
    }
    reply = call("POST", "/api/chat", request, timeout_seconds=timeout_seconds)
    message = reply.get("message")
    if not (isinstance(message, dict) and isinstance(message.get("content"), str) and reply.get("done") is True):
        found = short(json.dumps(reply), SHOWN)
        raise MachineError(f"{address()}: Ollama's answer of {model} is {found}; expected a message that is done.")
    return Answer(message["content"], reply.get("done_reason") == "stop")


def call(method: str, route: str, value: dict[str, Any] | None = None, *, timeout_seconds: float) -> dict[str, Any]:
    """One request to the server. No proxy is asked, whatever the environment says: the server is the user's own.

    Raises: MachineError when it does not answer, refuses, or answers with anything but a JSON object.
    """
    server = address()
    make = http.client.HTTPSConnection if server.scheme == "https" else http.client.HTTPConnection
    connection = make(server.host, server.port, timeout=timeout_seconds)
    try:
        body = None if value is None else json.dumps(value)
        connection.request(method, server.path + route, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        status, text = response.status, response.read(LARGEST_ANSWER_BYTES)
    except TimeoutError as error:
        raise MachineError(f"{server}: Ollama said nothing for {timeout_seconds:g} seconds. Is it loading, or out of memory?") from error
    except (OSError, http.client.HTTPException) as error:
        raise MachineError(f"{server}: no Ollama server answers ({error}). Start it (ollama serve), or name it with {VARIABLE}.") from error
    finally:
        connection.close()
    return answered(server, status, text)


def answered(server: Address, status: int, text: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        found = short(text.decode("utf-8", "replace"), SHOWN)
        raise MachineError(f"{server}: answers {found!r} (status {status}); expected JSON of Ollama. Is it another program?")
    if status != 200 or "error" in reply:
        raise MachineError(f"{server}: Ollama refused (status {status}): {short(str(reply.get('error', reply)), SHOWN)}")
    return reply


def check_name(model: str) -> None:
    """Raises: UserError for what Ollama takes for no model's name, or for a flag."""
    if not NAME.fullmatch(model):
        raise UserError(
            f"model name {model!r}: expected letters, digits, dot, dash and underscore, 80 at most, and none of dot and dash first."
        )


def last_lines(log: Any) -> str:
    log.seek(0)
    text = log.read().decode("utf-8", "replace").replace("\r", "\n")
    lines = [line for line in (DRAWING.sub("", line).strip() for line in text.split("\n")) if line][-LAST_LINES:]
    return "Its last lines:\n" + "\n".join(lines) if lines else "It printed nothing."
