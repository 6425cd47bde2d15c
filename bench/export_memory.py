"""Peak memory of merging and of writing GGUF files, for a model of Llama-3.2-1B's real architecture with random weights.

    python -m bench.export_memory --out bench/results/export-memory.json

Each step runs in a process of its own; its figure is VmHWM of /proc/self/status, so all of it counts: Python, torch, mapped pages.
The tokenizer is the real one (tests/families.py, requirements/dev.lock).
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import BinaryIO

import click

from tests import families
from tests.family_tokenizers import write_json, write_tokenizer
from unsloth_ft.export.shards import as_bytes, encode_header
from unsloth_ft.recipe import PROJECTIONS

# config.json of meta-llama/Llama-3.2-1B-Instruct
HIDDEN, WIDE, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY, LAYERS = 2048, 8192, 32, 8, 64, 128256, 16
RANK = 16
BLOCK = 2**22  # values that are made at a time
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

Shapes = dict[str, tuple[int, ...]]


def write_base(folder: Path, *, layers: int) -> Path:
    """The base as an HF folder, written block by block."""
    folder.mkdir()
    shape = families.Shape(
        "LlamaForCausalLM",
        "llama",
        VOCABULARY,
        families.llama3_config(32.0),
        families.LLAMA3_GENERATION,
        tied=True,
        head_dim=HEAD_DIM,
        hidden_size=HIDDEN,
        intermediate_size=WIDE,
        layers=layers,
        heads=HEADS,
        kv_heads=KV_HEADS,
    )
    write_json(folder / "config.json", families.config_of(shape))
    write_json(folder / "generation_config.json", shape.generation)
    write_tokenizer("llama32", folder)
    write_random(folder / "model.safetensors", base_shapes(layers), dtype="BF16")
    return folder


def write_adapter(folder: Path, *, layers: int) -> Path:
    """A random LoRA adapter on all projections, as PEFT saves it."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": list(PROJECTIONS)}
    write_json(folder / "adapter_config.json", config)
    pairs: Shapes = {}
    for name, (rows, columns) in layer_shapes(layers):
        prefix = f"base_model.model.{name.removesuffix('.weight')}"
        pairs |= {f"{prefix}.lora_A.weight": (RANK, columns), f"{prefix}.lora_B.weight": (rows, RANK)}
    write_random(folder / "adapter_model.safetensors", pairs, dtype="F32")
    return folder


def base_shapes(layers: int) -> Shapes:
    norms = {f"model.layers.{i}.{name}_layernorm.weight": (HIDDEN,) for i in range(layers) for name in ("input", "post_attention")}
    embedding: Shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    return embedding | dict(layer_shapes(layers)) | norms | {"model.norm.weight": (HIDDEN,)}


def layer_shapes(layers: int) -> Iterator[tuple[str, tuple[int, int]]]:
    shapes = {
        "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN),
        "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
        "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
        "mlp.gate_proj": (WIDE, HIDDEN),
        "mlp.up_proj": (WIDE, HIDDEN),
        "mlp.down_proj": (HIDDEN, WIDE),
    }
    for layer in range(layers):
        for name, shape in shapes.items():
            yield f"model.layers.{layer}.{name}.weight", shape


def write_random(path: Path, shapes: Shapes, *, dtype: str) -> None:
    with path.open("wb") as stream:
        stream.write(encode_header((name, dtype, shape) for name, shape in shapes.items()))
        for shape in shapes.values():
            write_values(stream, math.prod(shape), dtype=dtype)


def write_values(stream: BinaryIO, count: int, *, dtype: str) -> None:
    import torch

    kind = {"BF16": torch.bfloat16, "F32": torch.float32}[dtype]
    for start in range(0, count, BLOCK):
        stream.write(as_bytes((torch.randn(min(BLOCK, count - start)) * 0.02).to(kind)))


def peak_megabytes(program: str, *arguments: object) -> float:
    done = subprocess.run([sys.executable, "-c", program + PEAK, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(done.stderr)
    return int(done.stdout.split()[-1]) * 1024 / 1e6


def measure(folder: Path, *, layers: int, quantizations: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """(step, peak in MB) of each; every file is deleted as soon as it is measured."""
    base, adapter = write_base(folder / "base", layers=layers), write_adapter(folder / "adapter", layers=layers)
    yield "imports alone", peak_megabytes(ONLY_IMPORTS)
    yield "merge", peak_megabytes(MERGE, base, adapter, folder / "merged")
    for quantization in quantizations:
        path = folder / f"{quantization}.gguf"
        yield f"gguf {quantization}", peak_megabytes(GGUF, folder / "merged", path, quantization)
        path.unlink()


@click.command(help=__doc__.split("\n")[0])
@click.option("--layers", default=LAYERS, show_default=True, help="Fewer make it quicker; memory should not change.")
@click.option("--quantization", "quantizations", multiple=True, default=("f16", "q8_0"), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Folder for the files, 10 GB; removed afterwards.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures as JSON.")
def main(layers: int, quantizations: tuple[str, ...], work: Path | None, out: Path | None) -> None:
    import torch

    parameters = sum(math.prod(shape) for shape in base_shapes(layers).values())
    click.echo(f"{parameters / 1e9:.2f} billion parameters, {layers} layers")
    peaks = {}
    with tempfile.TemporaryDirectory(dir=work) as name:
        for step, megabytes in measure(Path(name), layers=layers, quantizations=quantizations):
            click.echo(f"{step:<14} {megabytes:7.0f} MB")
            peaks[step] = round(megabytes)
    if out:
        command = f"python -m bench.export_memory --layers {layers} " + " ".join(f"--quantization {name}" for name in quantizations)
        machine = {"python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()}
        run = {"command": command, "date": str(date.today()), **machine}
        write_json(out, {**run, "layers": layers, "parameters": parameters, "peak_mb": peaks})


if __name__ == "__main__":
    main()
