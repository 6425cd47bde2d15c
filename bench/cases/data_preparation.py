"""From a JSONL file to ids and labels: our checked way, once more with the rows kept from before, and `datasets` with the template, row by row."""

from unsloth_ft.bench.case import Case, Leg, Sweep

CASE = Case(
    what="How fast do rows of a file become ids and labels?",
    measures="data",
    legs=(Leg(kind="prepare-ours"), Leg(kind="prepare-again"), Leg(kind="prepare-datasets")),
    sweep=Sweep(field="rows", values=(1_000, 10_000, 100_000)),
)
