"""Does an export say what was trained? Greedy answers, token ids and probabilities, compared."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unsloth_ft.errors import GateError, UserError

if TYPE_CHECKING:
    from unsloth_ft.export.llamacpp import Completion

QUESTIONS = 8  # held-out questions that every export answers
LIKELIEST = 64  # tokens whose probabilities are kept of each step; the others count as one

Step = Mapping[int, float]
"""The likeliest next tokens of one step: id -> natural-log probability."""


@dataclass(frozen=True)
class Limits:
    """What still counts as the same model.

    `agreement`: least share of the answers' tokens up to the first difference that is no near-tie; a broken export falls at the first
    token. `near_tie_nats`: a difference is a near-tie when the merged model itself prefers its own token by no more than that.
    `divergence_nats`: largest Kullback-Leibler divergence a token, mean over every token of the merged model's answers and their ends.
    """

    agreement: float
    near_tie_nats: float
    divergence_nats: float


# What was measured, in nats a token against the merged model: SmolLM2-135M tuned twice (the smallest real model here; the narrower a
# model, the less its rounding averages out), and a random family of the tests, 256 wide, as flat in its probabilities as a language model.
#   f32, f16 0.0000 (family); bf16 0.0014; q8_0 0.005 (0.003); q6_k 0.012 (0.02); q5_k_m 0.18 (0.05); q4_k_m 0.07 (0.14);
#   q4_0 0.34 (0.18); q3_k_m 0.18 (0.44); q2_k 0.51 (1.7).
# Wrong files: the base's 1.3; random families 64 wide, whose logits deviate by 8, 1.4 to 4.3, and 5.9 to 9.5 with two tensors exchanged.
# The limit of q2_k can't tell the base's from rounding; there the tensors' own comparison does. A merge rounds each weight to 16 bits once.
LIMITS = {
    "merged": Limits(0.85, 0.5, 0.05),
    "f32": Limits(0.9, 0.02, 0.005),
    "f16": Limits(0.9, 0.1, 0.01),
    "bf16": Limits(0.9, 0.5, 0.05),
    "q8_0": Limits(0.8, 1.5, 0.1),
    "q6_k": Limits(0.8, 1.5, 0.1),
    **{name: Limits(0.6, 2.0, 0.5) for name in ("q5_k_m", "q5_k_s", "q5_1", "q5_0")},
    **{name: Limits(0.5, 3.0, 0.7) for name in ("q4_k_m", "q4_k_s", "q4_1")},
    **{name: Limits(0.3, 5.0, 1.0) for name in ("q4_0", "q3_k_l", "q3_k_m", "q3_k_s")},
    "q2_k": Limits(0.1, 8.0, 2.0),
}
SAME_ROUNDING = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Reference:
    """A greedy answer as ids without the end token, and natural-log probabilities of the likeliest tokens at each of its steps.

    `likeliest` has one step more than the answer: the last one is that of the end.
    """

    ids: tuple[int, ...]
    likeliest: tuple[Step, ...]

    def gap(self, step: int, choices: Sequence[int]) -> float:
        """By how many nats the likeliest token of this step is likelier than the best of the choices; infinite when none is kept."""
        if step >= len(self.likeliest):
            return math.inf
        known = self.likeliest[step]
        return max(known.values()) - max((known[index] for index in choices if index in known), default=-math.inf)


def check(name: str, ok: bool, found: str, expected: str) -> dict[str, Any]:
    """One line of an export's table."""
    return {"name": name, "ok": bool(ok), "found": found, "expected": expected}


def holds(name: str, expected: str, measure: Callable[[], str]) -> dict[str, Any]:
    """The line of a measurement that says what it found. One that raises GateError or UserError did not hold; its message was found."""
    try:
        return check(name, True, measure(), expected)
    except (GateError, UserError) as error:
        return check(name, False, str(error), expected)


def agreement(one: Sequence[int], other: Sequence[int]) -> float:
    """Length of the common beginning over the longer one's length; 1 for two empty answers."""
    longest = max(len(one), len(other))
    return len(os.path.commonprefix([list(one), list(other)])) / longest if longest else 1.0


