"""Rows as a FAQ has them: short, ragged, in random order."""

from unsloth_ft.bench.case import Case

CASE = Case(
    what="How fast are steps on short, ragged rows in random order?",
    without_gpu={"warm_up_steps": 1, "steps": 4},  # 6,600 tokens: 50 to 90 s a turn on two cores
)
