"""Steps of 1 to 32 equal rows: the time must grow with the tokens, and no faster."""

from unsloth_ft.bench.case import Case, Leg, Lengths, Sweep

CASE = Case(
    what="How does the time of a step grow with its tokens?",
    legs=(Leg(kind="peft-tuned"), Leg(kind="unsloth-plan")),
    lengths=Lengths(median=108, p95=108),  # the median of speed-faq
    warm_up_steps=1,
    steps=3,
    repeats=2,
    sweep=Sweep(field="batch", values=(1, 2, 4, 8, 16, 32), gpu_values=(8, 16, 32, 64, 128)),
)
