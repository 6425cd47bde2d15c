"""Data sets of 100 to 100,000 rows, a few steps of each: neither a step nor its memory may grow with the rows that aren't in it."""

from unsloth_ft.bench.case import Case, Leg, Sweep

CASE = Case(
    what="Do time and memory of a step depend on the number of rows in the data set?",
    legs=(Leg(kind="peft-tuned"), Leg(kind="unsloth-plan")),
    warm_up_steps=1,
    steps=4,
    repeats=2,
    sweep=Sweep(field="rows", values=(100, 1_000, 10_000, 100_000)),
)
