"""A GGUF file quantized by llama.cpp itself: by `llama-quantize` on the PATH, or else by the library inside llama-cpp-python.

The choice for who wants upstream's program and no other. Ours (`kquants`) writes the same bytes without it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from unsloth_ft.errors import MachineError, UserError, nearest
from unsloth_ft.export.gguf_types import FILE_TYPES

OWN, LLAMA_CPP = QUANTIZERS = ("own", "llama.cpp")
PROGRAM = "llama-quantize"
WORKER = Path(__file__).with_name("llama_quantize_worker.py")
LAST_LINES = 8  # of llama.cpp's log, shown when it fails


@dataclass(frozen=True)
class Program:
    """How to call a llama.cpp: `command` is followed by source, target and the file type. `what` is its name in messages."""

    what: str
    command: tuple[str, ...]
    by_number: bool  # the file type as llama.h's number, not by its name


def check_quantizer(quantizer: str) -> None:
    """Raises: UserError for an unknown name; MachineError where llama.cpp is asked for and is not there."""
    if quantizer not in QUANTIZERS:
        near = nearest(quantizer.lower(), QUANTIZERS)
        raise UserError(f"quantizer {quantizer!r} is unknown; expected one of {', '.join(QUANTIZERS)}.{near}")
    if quantizer == LLAMA_CPP:
        find_program()


def find_program() -> Program:
    """Raises: MachineError, with how to get one."""
    program = shutil.which(PROGRAM)
    if program is not None:
        return Program(PROGRAM, (program,), by_number=False)
    if find_spec("llama_cpp") is not None:
        return Program("llama-cpp-python", (sys.executable, str(WORKER)), by_number=True)
    raise MachineError(
        f"the quantizer 'llama.cpp' needs {PROGRAM} on the PATH (it comes with llama.cpp: https://github.com/ggml-org/llama.cpp/releases) "
        "or llama-cpp-python (pip install llama-cpp-python compiles it, some minutes). Or take the quantizer 'own', which writes the same "
        "bytes."
    )


def quantize_file(source: Path, target: Path, quantization: str) -> None:
    """Quantize the GGUF file `source`, in f32, f16 or bf16, to `target`.

    Raises: MachineError with llama.cpp's last lines when it fails.
    """
    import gguf

    program = find_program()
    kind = str(gguf.LlamaFileType[FILE_TYPES[quantization]].value) if program.by_number else quantization
    with tempfile.TemporaryFile() as log:
        command = [*program.command, str(source), str(target), kind]
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
        log.seek(0)
        lines = log.read().decode("utf-8", "replace").strip().splitlines()[-LAST_LINES:]
    if code != 0 or not target.is_file():
        said = "Its last lines:\n" + "\n".join(lines) if lines else "It printed nothing."
        raise MachineError(f"{program.what} ended with {code} and made no {quantization} file. {said}")
