"""The process that llama.cpp runs in (started by llamacpp.py as a script, so that it imports nothing of this package).

A failed assertion inside llama.cpp aborts its whole process: here that is this one, and not the run that is being exported.
It reads one JSON request a line from stdin and writes one JSON answer a line to stdout; all else that is printed goes to stderr.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import tempfile


def main() -> None:
    """Load the model that the first line describes, answer "ready", then one answer a request, until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what llama.cpp prints must not get between the answers
    with tempfile.TemporaryDirectory(prefix="llamacpp-") as folder:  # short: a Unix socket's path has at most 107 bytes
        path = os.path.join(folder, "server.sock")
        try:
            server = load(json.loads(sys.stdin.readline()), path)
        except RuntimeError as error:
            sys.exit(str(error))  # after llama.cpp's own lines
        print(json.dumps("ready"), file=answers, flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            answer = (
                server.handle_chat_completions(request["chat"]) if "chat" in request else post(path, request["route"], request["value"])
            )
            print(json.dumps(answer), file=answers, flush=True)
        answers.close()
        # Its threads are of no more use, and joining them is one more way to wait for ever.
        os.unlink(path)
        os.rmdir(folder)
        os._exit(0)


def load(settings: dict, socket_path: str):
    """llama.cpp's server, listening on a Unix socket in a private folder: no network is used."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["model"]
    if settings["lora"] is not None:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(settings["lora"], 1.0)]  # 1.0: alpha / rank, as the file says
    parameters.n_ctx = settings["context_length"]
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.fit_params = False  # it would change the context length to fit the memory
    parameters.warmup = False
    parameters.verbosity = settings["verbosity"]
    parameters.hostnames = [socket_path]
    parameters.ui = False
    parameters.cache_ram_mib = 0
    # the default cache rounds keys and values to float16: a difference that is not the file's
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if settings["threads"] is not None:
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = settings["threads"]
    return xllamacpp.Server(parameters)


def post(socket_path: str, route: str, value: dict) -> dict:
    connection = http.client.HTTPConnection("llama.cpp")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(socket_path)
        connection.request("POST", route, json.dumps(value), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


if __name__ == "__main__":
    main()
