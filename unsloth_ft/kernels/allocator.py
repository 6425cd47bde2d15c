"""glibc's allocator, told to use large pages. No torch.

mallopt's thresholds, with which freed blocks stay with the process, were tried besides: a third fewer page faults, no faster step and no
other peak (407 to 441 tokens/s without, 427 to 437 with them; SmolLM2-135M, three interleaved pairs).
"""

from __future__ import annotations

# Pages of 2 MiB where the kernel leaves that to the program ("madvise", as most distributions do): fewer page faults and look-ups. Two
# interleaved pairs of runs on two cores, SmolLM2-135M: 304 and 305 tokens/s without, 338 and 336 with it, the same memory. glibc (2.35 on)
# reads it when a process begins; others ignore it.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
