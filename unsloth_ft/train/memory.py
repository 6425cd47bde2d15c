"""How much memory a training took, and what to do when it was too much."""

from __future__ import annotations

import errno
import re
import resource
import sys
from pathlib import Path

from unsloth_ft.hardware import GIB
from unsloth_ft.plan import Plan
from unsloth_ft.plan_memory import next_tries

# Each is how a library says it: CUDA and Triton; torch's CPU allocator; C++; cuBLAS's and cuDNN's handles, allocated on first use.
SAID = ("out of memory", "DefaultCPUAllocator: can't allocate memory", "std::bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC")
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(plan: Plan) -> None:
    """Forgets the peak so far, so that converting or quantizing the base doesn't count as training."""
    if plan.device.value == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        forget_peak_host()


def peak_memory_bytes(plan: Plan) -> int:
    """The peak since `reset_peak`: memory reserved on the GPU, or without one this process's resident memory, libraries and all.

    VmHWM and not ru_maxrss, which a process inherits from the one that started it.
    """
    if plan.device.value == "cuda":
        import torch

        return torch.cuda.max_memory_reserved()
    peak = process_bytes("VmHWM")
    if peak is not None:
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_allocated_bytes(plan: Plan) -> int:
    """As `peak_memory_bytes`, but on a GPU what tensors took of it, without what the allocator kept for later."""
    if plan.device.value == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return peak_memory_bytes(plan)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, on the GPU or the CPU."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in SAID)


def free() -> None:
    """Gives the device's cached memory back, so that what is asked for next can have all of it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def forget_peak_host() -> None:
    """VmHWM counts from now on; where a container forbids that, it stays the process's."""
    if CLEAR_REFS.exists():
        CLEAR_REFS.write_text("5")  # proc(5)


def process_bytes(key: str) -> int | None:
    """What /proc says of this process: VmRSS (resident now), VmHWM (its peak), VmData, …; None where there is no such line."""
    found = re.search(rf"^{key}:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"), re.MULTILINE) if STATUS.exists() else None
    return int(found.group(1)) * 1024 if found else None


def shortened(said: str) -> str:
    """What a library said, in a line."""
    return said.splitlines()[0][:160]


def out_of_memory(plan: Plan, message: str, *, doing: str = "while training") -> str:
    """What a user should read when memory ran out: what to try next, by the memory table, each with its estimated peak."""
    begun = f"out of memory {doing} ({shortened(message)})."
    if plan.fitting is None:
        return f"{begun} Less memory: --set max_seq_length={max(64, plan.max_seq_length.value // 2)}."
    rows = plan.per_device_train_batch_size.value * plan.gradient_accumulation_steps.value
    tries = "\n".join(f"  {flags}: about {size / GIB:.1f} GiB" for flags, size in next_tries(plan.fitting.work, rows))
    return f"{begun} The plan expected {plan.fitting.estimate.peak.bytes / GIB:.1f} GiB. To try next:\n{tries}"
