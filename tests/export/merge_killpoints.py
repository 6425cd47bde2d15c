"""Kills a merge at chosen moments and calls it again: merge_killpoints.py BASE ADAPTER EARLIER WORK COUNT SEED, JSON out.

EARLIER is an export of before, which each case begins with. A moment is a file operation in the folder of the exports, counted by an
audit hook, or the end of a tensor; the process dies by SIGKILL just before it. A process of its own: it forks after the imports.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from tests.export.merge_cases import everything
from unsloth_ft.export.merged import merge

OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def in_a_child(base: Path, adapter: Path, exports: Path, *, kill_at: int | None) -> tuple[int, int, list[str]]:
    """(exit status, moments seen, weight files opened for writing) of a merge into exports/merged."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        seen, opened = 0, []

        def moment(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if event in OPERATIONS and str(arguments[0]).startswith(str(exports)):
                if event == "open" and "w" in str(arguments[1]) and str(arguments[0]).endswith(".safetensors"):
                    opened.append(Path(arguments[0]).name)
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(moment)
        status = 1
        try:
            merge(base, adapter, exports / "merged", on_tensor=lambda done, total: moment("os.mkdir", (exports,)))
            status = 0
        finally:
            os.write(write, json.dumps([seen, opened]).encode())
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as stream:
        seen, opened = json.loads(stream.read() or "[0, []]")
    return os.waitpid(child, 0)[1], seen, opened


def export_of_before(exports: Path, before: dict[str, bytes], after: dict[str, bytes]) -> str:
    """Which whole model a user finds after the kill; between the two renames, beside its place."""
    for name in ("merged", ".merged.previous"):
        if (exports / name).is_dir():
            found = everything(exports / name)
            return "before" if found == before else "after" if found == after else f"neither, in {name}"
    return "none"


def main(base: Path, adapter: Path, earlier: Path, work: Path, count: int, seed: int) -> dict[str, Any]:
    straight = work / "straight"
    straight.mkdir()
    shutil.copytree(earlier, straight / "merged")
    status, moments, written = in_a_child(base, adapter, straight, kill_at=None)
    before, after = everything(earlier), everything(straight / "merged")
    generator = random.Random(seed)
    last = moments - count // 2  # half of a sample at the end, where one folder takes the other's place
    points = range(moments) if count >= moments else [*sorted(generator.sample(range(last), count - count // 2)), *range(last, moments)]
    cases = []
    for point in points:
        exports = work / "killed"
        exports.mkdir()
        shutil.copytree(earlier, exports / "merged")
        killed, _, _ = in_a_child(base, adapter, exports, kill_at=point)
        there = export_of_before(exports, before, after)
        manifest = exports / ".merged.partial" / ".merge.json"
        listed = sorted(json.loads(manifest.read_text())["shards"]) if manifest.is_file() else []
        again = generator.randrange(moments) if len(cases) % 2 else None  # every other second call is killed as well
        if again is not None:
            in_a_child(base, adapter, exports, kill_at=again)
        ended, _, rewritten = in_a_child(base, adapter, exports, kill_at=None)
        same = everything(exports) == {f"merged/{name}": content for name, content in after.items()}
        twice = sorted({*listed} & {*rewritten})
        cases.append({"point": [point, again], "killed": killed, "there": there, "ended": ended, "same": same, "twice": twice})
        shutil.rmtree(exports)
    return {"status": status, "moments": moments, "written": written, "differs": before != after, "cases": cases}


if __name__ == "__main__":
    print(json.dumps(main(*map(Path, sys.argv[1:5]), int(sys.argv[5]), int(sys.argv[6]))))
