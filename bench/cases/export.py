"""The base with a random adapter merged, and the base as GGUF files, as `unsloth-ft export` writes and reads them back."""

from unsloth_ft.bench.case import EXPORT_KINDS, Case, Leg

CASE = Case(
    what="How long does an export take, and how much memory?",
    measures="export",
    legs=tuple(Leg(kind=kind) for kind in EXPORT_KINDS),
)
