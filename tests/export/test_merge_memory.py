"""The memory of a merge is that of a block of rows, whatever the size of a tensor or of the model; and it is known before."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unsloth_ft.export.merge_memory import merge_peak_bytes
from unsloth_ft.export.shards import as_bytes, encode_header

MEASURE = """
import sys
from pathlib import Path
from unsloth_ft.export.merged import merge

def kib(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

small, big, out = map(Path, sys.argv[1:])
merge(small / "base", small / "adapter", out / "small")
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = kib("VmRSS")
merge(big / "base", big / "adapter", out / "big")
print(kib("VmHWM") - before)
"""
EMBEDDING = "model.embed_tokens"
HIDDEN = 2048


def synthetic(folder: Path, *, rows: int, layers: int, hidden: int = HIDDEN) -> Path:
    """A base with an embedding of `rows`, and `layers` square matrices; an adapter with DoRA and LoRA on all of them, and a saved norm."""
    (folder / "base").mkdir(parents=True)
    (folder / "adapter").mkdir()
    shapes = {f"{EMBEDDING}.weight": (rows, hidden)} | {f"layers.{number}.q_proj.weight": (hidden, hidden) for number in range(layers)}
    generator = torch.Generator().manual_seed(0)
    with (folder / "base" / "model.safetensors").open("wb") as stream:
        stream.write(encode_header((name, "BF16", shape) for name, shape in shapes.items()))
        for shape in shapes.values():
            for begin in range(0, shape[0], 1024):
                block = torch.randn((min(1024, shape[0] - begin), hidden), generator=generator)
                stream.write(as_bytes(block.to(torch.bfloat16)))
    (folder / "base" / "config.json").write_text('{"torch_dtype": "bfloat16"}')
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "use_dora": True}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    tensors = {f"{EMBEDDING}.lora_embedding_A": torch.ones(2, rows), f"{EMBEDDING}.lora_embedding_B": torch.ones(hidden, 2)}
    tensors[f"{EMBEDDING}.lora_magnitude_vector"] = torch.ones(hidden)
    for module in (name.removesuffix(".weight") for name in shapes if name.startswith("layers")):
        tensors |= {f"{module}.lora_A.weight": torch.ones(2, hidden), f"{module}.lora_B.weight": torch.ones(hidden, 2)}
        tensors[f"{module}.lora_magnitude_vector"] = torch.ones(hidden)
    save_file({f"base_model.model.{name}": tensor for name, tensor in tensors.items()}, folder / "adapter" / "adapter_model.safetensors")
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured with Linux's /proc")
def test_the_peak_is_that_of_a_block_not_of_a_tensor_or_the_model_and_stays_below_the_estimate(tmp_path):
    small = synthetic(tmp_path / "small", rows=256, layers=2, hidden=64)
    peaks = {}
    for name, rows, layers in (("middle", 8_000, 4), ("wide", 48_000, 4), ("deep", 8_000, 24)):
        big = synthetic(tmp_path / name, rows=rows, layers=layers)
        command = [sys.executable, "-c", MEASURE, small, big, tmp_path / "out" / name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks[name] = int(done.stdout) * 1024
        assert peaks[name] < merge_peak_bytes(big / "base", big / "adapter")
        shutil.rmtree(tmp_path / "out")
        shutil.rmtree(big)
    # The wide embedding has 197 MB as it is stored, and 786 MB with its float32 copy and the result.
    assert max(peaks.values()) < 128e6
    assert max(peaks.values()) - min(peaks.values()) < 32e6


def test_the_estimate_counts_what_is_held_and_not_what_stays_in_the_file(tmp_path):
    folder = synthetic(tmp_path / "small", rows=300, layers=1, hidden=64)
    without = merge_peak_bytes(folder / "base", None)
    held = 4 * (2 * (300 + 64) + 64 + 2 * (64 + 64) + 64)  # pairs and magnitudes in float32
    assert merge_peak_bytes(folder / "base", folder / "adapter") == without + held
    adapter = folder / "adapter"
    (adapter / "tokenizer.json").write_text("x" * 1000)
    assert merge_peak_bytes(folder / "base", adapter) == without + held + 24_000
