"""The memory of writing a GGUF file is that of some rows and the vocabulary, whatever the model's size.

A whole model of 1B: bench/export_memory.py.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from tests import families
from tests.family_tokenizers import write_json

MEASURE = """
import sys
from pathlib import Path
from unsloth_ft.export.gguf import write_gguf

def kib(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

small, big, out = map(Path, sys.argv[1:4])
write_gguf(small, out / "small.gguf", quantization=sys.argv[4])
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = kib("VmRSS")
write_gguf(big, out / "big.gguf", quantization=sys.argv[4])
print(kib("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def big(family_dir, tmp_path_factory):
    """SmolLM2's tokenizer on a model of 113 million weights, 227 MB; the embedding alone is 100 MB, 200 MB in float32."""
    folder = tmp_path_factory.mktemp("big") / "model"
    folder.mkdir()
    for file in family_dir("smollm2").iterdir():
        if file.name != "model.safetensors":
            (folder / file.name).symlink_to(file)
    shape = dataclasses.replace(families.SHAPES["smollm2"], hidden_size=1024, intermediate_size=4096, layers=4, head_dim=128)
    (folder / "config.json").unlink()
    write_json(folder / "config.json", families.config_of(shape))
    families.write_weights(shape, folder, seed=0)
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured with Linux's /proc")
@pytest.mark.parametrize("quantization", ["f16", "q8_0"])
def test_memory_does_not_grow_with_the_model(quantization, big, family_dir, tmp_path):
    assert (big / "model.safetensors").stat().st_size > 220e6
    program = [sys.executable, "-c", MEASURE, family_dir("smollm2"), big, tmp_path, quantization]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # 16 MB of float32 at a time, a few such beside it while quantizing, and the vocabulary; holding the embedding would take 200 MB
    assert int(done.stdout) * 1024 < 120e6