def near_tie(reference: Reference, other: Sequence[int], *, end_ids: Sequence[int], nats: float) -> bool:
    """Whether the answers part at a step where the reference itself nearly chose the other's token (or its end)."""
    step = len(os.path.commonprefix([list(reference.ids), list(other)]))
    return reference.gap(step, [other[step]] if step < len(other) else end_ids) <= nats


def limits(quantization: str, dtype: str) -> Limits:
    """The limits for a GGUF compared with answers that were computed in `dtype`: the coarser of the two counts."""
    file, reference = LIMITS[quantization], LIMITS[SAME_ROUNDING[dtype]]
    return Limits(
        min(file.agreement, reference.agreement),
        max(file.near_tie_nats, reference.near_tie_nats),
        max(file.divergence_nats, reference.divergence_nats),
    )


def agree(
    name: str, found: Sequence[Sequence[int]], expected: Sequence[Reference], limit: Limits, *, end_ids: Sequence[int]
) -> dict[str, Any]:
    """Whether `found` are the reference's greedy answers, but for near-ties."""
    least, nats = limit.agreement, limit.near_tie_nats
    shares = [agreement(ids, reference.ids) for ids, reference in zip(found, expected, strict=True)]
    ties = [share < 1.0 and near_tie(reference, ids, end_ids=end_ids, nats=nats) for share, ids, reference in zip(shares, found, expected)]
    mean = sum(1.0 if tie else share for share, tie in zip(shares, ties)) / len(shares)
    said = f"{shares.count(1.0)} of {len(shares)} answers equal"
    if any(ties):
        said += f", {sum(ties)} part at a near-tie"
    return check(
        name,
        mean >= least,
        f"{said}, {mean:.1%} of the tokens agree",
        f"at least {least:.0%} of the tokens, near-ties (up to {nats:g} nats) aside",
    )


def divergence(reference: Step, other: Step) -> float:
    """Kullback-Leibler divergence in nats of two next-token distributions, each known by its likeliest tokens (id -> log-probability).

    What is not among the reference's tokens counts as one; a token that the other side doesn't list gets the least it lists. So it
    is never more than the true divergence, but for what rounding does to the rest. A probability that is NaN on either side makes it
    infinite.
    """
    if any(math.isnan(value) for value in (*reference.values(), *other.values())):
        return math.inf
    floor = min(other.values())
    pairs = [(math.exp(value), other.get(index, floor)) for index, value in reference.items()]
    rest = max(1.0 - sum(share for share, _ in pairs), 0.0)
    other_rest = max(1.0 - sum(math.exp(value) for _, value in pairs), 1e-9)
    total = sum(share * (reference_value - value) for (share, value), reference_value in zip(pairs, reference.values()))
    return max(0.0, total + (rest * math.log(rest / other_rest) if rest > 1e-9 else 0.0))


def probabilities(name: str, found: Sequence[Sequence[Step]], expected: Sequence[Sequence[Step]], limit_nats: float) -> dict[str, Any]:
    """Whether both sides give each token of the same answers nearly the same probability: the mean divergence a token against its limit."""
    pairs = [pair for steps, others in zip(expected, found, strict=True) for pair in zip(steps, others, strict=True)]
    nats = [divergence(step, other) for step, other in pairs]
    mean = sum(nats) / len(nats)
    said = f"KL divergence {mean:.2g} nats a token, {max(nats):.2g} at most, over {len(nats)} tokens"
    return check(name, mean <= limit_nats, said, f"at most {limit_nats:g} nats a token")


def stops(answers: Sequence[Completion], merged: Sequence[Reference], max_new_tokens: int) -> dict[str, Any]:
    """Whether llama.cpp ends the answers that the merged model ends: each equal one, and of all at least half as many.

    Answers that parted at a near-tie may end elsewhere; a file that never stops is told by their number.
    """
    ending = [len(reference.ids) < max_new_tokens for reference in merged]
    equal = [answer.stopped for answer, reference, ends in zip(answers, merged, ending) if ends and answer.ids == reference.ids]
    stopped, least = sum(answer.stopped for answer in answers), sum(ending) // 2
    return check(
        "answers stop in llama.cpp",
        all(equal) and stopped >= least,
        f"{stopped} of {len(answers)}",
        f"the {len(equal)} equal ones that stop in the merged model, and {least} in all",
    )
