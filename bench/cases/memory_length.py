"""Peak memory against the length of the rows, one row at a time, so that it is the length that counts."""

from unsloth_ft.bench.case import Case, Sweep

CASE = Case(
    what="How much memory do longer rows take?",
    effective_batch_size=1,
    warm_up_steps=1,
    steps=2,  # the peak is reached in the first
    repeats=2,
    sweep=Sweep(field="length", values=(128, 256, 512, 1024), gpu_values=(512, 1024, 2048, 4096, 8192, 16384)),
)
