"""Commands that train nothing, from Enter to the prompt."""

from unsloth_ft.bench.case import STARTUP_KINDS, Case, Leg

CASE = Case(
    what="How long until the command line answers?",
    measures="startup",
    legs=tuple(Leg(kind=kind) for kind in STARTUP_KINDS),
    steps=5,  # times that a command is started in each repeat
    warm_up_steps=1,
)
