"""Kills a tiny training at chosen moments and lets the same call go on: killpoints.py MODEL_FOLDER WORK_FOLDER COUNT SEED, JSON out.

A moment is a file operation under the run directory, counted by an audit hook; the process dies by SIGKILL just before it. Some
of the kills hit the resume as well. A process of its own: it forks after the imports, so that a case costs a second.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from tests.train.setting import Setting, setting
from unsloth_ft import backends
from unsloth_ft.record import RunDirectory, sha256
from unsloth_ft.train import before

OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def run_to_the_end(run: Setting, backend: Any, out: Path) -> None:
    from unsloth_ft.train.loop import save_adapter

    model = run.model(backend)
    run.train(model, backend, out)
    save_adapter(model, run.chat, "a/base", RunDirectory(out))


def in_a_child(run: Setting, backend: Any, out: Path, *, kill_at: int | None) -> tuple[int, int]:
    """(exit status, file operations seen) of the whole call in a forked process, killed before operation `kill_at`."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if event in OPERATIONS and str(arguments[0]).startswith(str(out)):
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(count)
        status = 1
        try:
            run_to_the_end(run, backend, out)
            status = 0
        finally:
            os.write(write, str(seen).encode())
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as stream:
        seen = stream.read()
    return os.waitpid(child, 0)[1], int(seen or 0)


def outcome(out: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "adapter": sha256(out / "adapter" / "adapter_model.safetensors"),
        "curve": [[line["step"], line.get("loss", line.get("eval_loss"))] for line in lines],
        "losses before": sha256(before.file(RunDirectory(out))),
        "left_over": sorted(path.name for path in out.iterdir()),
    }


def main(model: Path, work: Path, count: int, seed: int) -> dict[str, Any]:
    run = setting(model, "train.max_steps=4", "train.eval_steps=2", "train.save_steps=1", "lora.lora_dropout=0.1", rows=4)
    backend = backends.activate("peft")
    import unsloth_ft.train.trainer  # noqa: F401  before the forks, once

    straight = work / "straight"
    status, operations = in_a_child(run, backend, straight, kill_at=None)
    generator = random.Random(seed)
    points = range(operations) if count >= operations else sorted(generator.sample(range(operations), count))
    cases = []
    for point in points:
        out = work / f"killed-{point}"
        killed, _ = in_a_child(run, backend, out, kill_at=point)
        again = generator.randrange(operations) if len(cases) % 2 else None  # every other resume is killed as well
        if again is not None:
            in_a_child(run, backend, out, kill_at=again)
        ended, _ = in_a_child(run, backend, out, kill_at=None)
        cases.append({"point": [point, again], "killed": killed, "ended": ended, "outcome": outcome(out) if ended == 0 else None})
    return {"status": status, "operations": operations, "straight": outcome(straight), "cases": cases}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
