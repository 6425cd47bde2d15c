"""Peak memory of merging and of writing GGUF files, for a model of Llama-3.2-1B's real architecture with random weights.

    python -m bench.export_memory --out bench/results/export-memory.json

Each step runs in a process of its own; its figure is VmHWM of /proc/self/status, so all of it counts: Python, torch, mapped pages.
The base is what `unsloth-ft bench synth` writes. Its tokenizer has 65,536 merges where Llama 3's has 280,147, so a GGUF file's figure
is up to 80 MB below that of the real vocabulary (f16 of 1B: 322 MB against 406).
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import click

from unsloth_ft.bench.architectures import of_recipe
from unsloth_ft.bench.commands import write_adapter
from unsloth_ft.bench.synth import SEED, synthesize
from unsloth_ft.recipe import PROJECTIONS
from unsloth_ft.record import write_atomically

RANK = 16
ONLY_IMPORTS = "import unsloth_ft.export.merged, unsloth_ft.export.gguf, torch, gguf"
MERGE = """
import sys
from pathlib import Path
from unsloth_ft.export.merged import merge
merge(*map(Path, sys.argv[1:4]))
"""
GGUF = """
import sys
from pathlib import Path
from unsloth_ft.export.gguf import write_gguf
write_gguf(Path(sys.argv[1]), Path(sys.argv[2]), quantization=sys.argv[3])
"""
# Not resource.getrusage: a child's ru_maxrss begins with that of the process that started it.
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_megabytes(program: str, *arguments: object) -> float:
    done = subprocess.run([sys.executable, "-c", program + PEAK, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(done.stderr)
    return int(done.stdout.split()[-1]) * 1024 / 1e6


def measure(folder: Path, recipe: str, *, layers: int, quantizations: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """(step, peak in MB) of each; every file is deleted as soon as it is measured."""
    base = synthesize(recipe, folder / "base", layers=layers, device="cpu")
    adapter = write_adapter(folder / "adapter", base, rank=RANK, target_modules=PROJECTIONS, seed=SEED)
    yield "imports alone", peak_megabytes(ONLY_IMPORTS)
    yield "merge", peak_megabytes(MERGE, base, adapter, folder / "merged")
    for quantization in quantizations:
        path = folder / f"{quantization}.gguf"
        yield f"gguf {quantization}", peak_megabytes(GGUF, folder / "merged", path, quantization)
        path.unlink()


@click.command(help=__doc__.split("\n")[0])
@click.option("--recipe", default="llama32-1b", show_default=True, help="Whose architecture.")
@click.option("--layers", type=int, help="Fewer make it quicker; memory should not change.  [default: all]")
@click.option("--quantization", "quantizations", multiple=True, default=("f16", "q8_0"), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Folder for the files, 10 GB; removed afterwards.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures as JSON.")
def main(recipe: str, layers: int | None, quantizations: tuple[str, ...], work: Path | None, out: Path | None) -> None:
    import torch

    architecture = of_recipe(recipe)
    layers = layers or architecture.facts.num_hidden_layers
    parameters = sum(parameter.size for parameter in architecture.parameters(layers))
    click.echo(f"{parameters / 1e9:.2f} billion parameters, {layers} layers")
    peaks = {}
    with tempfile.TemporaryDirectory(dir=work) as name:
        for step, megabytes in measure(Path(name), recipe, layers=layers, quantizations=quantizations):
            click.echo(f"{step:<14} {megabytes:7.0f} MB")
            peaks[step] = round(megabytes)
    if out:
        command = f"python -m bench.export_memory --recipe {recipe} --layers {layers}"
        command += "".join(f" --quantization {name}" for name in quantizations)
        machine = {"python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()}
        told = {"command": command, "date": str(date.today()), **machine, "layers": layers, "parameters": parameters, "peak_mb": peaks}
        write_atomically(out, json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
