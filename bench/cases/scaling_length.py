"""Tokens a second against the length of the rows: where attention begins to cost."""

from unsloth_ft.bench.case import Case, Leg, Sweep

CASE = Case(
    what="How does the speed change with the length of the rows?",
    legs=(Leg(kind="peft-tuned"), Leg(kind="unsloth-plan")),
    effective_batch_size=2,
    warm_up_steps=1,
    steps=3,
    sweep=Sweep(field="length", values=(128, 256, 512, 1024), gpu_values=(512, 1024, 2048, 4096, 8192)),
)
