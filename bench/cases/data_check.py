"""A file is checked before anything is paid for, beside `datasets`, which reads it and says nothing of what is in it."""

from unsloth_ft.bench.case import Case, Leg, Lengths, Sweep

CASE = Case(
    what="How fast is a file checked, and does time grow with its rows while memory doesn't?",
    measures="data",
    legs=(Leg(kind="check-ours"), Leg(kind="check-datasets")),
    lengths=Lengths(median=72, p95=193),  # rows of 500 bytes in the mean
    sweep=Sweep(field="rows", values=(10_000, 100_000, 1_000_000)),
)
