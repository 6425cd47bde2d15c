"""The same rows, those of like length together: what a trainer with length grouping sees."""

from unsloth_ft.bench.case import Case

CASE = Case(
    what="How fast are steps on short rows grouped by length?",
    order="grouped",
    without_gpu={"warm_up_steps": 1, "steps": 4},  # as speed-faq
)
