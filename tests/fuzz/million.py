"""A million mutated lines through the reader, in pieces that can be stopped: `python -m tests.fuzz.million --out build/fuzz-million.json`."""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from pathlib import Path
from types import MappingProxyType

import unsloth_ft
from tests.fuzz.mutation import mutated_line
from tests.fuzz.survival import Died, survive

LINES_A_FILE = 100  # few, so that an object left open swallows few of its neighbours
SEED = 20261126
FRESH = MappingProxyType(
    {"lines": 0, "rows_taken": 0, "errors_found": 0, "crashes": (), "cpu_seconds": 0.0, "lines_per_cpu_second": 0}
)


def block(number: int) -> bytes:
    """The same hundred mutated lines for the same number."""
    chance = random.Random(f"{SEED}:{number}")
    return b"".join(mutated_line(chance) for _ in range(LINES_A_FILE))


def run(state: dict[str, object], *, wanted: int, seconds: float, folder: Path) -> dict[str, object]:
    """`state` and what came behind it, until `wanted` lines are done or the time is over; files that the reader died of are kept in `folder`."""
    state = {**state, "crashes": [*state["crashes"]]}
    began, cpu = time.monotonic(), time.process_time()
    path = folder / "mutated.jsonl"
    while state["lines"] < wanted and time.monotonic() - began < seconds:
        number = state["lines"] // LINES_A_FILE
        content = block(number)
        try:
            outcome = survive(path, content)
            state["rows_taken"] += outcome.rows
            state["errors_found"] += outcome.errors
        except Died as died:
            (folder / f"crash-{number}.jsonl").write_bytes(content)
            state["crashes"].append({"block": number, "message": str(died)[:500]})
        state["lines"] += LINES_A_FILE
    state["cpu_seconds"] = round(state["cpu_seconds"] + time.process_time() - cpu, 1)
    state["lines_per_cpu_second"] = round(state["lines"] / max(state["cpu_seconds"], 0.1))
    return state


def main() -> int:
    """Exit 1 when a line killed the reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; the same call goes on")
    parser.add_argument("--out", type=Path, required=True, help="the figures, a JSON file")
    parser.add_argument("--crashes", type=Path, help="where files that kill the reader are kept; a temporary folder unless given")
    options = parser.parse_args()
    state = json.loads(options.out.read_text()) if options.out.exists() else dict(FRESH)
    folder = options.crashes or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    state = run(state, wanted=options.lines, seconds=options.seconds, folder=folder)
    state |= {"seed": SEED, "python": platform.python_version(), "version": unsloth_ft.__version__, "date": time.strftime("%Y-%m-%d")}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(state, indent=2) + "\n")
    print(f"{state['lines']:,} mutated lines, {len(state['crashes'])} crashes", file=sys.stderr)
    return 1 if state["crashes"] else 0


if __name__ == "__main__":
    sys.exit(main())
