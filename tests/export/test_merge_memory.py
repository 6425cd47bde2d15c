"""The memory of a merge is that of a block of rows, whatever the model's size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

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


def synthetic(folder: Path, *, width: int, count: int) -> Path:
    """A base of `count` square matrices in one file, and an adapter for each."""
    (folder / "base").mkdir(parents=True)
    (folder / "adapter").mkdir()
    (folder / "base" / "config.json").write_text('{"torch_dtype": "bfloat16"}')
    (folder / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    one = torch.full((width, width), 0.5, dtype=torch.bfloat16)
    save_file({f"layers.{number}.q_proj.weight": one.clone() for number in range(count)}, folder / "base" / "model.safetensors")
    pairs = {
        f"base_model.model.layers.{number}.q_proj.lora_{side}.weight": torch.ones(shape)
        for number in range(count)
        for side, shape in (("A", (2, width)), ("B", (width, 2)))
    }
    save_file(pairs, folder / "adapter" / "adapter_model.safetensors")
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured with Linux's /proc")
def test_memory_is_that_of_a_tensor_not_of_the_model(tmp_path):
    small, big = synthetic(tmp_path / "small", width=64, count=2), synthetic(tmp_path / "big", width=2048, count=36)
    assert (big / "base" / "model.safetensors").stat().st_size > 300e6
    done = subprocess.run([sys.executable, "-c", MEASURE, small, big, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # the weight, the merged one and a comparison of both, in float32 at most: 5 times 16.8 MB, and what the adapters take
    assert int(done.stdout) * 1024 < 1.5 * 5 * 4 * 2048**2
