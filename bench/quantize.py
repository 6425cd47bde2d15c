"""Our quantizers beside llama-quantize: time, memory, error and bytes, of the same model, on the same threads.

    python -m bench.quantize MODEL_DIR --quantization q4_k_m --quantization q6_k --out bench/results/quantize.json

llama-quantize must be on the PATH. It reads a GGUF file of the weights' own type and writes the quantized one; ours reads the HF folder and
writes the same file. Of ours two times are given: `write` is reading, quantizing and writing, as llama-quantize's is (without the
read-back and the sha256 that an export adds), `quantize` the quantizing in it. Each run is a process of its own, ours without its imports
(about 2 s) and llama-quantize's as a whole; the two take turns, and median [least, largest] of the repeats is shown. Peak memory is the
process's ru_maxrss, which counts mapped pages of the source for llama-quantize.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import click

from unsloth_ft.export.gguf_types import QUANTIZATIONS

OURS = """
import json, sys, time
from pathlib import Path
import torch, gguf as official
from unsloth_ft.export import gguf, gguf_tensors, kquants
from unsloth_ft.export.gguf_model import read_architecture
from unsloth_ft.export.gguf_vocab import read_vocabulary

quantize, spent = kquants.quantize, [0.0]

def timed(values, type_name):
    started = time.perf_counter()
    made = quantize(values, type_name)
    if made.is_cuda:
        torch.cuda.synchronize()
    spent[0] += time.perf_counter() - started
    return made

kquants.quantize = timed
folder, path, quantization = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
torch.set_num_threads(int(sys.argv[4]))
started, cpu = time.perf_counter(), time.process_time()
architecture = read_architecture(folder)
targets = gguf.plan_tensors(folder, architecture, quantization)
gguf.write_file(path, folder, architecture, read_vocabulary(folder, vocab_size=architecture.vocab_size), targets, quantization)
print(json.dumps({
    "write_seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu, "quantize_seconds": spent[0],
    "device": gguf_tensors.quantizing_device(),
}))
"""
# Starts the measured program from a process that is small itself: a child's ru_maxrss begins with its parent's.
LAUNCH = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
figures = {"seconds": time.perf_counter() - started, "cpu": usage.ru_utime + usage.ru_stime, "kilobytes": usage.ru_maxrss}
with open(sys.argv[1], "w") as file:
    json.dump(figures, file)
os._exit(os.waitstatus_to_exitcode(status) and 1)
"""
ROWS = 2**20  # values of a tensor that are compared at a time, about


@dataclass(frozen=True)
class Leg:
    """One process: its figures, what it printed, and what the system measured of it."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    printed: str


@dataclass(frozen=True)
class Spread:
    median: float
    least: float
    largest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.least:.2f}, {self.largest:.2f}]"


@dataclass(frozen=True)
class Comparison:
    """Two files of the same model. Errors are squared distances from the source, ours over llama-quantize's, tensor by tensor."""

    tensors: int
    types_equal: bool
    order_equal: bool
    file_equal: bool
    equal_bytes: float
    largest_error_ratio: float
    mean_error_ratio: float


