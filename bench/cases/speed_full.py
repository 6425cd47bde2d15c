"""Rows that are all as long as the model is trained: nothing to gain by avoiding padding."""

from unsloth_ft.bench.case import Case, Lengths

CASE = Case(
    what="How fast are steps on full rows, without any padding to avoid?",
    lengths=Lengths(median=2048, p95=2048),
    effective_batch_size=8,
)
