"""A model made in Ollama and asked once, and everything that may go wrong on the way.

Ollama itself is in no package index that the tests can use: a script named `ollama` and a server that speaks its documented API stand in.
"""

from __future__ import annotations

import http.server
import json
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.export import runs
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export import ollama
from unsloth_ft.export.ollama import Address, Answer
from unsloth_ft.record import RunDirectory

SCRIPT = """#!{python}
import json, os, pathlib, sys, time
record = pathlib.Path({record!r})
record.write_text(json.dumps(sys.argv[1:]))
{body}
"""
SUCCESS = r"""
sys.stderr.write("\x1b[?25lgathering model components \x1b[K\rwriting manifest \x1b[K\nsuccess\x1b[?25h\n")
"""
FAILURE = r"""
for number in range(20):
    sys.stderr.write("\x1b[?25lstep %d \x1b[K\r" % number)
sys.stderr.write("\nError: invalid model: \x1b[1munsupported architecture\x1b[0m\n")
sys.exit(1)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program(body)` puts a script named `ollama` alone on PATH; its arguments are found in the file that is returned."""

    def put(body: str) -> Path:
        record, folder = tmp_path / "arguments.json", tmp_path / "bin"
        folder.mkdir()
        script = folder / "ollama"
        script.write_text(SCRIPT.format(python=sys.executable, record=str(record), body=body), encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))
        return record

    return put


@pytest.fixture
def server(monkeypatch):
    """`server({route: (status, bytes)})` answers at an address that OLLAMA_HOST names; the requests are in the list that is returned."""
    running = []

    def start(answers: dict[str, tuple[int, bytes]], *, wait_seconds: float = 0.0) -> list:
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                requests.append((self.command, self.path, json.loads(self.rfile.read(length) or b"null")))
                released.wait(wait_seconds)
                status, body = answers.get(self.path, (404, b'{"error": "not found"}'))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *values):
                pass

        released = threading.Event()
        listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        running.append((listening, thread, released))
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{listening.server_port}")
        return requests

    yield start
    for listening, thread, released in running:
        released.set()
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.fixture
def modelfile(tmp_path):
    path = tmp_path / "my run's exports" / "Modelfile"
    path.parent.mkdir()
    path.write_text('FROM ./m.gguf\nADAPTER ./lora.gguf\nTEMPLATE """{{ .Messages }}"""\n', encoding="utf-8")
    return path


