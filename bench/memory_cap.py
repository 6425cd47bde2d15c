"""A smaller card, or less memory, than the machine has: a cap that this process's training meets as it would meet the real end."""

from __future__ import annotations

from dataclasses import dataclass

from unsloth_ft.errors import MachineError
from unsloth_ft.hardware import GIB, MIB
from unsloth_ft.train.memory import process_bytes

# A CUDA context with its libraries has 0.3 to 0.6 GiB. More than this is somebody else's, and the cap would be smaller than asked for.
MOST_OUTSIDE_BYTES = 2 * GIB
CONTEXT_BYTES = 600 * MIB  # the upper end of that


@dataclass(frozen=True)
class Cap:
    """What was set. `allocatable_bytes` is what the training's tensors may take; the rest of `asked_bytes` is taken by the CUDA context."""

    device: str
    asked_bytes: int
    allocatable_bytes: int


def cap_device_memory(asked_bytes: int, *, alone: bool = True) -> Cap:
    """Lets this process have no more, from now on and for good; to be called before the model is loaded.

    On a GPU (the current one): all that the process holds there, its CUDA context among it. torch's allocator gets what the context leaves,
    and raises torch.OutOfMemoryError beyond it. Memory that is allocated past torch's allocator afterwards (bitsandbytes' paged optimizer
    states) doesn't count. Without one: what it allocates beyond what it has now (RLIMIT_DATA: private writable memory, which a checkpoint
    that is mapped is too); beyond it torch raises "DefaultCPUAllocator: can't allocate memory".
    `alone`: no other process is on the card, so what is used outside of torch's allocator is this one's context; else CONTEXT_BYTES.
    Raises MachineError where the machine has less, where others use the card, or where the system can't limit a process.
    """
    import torch

    return _cap_gpu(asked_bytes, alone=alone) if torch.cuda.is_available() else _cap_cpu(asked_bytes)


def _cap_gpu(asked_bytes: int, *, alone: bool) -> Cap:
    import torch

    torch.zeros(1, device="cuda")  # makes the context, which is in what is used then
    free, total = torch.cuda.mem_get_info()
    outside = total - free - torch.cuda.memory_reserved() if alone else CONTEXT_BYTES
    if outside > MOST_OUTSIDE_BYTES:
        raise MachineError(
            f"memory cap: {outside / GIB:.1f} GiB of the card are in use outside of this process's tensors; a context takes under "
            f"{MOST_OUTSIDE_BYTES / GIB:.0f} GiB, so others use the card. End them first."
        )
    allocatable = _allocatable(asked_bytes, outside=outside, total=total)
    # Of total_memory: https://docs.pytorch.org/docs/stable/generated/torch.cuda.memory.set_per_process_memory_fraction.html
    whole = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.set_per_process_memory_fraction(allocatable / whole)
    return Cap("cuda", asked_bytes, allocatable)


def _allocatable(asked_bytes: int, *, outside: int, total: int) -> int:
    """What a card of the size asked for leaves to tensors. Raises MachineError when this card is smaller, or its context is larger."""
    if asked_bytes > total:
        raise MachineError(f"memory cap: {asked_bytes / GIB:.1f} GiB asked for, and the card has {total / GIB:.1f}. Ask for less.")
    if asked_bytes <= outside:
        raise MachineError(
            f"memory cap: {asked_bytes / GIB:.2f} GiB asked for; the CUDA context alone takes {outside / GIB:.2f}. Ask for more."
        )
    return asked_bytes - outside


def _cap_cpu(asked_bytes: int) -> Cap:
    there = process_bytes("VmData")
    if there is None:
        raise MachineError("memory cap: this system doesn't say what a process has (/proc/self/status), so none can be set. Leave it out.")
    import resource

    limit = there + asked_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard not in (resource.RLIM_INFINITY, -1) and limit > hard:
        raise MachineError(f"memory cap: {asked_bytes / GIB:.1f} GiB asked for, and this process has a lower limit already (ulimit -d).")
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return Cap("cpu", asked_bytes, asked_bytes)
