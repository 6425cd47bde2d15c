"""What the allocator keeps, seen from outside: page faults of a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import resource, sys
from unsloth_ft.kernels.allocator import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("mallopt refused")
def allocate():
    return [bytearray(8 * 2**20) for _ in range(8)]
for _ in range(3):
    allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_is_freed_is_used_again_without_a_page_fault():
    faults = {
        way: int(subprocess.run([sys.executable, "-c", PROGRAM, way], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for way in ("usual", "kept")
    }
    assert faults["usual"] > 3 * 8 * 2048 / 4  # pages of 4 KiB, 8 blocks of 8 MiB three times; a quarter of them is proof enough
    assert faults["kept"] < 100
