"""One epoch against the number of rows: the time must grow with them, and no faster."""

from unsloth_ft.bench.case import FOUR_LEGS, Case, Leg, Sweep

CASE = Case(
    what="How does the time of an epoch grow with the number of rows?",
    legs=tuple(Leg(kind=kind) for kind in FOUR_LEGS if kind in ("peft-tuned", "unsloth-plan")),
    warm_up_steps=1,
    repeats=2,
    sweep=Sweep(field="rows", values=(16, 32, 64), gpu_values=(64, 256, 1024)),
)