def run(command: list[str], *, threads: int) -> Leg:
    """Raises: ClickException with the process's last lines when it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.NamedTemporaryFile("r") as usage:
        launched = [sys.executable, "-S", "-c", LAUNCH, usage.name, *command]
        done = subprocess.run(launched, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            raise click.ClickException(f"{command[0]} failed:\n{done.stderr[-2000:]}")
        figures = json.load(usage)
    return Leg(figures["seconds"], figures["cpu"], figures["kilobytes"] * 1024 / 1e6, done.stdout + done.stderr)


def spread(values: list[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def compare(source: Path, ours: Path, theirs: Path) -> Comparison:
    """`source` is the GGUF file in f32, f16 or bf16 that both were made of."""
    from unsloth_ft.export.gguf_read import read_gguf

    files = [read_gguf(path) for path in (source, ours, theirs)]
    whole, mine, other = (contents.tensors for contents in files)
    same_types = {name: tensor.ggml_type for name, tensor in mine.items()} == {name: tensor.ggml_type for name, tensor in other.items()}
    ratios, equal, count = [], 0, 0
    for name, tensor in whole.items():
        if len(tensor.shape) < 2:
            continue
        one, two = error(source, ours, tensor, mine[name]), error(source, theirs, tensor, other[name])
        ratios.append(one / two if two else float(one == two))
        same, size = equal_bytes(ours, mine[name], theirs, other[name])
        equal, count = equal + same, count + size
    return Comparison(
        tensors=len(mine),
        types_equal=same_types,
        order_equal=list(mine) == list(other),
        file_equal=ours.read_bytes() == theirs.read_bytes() if ours.stat().st_size < 2**31 else False,
        equal_bytes=equal / count,
        largest_error_ratio=max(ratios),
        mean_error_ratio=statistics.fmean(ratios),
    )


def error(source: Path, path: Path, whole: Any, tensor: Any) -> float:
    from unsloth_ft.export.gguf_read import read_rows

    step = max(1, ROWS // tensor.shape[1])
    total = 0.0
    for start in range(0, tensor.shape[0], step):
        difference = read_rows(source, whole, start=start, rows=step) - read_rows(path, tensor, start=start, rows=step)
        total += float((difference.astype("float64") ** 2).sum())
    return total


def equal_bytes(one: Path, tensor: Any, two: Path, other: Any) -> tuple[int, int]:
    """Equal bytes and all bytes of a tensor in both files."""
    import numpy

    if tensor.size_bytes != other.size_bytes:
        return 0, tensor.size_bytes
    first = numpy.memmap(one, dtype="uint8", mode="r", offset=tensor.offset, shape=(tensor.size_bytes,))
    second = numpy.memmap(two, dtype="uint8", mode="r", offset=other.offset, shape=(other.size_bytes,))
    return int((first == second).sum()), tensor.size_bytes


def measure(model: Path, quantization: str, source: Path, folder: Path, *, threads: int, repeats: int) -> dict[str, Any]:
    ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
    mine, other, told = [], [], []
    for _ in range(repeats):
        mine.append(run([sys.executable, "-c", OURS, str(model), str(ours), quantization, str(threads)], threads=threads))
        told.append(json.loads(next(line for line in mine[-1].printed.splitlines() if line.startswith("{"))))
        other.append(run(["llama-quantize", str(source), str(theirs), quantization, str(threads)], threads=threads))
    write, quantize = (spread([figures[name] for figures in told]) for name in ("write_seconds", "quantize_seconds"))
    upstream = spread([leg.seconds for leg in other])
    result = {
        "quantization": quantization,
        "llama_quantize_version": next((line for line in other[0].printed.splitlines() if line.startswith("version:")), "unknown"),
        "device": told[0]["device"],
        "ours_write_seconds": asdict(write),
        "ours_quantize_seconds": asdict(quantize),
        "ours_cpu_seconds": asdict(spread([figures["cpu_seconds"] for figures in told])),
        "llama_quantize_seconds": asdict(upstream),
        "llama_quantize_cpu_seconds": asdict(spread([leg.cpu_seconds for leg in other])),
        "ours_peak_mb": round(max(leg.peak_mb for leg in mine)),
        "llama_quantize_peak_mb": round(max(leg.peak_mb for leg in other)),
        **asdict(compare(source, ours, theirs)),
    }
    click.echo(
        f"{quantization:<7} {write!s:>20} {quantize!s:>20} {upstream!s:>20} {write.median / upstream.median:>6.2f} "
        f"{result['ours_peak_mb']:>6} {result['llama_quantize_peak_mb']:>6} {result['largest_error_ratio']:>7.4f} "
        f"{result['equal_bytes']:>7.1%} {'yes' if result['file_equal'] else 'no':>5}"
    )
    ours.unlink()
    theirs.unlink()
    return result


def machine() -> dict[str, Any]:
    import torch

    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gguf": version_of("gguf"),
    }


@click.command(help=__doc__.split("\n")[0])
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--quantization", "quantizations", multiple=True, type=click.Choice(QUANTIZATIONS), default=("q4_k_m",), show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Folder for the files; removed afterwards.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures as JSON.")
def main(model: Path, quantizations: tuple[str, ...], threads: int, repeats: int, work: Path | None, out: Path | None) -> None:
    from unsloth_ft.export.gguf import plan_tensors, stored_type, write_gguf
    from unsloth_ft.export.gguf_model import read_architecture

    if shutil.which("llama-quantize") is None:
        raise click.ClickException("llama-quantize is not on the PATH; it comes with llama.cpp.")
    plain = stored_type(plan_tensors(model, read_architecture(model), "f32"))
    measured = machine()
    click.echo(
        f"{'':<7} {'ours: write, s':>20} {'ours: quantize, s':>20} {'llama-quantize, s':>20} {'ratio':>6} "
        f"{'MB':>6} {'its MB':>6} {'error':>7} {'bytes':>7} {'file':>5}"
    )
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        source = write_gguf(model, folder / "source.gguf", quantization=plain).path
        results = [measure(model, one, source, folder, threads=threads, repeats=repeats) for one in quantizations]
    if out:
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        words = ["python -m bench.quantize", *(Path(word).name for word in sys.argv[1:])]
        facts = {"date": date, "command": " ".join(words), "threads": threads, "repeats": repeats, "source": plain}
        out.parent.mkdir(parents=True, exist_ok=True)
        record = {**facts, "model": model.name, "machine": measured, "results": results}
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
