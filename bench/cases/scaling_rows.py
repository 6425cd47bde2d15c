"""One epoch against the number of rows: the time must grow with them, and no faster."""

from unsloth_ft.bench.case import Case, Leg, Sweep

CASE = Case(
    what="How does the time of an epoch grow with the number of rows?",
    legs=(Leg(kind="peft-tuned"), Leg(kind="unsloth-plan")),
    warm_up_steps=1,
    repeats=2,
    sweep=Sweep(field="rows", values=(16, 32, 64), gpu_values=(64, 256, 1024)),
)
