"""A small worker that speaks the protocol of unsloth_ft.bench.processes, and misbehaves as its leg's name says.

A leg "slow" takes its time, "dies-at-1" dies in repeat 1, and so on; what it was asked and when goes into a log beside its scratch folders.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def tell(**parts: object) -> None:
    print(json.dumps(parts), flush=True)


def log(request: dict, word: str) -> None:
    with Path(os.environ["HOME"], "log.txt").open("a") as stream:
        stream.write(f"{request['leg']['name']} {word} {os.getpid()}\n")


def misbehave(name: str, moment: str) -> None:
    """`name` ends with the moment at which something happens: dies-at-ready, hangs-at-1, killed-at-0."""
    what, _, when = name.partition("-at-")
    if when != moment:
        return
    if what == "dies":
        sys.exit(f"ValueError: {Path.cwd()}/weights.bin is broken")
    if what == "runs-out":
        sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hangs":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(os.environ["HOME"], "child.txt").write_text(str(child.pid))
        time.sleep(600)
    if what == "shrugs":
        tell(event="repeat", repeat=0, measured={"outcome": "perhaps"})
    if what == "babbles":
        tell(event="repeat", repeat=0, measured={"outcome": "done", "speed": 1.0})


def main() -> None:
    if sys.argv[1] in ("cpu", "cuda"):  # the call's first question: this machine's matrix product
        print(json.dumps({"matmul_flops_per_second": 1e12}))
        return
    request = json.loads(Path(sys.argv[1]).read_text())
    name = request["leg"]["name"]
    log(request, "start")
    print("a library says hello")
    print('{"a": "library speaks JSON"}')
    misbehave(name, "ready")
    asked = {"rank": request["case"]["r"], "model": request["model"], "environment": dict(os.environ)}
    asked["matmul_flops_per_second"] = request["matmul_flops_per_second"]
    tell(event="ready", measured={"import_seconds": 0.5, "load_seconds": 0.25, "setup": {"asked": asked}})
    for line in sys.stdin:
        repeat = json.loads(line)["repeat"]
        log(request, f"repeat {repeat}")
        misbehave(name, str(repeat))
        steps = [{"seconds": 0.5, "tokens": 100, "computed_tokens": 120, "loss": 2.0}]
        tell(event="repeat", repeat=repeat, measured={"outcome": "done", "steps": steps, "tokens_per_second": 200.0 + repeat})
    log(request, "end")


if __name__ == "__main__":
    main()
