"""A checkpoint with a recipe's real architecture and random weights, so that its speed and memory can be measured without a hub.

Bfloat16, or NF4 with double quantization as bitsandbytes serializes it (arXiv 2305.14314), which every leg then loads without quantizing.
Weights are drawn with the architecture's own initializer_range and really quantized by bitsandbytes, on the GPU where there is one. They
are made and written a file at a time, so memory stays that of one file and a tensor: 1.3 GB (bfloat16) and 1.7 GB (NF4) for Llama 3.1 8B.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsloth_ft.bench.architectures import Architecture, Parameter, of_recipe
from unsloth_ft.bench.synth_tokenizer import SPECIAL, special_ids, write_tokenizer
from unsloth_ft.errors import MachineError, UserError
from unsloth_ft.hardware import disk_free_bytes

if TYPE_CHECKING:
    import torch

SEED = 3407  # Unsloth's notebooks
FILE_BYTES = 2**30  # of weights in a file, unless one tensor is larger: this and a tensor more is what is in memory
NF4_BLOCK, NESTED_BLOCK = 64, 256  # values that share an absmax, absmaxes that share one of their own (bitsandbytes' defaults)
# Of each quantized weight: its two code books in float32, and what is told of it as JSON (under 200 bytes).
NF4_OVERHEAD_BYTES = (16 + 256) * 4 + 200
OTHER_BYTES = 16 * 10**6  # tokenizer and configs; tokenizer.json has 6 MB with 150,000 words


def synthesize(
    recipe: str, out: Path, *, layers: int | None = None, quantized: bool = False, seed: int = SEED, device: str | None = None
) -> Path:
    """Writes the checkpoint as a Hugging Face folder, whole or not at all, and returns the folder.

    `layers`: fewer than the model has; None: all. `device`: where weights are made, "cuda" or "cpu"; None: the GPU where there is one. The
    same seed gives the same bytes on the same kind of device.
    Raises UserError for an unknown recipe, layers that the model hasn't, or a folder that isn't empty; MachineError for a full disk.
    """
    architecture = of_recipe(recipe)
    count = _checked_layers(recipe, architecture, layers)
    _check_folder(out)
    parameters = list(architecture.parameters(count))
    needed = sum(stored_bytes(parameter, quantized=quantized) for parameter in parameters) + OTHER_BYTES
    _check_disk(out, needed)
    with _staged(out, needed) as staging:
        _write_texts(architecture, staging, layers=count, quantized=quantized)
        _write_weights(architecture, parameters, staging, quantized=quantized, seed=seed, device=device)
    return out


def stored_bytes(parameter: Parameter, *, quantized: bool) -> int:
    """Bytes on the disk: two a value, or half of one and its share of the statistics (4.127 bits, arXiv 2305.14314, section 3)."""
    if not (quantized and parameter.kind == "linear"):
        return 2 * parameter.size
    blocks = -(-parameter.size // NF4_BLOCK)
    return -(-parameter.size // 2) + blocks + 4 * -(-blocks // NESTED_BLOCK) + NF4_OVERHEAD_BYTES


@contextmanager
def _staged(out: Path, needed: int) -> Iterator[Path]:
    """A folder beside `out` that takes its place when all is written, and goes when it isn't. Raises MachineError when writing fails."""
    from safetensors import SafetensorError

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise MachineError(f"{out.parent}: can't be written ({error.strerror}). Name a folder that can.") from error
    try:
        yield staging
        for path in (staging, *staging.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)  # mkdtemp's folders and safetensors' files are private
        os.rename(staging, out)  # an empty folder gives way
    except (OSError, SafetensorError) as error:
        raise MachineError(f"{out}: writing failed ({error}). {needed / 1e9:.1f} GB are needed; free some space, try again.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _checked_layers(recipe: str, architecture: Architecture, layers: int | None) -> int:
    most = architecture.facts.num_hidden_layers
    if layers is not None and not 1 <= layers <= most:
        raise UserError(f"layers is {layers}; {recipe} has {most}, so 1 to {most} were expected.")
    return layers or most


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file; expected a new or an empty folder. Name another one.")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: a folder that is not empty; expected a new or an empty one. Name another one.")


def _check_disk(out: Path, needed: int) -> None:
    free = disk_free_bytes(out)
    if free < needed:
        raise MachineError(
            f"{out}: {needed / 1e9:.1f} GB are needed, and {free / 1e9:.1f} GB are free. Free some space, name a folder on another disk, "
            "or write fewer layers (--layers) or NF4 (--nf4)."
        )


def _write_texts(architecture: Architecture, folder: Path, *, layers: int, quantized: bool) -> None:
    special = SPECIAL[architecture.tokens]
    ids = special_ids(special)
    _write_json(folder / "config.json", architecture.config(layers=layers, quantized=quantized) | ids)
    ends = [special.id_of(token) for token in special.ends]
    _write_json(folder / "generation_config.json", ids | {"eos_token_id": ends if len(ends) > 1 else ends[0]})
    write_tokenizer(special, folder, vocab_size=architecture.facts.vocab_size, longest=architecture.facts.max_position_embeddings)


def _write_weights(
    architecture: Architecture, parameters: list[Parameter], folder: Path, *, quantized: bool, seed: int, device: str | None
) -> None:
    """model.safetensors, or numbered files with an index. Not synced: what a power cut takes can be made again."""
    import torch
    from safetensors.torch import save_file

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(chosen).manual_seed(seed)
    groups = list(_files(parameters, quantized=quantized))
    places: dict[str, str] = {}
    total = 0
    for number, group in enumerate(groups, 1):
        name = "model.safetensors" if len(groups) == 1 else f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        tensors: dict[str, torch.Tensor] = {}
        for parameter in group:
            weight = _draw(parameter, architecture.initializer_range, generator)
            made = _quantize(parameter.name, weight) if quantized and parameter.kind == "linear" else {parameter.name: weight}
            tensors |= {tensor: value.cpu() for tensor, value in made.items()}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
        total += sum(tensor.nbytes for tensor in tensors.values())
    if len(groups) > 1:
        _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})


def _files(parameters: list[Parameter], *, quantized: bool) -> Iterator[list[Parameter]]:
    """The parameters in order, cut where a file would pass FILE_BYTES."""
    group: list[Parameter] = []
    size = 0
    for parameter in parameters:
        more = stored_bytes(parameter, quantized=quantized)
        if group and size + more > FILE_BYTES:
            yield group
            group, size = [], 0
        group.append(parameter)
        size += more
    yield group


def _draw(parameter: Parameter, deviation: float, generator: torch.Generator) -> torch.Tensor:
    """The weight as transformers initializes it, in bfloat16 on the generator's device: norms 1, biases 0, the rest normal."""
    import torch

    tensor = torch.empty(parameter.shape, dtype=torch.bfloat16, device=generator.device)
    if parameter.kind == "norm":
        return tensor.fill_(1.0)
    if parameter.kind == "bias":
        return tensor.zero_()
    return tensor.normal_(std=deviation, generator=generator)


def _quantize(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """The weight in NF4 under the names that bitsandbytes' Linear4bit saves: packed (size / 2, 1) uint8, and its statistics."""
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(weight, blocksize=NF4_BLOCK, compress_statistics=True, quant_type="nf4")
    return {name: packed} | {f"{name}.{part}": value for part, value in state.as_dict(packed=True).items()}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
