from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unsloth_ft.bench import memory_cap
from unsloth_ft.cards import memory_size
from unsloth_ft.errors import MachineError, UserError
from unsloth_ft.hardware import GIB
from unsloth_ft.train.memory import is_out_of_memory

ROOT = Path(__file__).parents[2]
MEGABYTE = 10**6


def run(code: str, *arguments: object) -> dict:
    """What the code prints as JSON, in a process of its own that may be capped."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


CAPPED = """
import json, os
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from unsloth_ft.bench.memory_cap import cap_device_memory
from unsloth_ft.train.memory import is_out_of_memory
mega = 10**6
there = torch.ones(100 * mega, dtype=torch.uint8)  # before the cap: doesn't count
cap = cap_device_memory(300 * mega)
kept = torch.ones(200 * mega, dtype=torch.uint8)
found = {"device": cap.device, "asked": cap.asked_bytes, "allocatable": cap.allocatable_bytes}
try:
    torch.ones(150 * mega, dtype=torch.uint8)
except RuntimeError as error:
    found |= {"torch": str(error).splitlines()[0], "torch_recognised": is_out_of_memory(error)}
try:
    bytearray(150 * mega)
except MemoryError as error:
    found["python_recognised"] = is_out_of_memory(error)
del kept
found["freed"] = len(torch.ones(250 * mega, dtype=torch.uint8))
print(json.dumps(found))
"""


def test_a_capped_process_meets_the_end_of_memory_as_an_error_and_lives_on():
    found = run(CAPPED)
    assert found["torch"].endswith("DefaultCPUAllocator: can't allocate memory: you tried to allocate 150000000 bytes. Error code 12 "
                                   "(Cannot allocate memory)")  # fmt: skip
    del found["torch"]
    assert found == {
        "device": "cpu",
        "asked": 300 * MEGABYTE,
        "allocatable": 300 * MEGABYTE,
        "torch_recognised": True,
        "python_recognised": True,
        "freed": 250 * MEGABYTE,
    }


TRAINED = """
import json, os, sys
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from unsloth_ft.bench.context import longest
from unsloth_ft.bench.memory_cap import cap_device_memory
from unsloth_ft.train.memory import is_out_of_memory
torch.set_num_threads(1)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=2**20))
cap_device_memory(int(sys.argv[1]))

def fits(tokens):
    ids = torch.zeros((1, tokens), dtype=torch.int64)
    try:
        model(input_ids=ids, labels=ids).loss.backward()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        model.zero_grad(set_to_none=True)
    return True

found = longest(fits, least=256, most=2**16, resolution=256)
print(json.dumps({"longest": found.longest, "failed": found.shortest_failed, "ended": found.ended}))
"""


@pytest.mark.slow
def test_the_longest_row_that_trains_doubles_with_the_memory():
    small, large = (run(TRAINED, megabytes * MEGABYTE) for megabytes in (40, 80))
    assert [small["ended"], large["ended"]] == ["exact", "exact"]
    assert small["failed"] - small["longest"] <= 256
    assert 1.5 * small["longest"] < large["longest"] < 3 * small["longest"]


@pytest.mark.parametrize(("text", "size"), [
    ("24GB", 24 * GIB), ("24 GiB", 24 * GIB), ("8gb", 8 * GIB), ("24564MiB", 24564 * 2**20), ("0.5GB", GIB // 2),
])  # fmt: skip
def test_sizes_are_read_as_cards_are_sold(text: str, size: int):
    assert memory_size(text) == size


def test_a_card_called_24_gb_has_24_gib():
    smi = {"24GB": 24564, "8GB": 8188, "12GB": 12288, "48GB": 49140, "80GB": 81920}  # RTX 4090, 4060, 3060, 6000 Ada, A100; MiB
    for name, mebibytes in smi.items():
        assert memory_size(name) == pytest.approx(mebibytes * 2**20, rel=0.001)
        assert int(name.removesuffix("GB")) * 10**9 < 0.94 * mebibytes * 2**20


@pytest.mark.parametrize("text", ["24", "", "GB", "-1GB", "0GB", "24TB", "24 GB or so"])
def test_a_text_that_is_no_size_is_refused(text: str):
    with pytest.raises(UserError, match=f'memory "{text}"; expected a size like 24GB'):
        memory_size(text)


def test_the_errors_of_every_library_are_recognised_and_no_other():
    ours = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 b"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ]
    others = [
        RuntimeError("CUDA error: device-side assert triggered"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("std::bad_alloc"),
    ]
    assert [is_out_of_memory(error) for error in ours] == [True] * len(ours)
    assert [is_out_of_memory(error) for error in others] == [False] * len(others)


def test_the_context_is_part_of_the_card_that_is_stood_for():
    assert memory_cap._allocatable(24 * GIB, outside=GIB // 2, total=140 * GIB) == 24 * GIB - GIB // 2


def test_a_card_that_is_too_small_is_refused():
    with pytest.raises(MachineError, match=r"24\.0 GiB asked for, and the card has 16\.0"):
        memory_cap._allocatable(24 * GIB, outside=GIB // 2, total=16 * GIB)
    with pytest.raises(MachineError, match=r"0\.25 GiB asked for; the CUDA context alone takes 0\.50"):
        memory_cap._allocatable(GIB // 4, outside=GIB // 2, total=16 * GIB)


def test_a_cap_above_a_limit_that_is_there_is_refused():
    code = """
import json, resource, os
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from unsloth_ft.bench.memory_cap import cap_device_memory
from unsloth_ft.errors import MachineError
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
try:
    cap_device_memory(2**33)
except MachineError as error:
    print(json.dumps({"message": str(error)}))
"""
    assert run(code) == {"message": "memory cap: 8.0 GiB asked for, and this process has a lower limit already (ulimit -d)."}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() and not os.environ.get("UNSLOTH_FT_REQUIRE_GPU"), reason="needs a CUDA GPU")
def test_a_capped_gpu_raises_torch_s_own_error():
    code = """
import json, torch
from unsloth_ft.bench.memory_cap import cap_device_memory
from unsloth_ft.train.memory import is_out_of_memory
gib = 2**30
cap = cap_device_memory(4 * gib)
kept = torch.empty(cap.allocatable_bytes - gib, dtype=torch.uint8, device="cuda")
try:
    torch.empty(gib + 2**26, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError as error:
    print(json.dumps({"recognised": is_out_of_memory(error), "context": cap.asked_bytes - cap.allocatable_bytes}))
"""
    found = run(code)
    assert found["recognised"] is True
    assert 2**26 < found["context"] < 2**31
