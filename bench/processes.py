"""Worker processes: started in a clean environment, asked line by line, and ended with all that they started.

A worker speaks one JSON object a line on its stdout: `{"event": "ready", "measured": {…}}` once it has loaded, and for each line
`{"repeat": k}` on its stdin `{"event": "repeat", "repeat": k, "measured": {…}}`. The end of its stdin ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import unsloth_ft
from unsloth_ft.kernels.allocator import HUGE_PAGES
from unsloth_ft.train.memory import SAID

# What a process needs to find programs, libraries, cards and cached models. All else of the user's environment (HF_*, UNSLOTH_*,
# TORCH_*, LD_PRELOAD, …) changes what is measured on one machine and not on the next.
KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES", "CC", "CXX", "XDG_CACHE_HOME", "UNSLOTH_FT_CACHE", "UNSLOTH_FORCE_CPU",
)  # fmt: skip
SET = {
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as unsloth_ft.hardware.pin: nvidia-smi's numbers
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # as the command line sets it
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",  # as the command line sets it
    "UNSLOTH_FT_REMEMBER": "0",  # what one leg measured must not plan the next
    "TRANSFORMERS_OFFLINE": "1",
    **HUGE_PAGES,  # as the command line sets it: every leg has the same allocator
}
LAST_LINES = 20
ENDING_SECONDS = 10  # that a worker has to end by itself
# What ends a process from outside of its own handling: torch's exceptions, Python's, the system's, and the libraries' own words.
OUT_OF_MEMORY = ("CUDA out of memory", "OutOfMemoryError", "\nMemoryError", "Cannot allocate memory", *SAID)


class WorkerError(Exception):
    """A worker gave no answer. `outcome` is the measurement's: out_of_memory, failed or no_time."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Worker:
    """One process of the protocol above. Its files (request, stderr) lie in `folder`, which is its working directory too."""

    def __init__(self, module: str, request: Mapping[str, Any], *, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        self._stderr = folder / "stderr.txt"
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, "request.json"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=folder,
                env=dict(environment),
                text=True,
                start_new_session=True,  # a signal to the terminal's group must not reach it before us; and its children end with it
            )
        self._failed: WorkerError | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self, *, limit_seconds: float) -> dict[str, Any]:
        """What it measured until it had loaded. Raises WorkerError."""
        return self._answer("ready", limit_seconds)["measured"]

    def repeat(self, number: int, *, limit_seconds: float) -> dict[str, Any]:
        """What it measured in that repeat. Raises WorkerError."""
        with contextlib.suppress(BrokenPipeError):  # that it has ended, the answer says, with the reason
            self._write(json.dumps({"repeat": number}) + "\n")
        return self._answer("repeat", limit_seconds)["measured"]

    def close(self) -> None:
        """Ends it: by the end of its stdin, and where that takes too long by a kill."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]  # a pipe was asked for
        self._end(ENDING_SECONDS)
        self._reader.join(ENDING_SECONDS)
        self._process.stdout.close()  # type: ignore[union-attr]

    def _end(self, seconds: float) -> int:
        """Its exit code, when it has ended by itself, or has been killed after so many seconds. What it started is killed with it."""
        process = self._process
        if process.returncode is None:
            end = time.monotonic() + seconds
            # Looked at, not waited for: until then the number of its group can't be given to anybody else.
            while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < end:
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def _write(self, line: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # a pipe was asked for
        stdin.write(line)
        stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None  # a pipe was asked for
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _answer(self, event: str, limit_seconds: float) -> dict[str, Any]:
        """The next line of that event. Once there was none, there is none: who asks again hears the same reason."""
        if self._failed is None:
            try:
                return self._next(event, time.monotonic() + limit_seconds)
            except queue.Empty:
                self._end(0)
                self._failed = WorkerError("failed", f"no answer within {limit_seconds:.0f} s; ended.\n{self._last_lines()}".rstrip())
            except EOFError:
                self._failed = self._ended()
        raise self._failed

    def _next(self, event: str, end: float) -> dict[str, Any]:
        """Lines that libraries print on stdout are passed over. Raises queue.Empty when time is over, EOFError at the end of its stdout."""
        while (line := self._lines.get(timeout=max(0.0, end - time.monotonic()))) is not None:
            with contextlib.suppress(json.JSONDecodeError):
                told = json.loads(line)
                if isinstance(told, dict) and told.get("event") == event:
                    return told
        raise EOFError

    def _ended(self) -> WorkerError:
        code = self._end(ENDING_SECONDS)
        said = self._last_lines()
        if code == -signal.SIGKILL:
            return WorkerError("out_of_memory", f"killed by the system (SIGKILL), as it does when memory runs out.\n{said}".rstrip())
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        outcome = "out_of_memory" if any(words in f"\n{said}" for words in OUT_OF_MEMORY) else "failed"
        return WorkerError(outcome, f"{how}.\n{said}".rstrip())

    def _last_lines(self) -> str:
        return "\n".join(self._stderr.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:])


def environment(*, threads: int, caches: Path, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a worker sees of the environment. `caches`: where it keeps what it compiles, so that no earlier call's is found."""
    kept = {name: given[name] for name in KEPT if name in given}
    folders = {
        "UNSLOTH_COMPILE_LOCATION": str(caches / "unsloth_compiled_cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "torchinductor"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
    }
    return kept | SET | folders | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": _import_path(given.get("PYTHONPATH", ""))}


def _import_path(given: str) -> str:
    """The caller's, absolute, since a worker has another working directory; a checkout that isn't installed stands in it."""
    checkout = Path(unsloth_ft.__file__).parents[1]
    own = [str(checkout)] if (checkout / "setup.cfg").is_file() else []
    return os.pathsep.join([*own, *(os.path.abspath(entry) for entry in given.split(os.pathsep) if entry)])
