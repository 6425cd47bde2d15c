"""Rows that are all as long as the model is trained: nothing to gain by avoiding padding."""

from unsloth_ft.bench.case import Case, Lengths

CASE = Case(
    what="How fast are steps on full rows, without any padding to avoid?",
    lengths=Lengths(median=2048, p95=2048),
    effective_batch_size=8,
    # 16,384 tokens a step are three minutes of two cores; at 512 the attention's share of SmolLM2's work is small, and equal for all.
    without_gpu={"lengths": Lengths(median=512, p95=512), "effective_batch_size": 4, "warm_up_steps": 1, "steps": 3},
)