def reply(text: str, reason: str | None = "stop", *, done: bool = True) -> bytes:
    """As docs/api.md shows /api/chat's answer without streaming."""
    value = {"model": "m:latest", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": text}, "done": done}
    return json.dumps(value | ({"done_reason": reason} if reason else {}) | {"eval_count": 7}).encode()


def test_a_model_is_made_from_the_modelfile_and_answers(program, server, modelfile):
    record = program(SUCCESS)
    requests = server({"/api/version": (200, b'{"version": "0.20.1"}'), "/api/chat": (200, reply("Two years, in Zürich 🙂."))})
    assert ollama.unavailable() == ""
    ollama.create(modelfile, "my-run")
    assert json.loads(record.read_text()) == ["create", "my-run", "-f", str(modelfile)]
    assert ollama.ask("my-run", 'How "long"?\n', max_new_tokens=40) == Answer("Two years, in Zürich 🙂.", stopped=True)
    assert requests == [
        ("GET", "/api/version", None),
        (
            "POST",
            "/api/chat",
            {
                "model": "my-run",
                "messages": [{"role": "user", "content": 'How "long"?\n'}],
                "stream": False,
                "options": {"temperature": 0, "num_predict": 40},
            },
        ),
    ]


@pytest.mark.parametrize("reason", ["length", None, "load"])
def test_an_answer_that_was_cut_has_not_stopped(reason, server):
    server({"/api/chat": (200, reply("on and on and", reason))})
    assert ollama.ask("m", "q") == Answer("on and on and", stopped=False)


def test_a_create_that_fails_shows_its_last_lines_without_the_drawing(program, modelfile):
    program(FAILURE)
    with pytest.raises(MachineError) as raised:
        ollama.create(modelfile, "m")
    assert str(raised.value) == (
        f"ollama create m -f {shlex.quote(str(modelfile))}: ended with 1. Its last lines:\n"
        "step 13\nstep 14\nstep 15\nstep 16\nstep 17\nstep 18\nstep 19\nError: invalid model: unsupported architecture"
    )


def test_a_create_that_hangs_is_ended(program, tmp_path):
    program("sys.stderr.write('copying file 7%\\n'); sys.stderr.flush(); time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(MachineError, match=r"(?s)not done within 1 seconds, and ended\. Its last lines:\ncopying file 7%$"):
        ollama.create(tmp_path / "Modelfile", "m", timeout_seconds=1.0)
    assert time.monotonic() - began < 30


def test_a_create_that_leaves_a_child_behind_does_not_keep_us_waiting(program, tmp_path):
    program(f"import subprocess; subprocess.Popen([{sys.executable!r}, '-c', 'import time; time.sleep(5)']); sys.exit(3)")
    with pytest.raises(MachineError, match="ended with 3. It printed nothing."):
        ollama.create(tmp_path / "Modelfile", "m", timeout_seconds=3.0)


def test_without_the_program_or_its_server_the_reason_is_said(program, modelfile, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ollama.unavailable() == "`ollama` is not on PATH"
    with pytest.raises(MachineError, match="`ollama` is not on PATH"):
        ollama.create(modelfile, "m")
    program(SUCCESS)
    with socket.socket() as closed:  # bound, and not listening
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
        assert ollama.unavailable() == (
            f"http://127.0.0.1:{port}: no Ollama server answers ([Errno 111] Connection refused). "
            "Start it (ollama serve), or name it with OLLAMA_HOST."
        )


def test_offline_nothing_is_opened_or_looked_for(program, server, monkeypatch):
    record = program(SUCCESS)
    requests = server({"/api/version": (200, b'{"version": "1"}')})

    def no_socket(*values, **more):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    assert ollama.unavailable(offline=True) == "offline no socket is opened, and Ollama is spoken to through one"
    assert (requests, record.exists()) == ([], False)


def test_a_server_that_says_nothing_is_left(server):
    server({"/api/chat": (200, reply("late"))}, wait_seconds=30)
    with pytest.raises(MachineError, match=r"http://127.0.0.1:\d+: Ollama said nothing for 0.3 seconds"):
        ollama.ask("m", "q", timeout_seconds=0.3)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>welcome</html>", "answers '<html>welcome</html>' (status 200); expected JSON of Ollama. Is it another program?"),
        (200, b"[1, 2]", "answers '[1, 2]' (status 200); expected JSON of Ollama. Is it another program?"),
        (200, b"", "answers '' (status 200); expected JSON of Ollama. Is it another program?"),
        (200, b"\xff" * 500, "answers '" + "\ufffd" * 199 + "…' (status 200); expected JSON of Ollama. Is it another program?"),
        (200, b"[" * 100_000, "answers '" + "[" * 199 + "…' (status 200); expected JSON of Ollama. Is it another program?"),
        (404, b'{"error": "model \'m\' not found"}', "Ollama refused (status 404): model 'm' not found"),
        (500, b'{"error": "unable to load model"}', "Ollama refused (status 500): unable to load model"),
        (200, b'{"message": 1, "done": true}', 'Ollama\'s answer of m is {"message": 1, "done": true}; expected a message that is done.'),
        (200, b'{"done": true}', 'Ollama\'s answer of m is {"done": true}; expected a message that is done.'),
    ],
)
def test_an_answer_that_is_none_is_shown(status, body, message, server):
    server({"/api/chat": (status, body)})
    with pytest.raises(MachineError) as raised:
        ollama.ask("m", "q")
    assert str(raised.value) == f"{ollama.address()}: {message}"


def test_half_an_answer_is_not_taken_for_one(server):
    server({"/api/chat": (200, reply("half", None, done=False))})
    with pytest.raises(MachineError, match="expected a message that is done"):
        ollama.ask("m", "q")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Address("http", "127.0.0.1", 11434)),
        ("", Address("http", "127.0.0.1", 11434)),
        (" 127.0.0.1:1234 ", Address("http", "127.0.0.1", 1234)),
        ("0.0.0.0", Address("http", "127.0.0.1", 11434)),
        ("0.0.0.0:80", Address("http", "127.0.0.1", 80)),
        ("[::]:8080", Address("http", "::1", 8080)),
        ("::1", Address("http", "::1", 11434)),
        (":56789", Address("http", "127.0.0.1", 56789)),
        ("box.lan", Address("http", "box.lan", 11434)),
        ("box.lan:99999", Address("http", "box.lan", 11434)),
        ("http://box.lan", Address("http", "box.lan", 80)),
        ("https://box.lan", Address("https", "box.lan", 443)),
        ("https://box.lan:8443/ollama/", Address("https", "box.lan", 8443, "/ollama")),
        ("'127.0.0.1:1234'", Address("http", "127.0.0.1", 1234)),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(value, expected, monkeypatch):
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    if value is not None:
        monkeypatch.setenv("OLLAMA_HOST", value)
    assert ollama.address() == expected


