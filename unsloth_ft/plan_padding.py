"""Whether rows are laid end to end or padded: by what the backend's kernels do with either. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from unsloth_ft import pace
from unsloth_ft.hardware import Gpu
from unsloth_ft.model_facts import ModelFacts
from unsloth_ft.order import by_length

OPERATIONS = 4  # a weight and token: a frozen one, forward and for the gradient of its input
UNKNOWN_TERAFLOPS = 100.0  # of a card whose vendor doesn't say: about an RTX 4080's
WORTHWHILE = 1.1  # times as many tokens as without padding, at least; the uncompiled blocks are slower than the compiled ones besides
# On an H100 four steps of 8 FAQ rows of an 8B model took 1.82 s end to end whatever their sizes, and padded 1.02 s although 57 % of those was
# padding (bench/results/2026-11-26-layouts-h100.json).
COMPILED = "Unsloth compiles its blocks for padded batches alone; rows of like length share a step"


def with_unsloth(lengths: Sequence[int], *, batch_size: int, seed: int, model: ModelFacts, gpu: Gpu) -> tuple[bool, str]:
    """(rows end to end, why) with Unsloth on this card. `lengths` of the rows that are trained; none: all are of one length."""
    if not lengths:
        return False, COMPILED
    padded = padded_tokens(lengths, batch_size=batch_size, seed=seed)
    share = 1 - sum(lengths) / padded
    steps = -(-len(lengths) // batch_size)
    if padded / steps > WORTHWHILE * max(started_tokens(model, gpu), sum(lengths) / steps):
        return True, f"{share:.0%} of padded steps of like lengths would be padding; attention stays within each row"
    return False, f"{COMPILED}, {share:.0%} of it padding"


def padded_tokens(lengths: Sequence[int], *, batch_size: int, seed: int) -> int:
    """Tokens that an epoch computes with steps of like lengths, each padded to its longest row."""
    order = by_length(lengths, batch_size=batch_size, seed=seed, epoch=0)
    steps = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    return sum(len(step) * max(lengths[index] for index in step) for step in steps)


def started_tokens(model: ModelFacts, gpu: Gpu) -> float:
    """How many tokens a compiled pass computes while an uncompiled one is started."""
    rate = pace.operations_a_second(gpu) or pace.REACHED * UNKNOWN_TERAFLOPS * 1e12
    started = pace.started_seconds("unsloth", padding_free=True)
    return model.num_hidden_layers * started * rate / (OPERATIONS * model.parameters)
