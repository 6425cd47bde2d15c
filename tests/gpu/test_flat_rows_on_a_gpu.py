"""On a GPU: rows laid end to end give the padded batch's loss and gradients, and torch's variable-length attention keeps them apart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unsloth_ft.kernels import attention_cuda

ROOT = Path(__file__).parents[2]
REQUIRED = os.environ.get("UNSLOTH_FT_REQUIRE_GPU") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not REQUIRED and shutil.which("nvidia-smi") is None, reason="needs a CUDA GPU"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M's shapes with random weights."""
    from unsloth_ft.bench.synth import synthesize

    return synthesize("smollm2-135m", tmp_path_factory.mktemp("synth") / "smollm2", layers=4)


@pytest.mark.parametrize("backend", ["peft", "unsloth"])
def test_rows_end_to_end_give_the_padded_batch_s_loss_and_gradients(small: Path, backend: str, tmp_path: Path):
    """In bfloat16, where two ways to compute the same part by up to 5 % of a weight's largest gradient on a CPU."""
    command = [sys.executable, str(ROOT / "tests/backends/flat_rows.py"), backend, str(small), str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["device"] == "cuda"
    assert seen["weights"] == 56
    assert seen["losses"]["flat"] == pytest.approx(seen["losses"]["padded"], rel=2e-3)
    assert seen["off"]["flat"] < 0.15
    assert seen["off"]["borderless"] > 1


@pytest.mark.parametrize("window", [None, 64])
@pytest.mark.parametrize("kv_heads", [3, 9])
def test_variable_length_attention_is_each_row_s_own(kv_heads: int, window: int | None):
    """bfloat16 against float32 row by row; SM 8.0 and later take torch's FlashAttention."""
    generator = torch.Generator("cuda").manual_seed(0)
    borders = torch.tensor([0, 5, 6, 300, 421], device="cuda", dtype=torch.int32)
    shapes = [(421, heads, 64) for heads in (9, kv_heads, kv_heads)]
    exact = [torch.randn(shape, generator=generator, device="cuda").requires_grad_() for shape in shapes]
    rounded = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    assert attention_cuda.has_varlen(rounded[0]) == (torch.cuda.get_device_capability() >= (8, 0))
    results = []
    for inputs in (exact, rounded):
        out = attention_cuda.attend(*inputs, cu_seq_lens=borders, max_length=294, scaling=0.125, window=window)
        results.append([out, *torch.autograd.grad(out.float().square().sum(), inputs)])
    for one, other in zip(*results):
        torch.testing.assert_close(other.float(), one.float(), atol=0.05 * one.abs().max().item(), rtol=0)