def test_a_scheme_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "unix:///run/ollama.sock")
    with pytest.raises(UserError, match=r"OLLAMA_HOST is 'unix:///run/ollama.sock'; expected HOST, HOST:PORT or http\(s\)://HOST:PORT"):
        ollama.address()


def test_no_proxy_is_asked(server, monkeypatch):
    requests = server({"/api/chat": (200, reply("here"))})
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ollama.ask("m", "q").text == "here"
    assert len(requests) == 1


def test_a_large_model_gets_more_time(modelfile):
    assert ollama.patience_seconds(modelfile) == 300.0
    for name, size in (("m.gguf", 16_000_000_000), ("lora.gguf", 200_000_000)):
        with (modelfile.parent / name).open("wb") as file:
            file.truncate(size)  # no byte of it is written
    assert ollama.patience_seconds(modelfile) == 300.0 + 810.0
    with pytest.raises(UserError, match="none: not found; expected a Modelfile"):
        ollama.create(modelfile.with_name("none"), "m")


def test_the_commands_can_be_typed_as_they_stand(program, tmp_path):
    record = program(SUCCESS)
    folder = tmp_path / "it's my $HOME"
    making, running = ollama.commands(folder / "Modelfile", "qwen3-8b.faq:latest")
    assert running == "ollama run qwen3-8b.faq:latest"
    subprocess.run(["/bin/sh", "-c", making], check=True, capture_output=True)
    assert json.loads(record.read_text()) == ["create", "qwen3-8b.faq:latest", "-f", str(folder / "Modelfile")]
    assert shlex.split(making)[1:] == ["create", "qwen3-8b.faq:latest", "-f", str(folder / "Modelfile")]


@pytest.mark.parametrize("name", ["", "-f", "../x", "a b", "a/b/c", ".hidden", "a" * 81, "a:b:c", "name;rm", "näme"])
def test_a_name_that_ollama_does_not_take_is_refused_before_anything_runs(name, program, tmp_path):
    record = program(SUCCESS)
    for act in (lambda: ollama.create(tmp_path / "Modelfile", name), lambda: ollama.commands(tmp_path / "Modelfile", name)):
        with pytest.raises(UserError, match="expected letters, digits, dot, dash and underscore"):
            act()
    assert not record.exists()


# -- as part of an export


@pytest.fixture(scope="module")
def exported(family_dir, tmp_path_factory):
    """(run directory with a GGUF, its base). Copy it to change it."""
    return runs.exported(family_dir("smollm2"), tmp_path_factory.mktemp("ollama"), "gguf:f16")


def made_in_ollama(exported, folder, answer, *, ends, server, program):
    """The export's checks and notes, where the trained model ended its answer to the first question or did not."""
    directory = RunDirectory(shutil.copytree(exported[0].path, folder))
    file = directory.evaluation / "prompts.jsonl"
    first, *others = file.read_text(encoding="utf-8").splitlines()
    line = json.loads(first)
    file.write_text("\n".join([json.dumps(line | {"answer_ids": line["answer_ids"][: 2 if ends else None]}), *others]), encoding="utf-8")
    record = program(SUCCESS)
    requests = server({"/api/version": (200, b'{"version": "0.20.1"}'), "/api/chat": (200, answer)})
    made = runs.make(directory, exported[1], "gguf:f16", "ollama", offline=False)["ollama"]
    assert json.loads(record.read_text()) == ["create", "my-run", "-f", str(directory.exports / "Modelfile")]
    assert [route for _, route, _ in requests] == ["/api/version", "/api/chat"]
    return made


def test_an_export_makes_the_model_and_asks_it_one_question(exported, tmp_path, program, server):
    made = made_in_ollama(exported, tmp_path / "my-run", reply("A low-rank update."), ends=True, server=server, program=program)
    assert made["checks"][-1] == {
        "name": "answers in Ollama",
        "ok": True,
        "found": "'A low-rank update.', ended by itself",
        "expected": "an answer that ends by itself",
    }
    assert made["notes"][-1] == "made in Ollama; to use it: ollama run my-run"


def test_an_answer_that_ollama_cuts_is_a_failed_check_where_the_trained_model_ends(exported, tmp_path, program, server):
    with pytest.raises(GateError, match=r"answers in Ollama: 'And so on and', cut; expected an answer that ends by itself"):
        made_in_ollama(exported, tmp_path / "my-run", reply("And so on and", "length"), ends=True, server=server, program=program)


def test_an_answer_may_be_cut_where_the_trained_models_was(exported, tmp_path, program, server):
    made = made_in_ollama(exported, tmp_path / "my-run", reply("And so on and", "length"), ends=False, server=server, program=program)
    assert (made["checks"][-1]["ok"], made["checks"][-1]["expected"]) == (True, "an answer")
