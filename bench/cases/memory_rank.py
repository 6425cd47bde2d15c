"""Peak memory against the adapter's rank: weights, gradients and optimizer states grow with it, nothing else."""

from unsloth_ft.bench.case import Case, Leg, Lengths, Sweep

CASE = Case(
    what="How much memory does a higher rank take?",
    legs=(Leg(kind="peft-tuned"), Leg(kind="unsloth-plan")),
    lengths=Lengths(median=256, p95=256),
    effective_batch_size=1,
    warm_up_steps=1,
    steps=2,  # the optimizer's states are there after the first
    repeats=2,
    sweep=Sweep(field="r", values=(8, 32, 128), gpu_values=(8, 16, 32, 64, 128, 256)),
)
