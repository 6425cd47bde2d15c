"""The longest row that trains. With --memory-cap 8GB and so on it is the table by cards."""

from unsloth_ft.bench.case import Case

CASE = Case(
    what="How long may a row be before memory runs out?",
    measures="context",
    effective_batch_size=1,
    r=32,  # as in Unsloth's published table of context lengths
    warm_up_steps=1,
    steps=1,
    repeats=1,  # a search has tried its answer, and one above it that failed
)
