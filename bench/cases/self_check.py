"""The bench held against itself: equal legs must come out equal, and unequal work must be seen."""

from unsloth_ft.bench.case import Case, Leg

CASE = Case(
    what="Does the bench see no difference where there is none, and refuse legs that did other work?",
    legs=(
        Leg(kind="peft-tuned", name="one"),
        Leg(kind="peft-tuned", name="same-again"),
        Leg(kind="peft-tuned", name="other-seed", seed=1),
        Leg(kind="peft-tuned", name="other-rows", rows_seed=1),
    ),
    effective_batch_size=4,
    steps=5,
)
