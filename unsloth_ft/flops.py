"""Operations that a training step needs at least.

A multiplication and an addition are two operations. For each real token, forward and backward:

    linear layers, frozen      4 × weights          forward, and the gradient of the input
    linear layers, trained     6 × weights          and the gradient of the weights
    adapters                   6 × r × (in + out)   both factors, all trained
    head, at learned tokens    4 × hidden × vocab   6 × when it is trained
    attention, a row of n      6 × n² × width       causal: half of QK' and PV, forward once and backward twice; per layer

Padding, recomputation by checkpointing and dequantization don't count: they are the trainer's own expense. `width` is heads × head size.
The formula counts as PaLM's model-FLOPs utilisation does (arXiv 2204.02311, appendix B), with frozen weights taken into account.
"""

from __future__ import annotations

from collections.abc import Iterable

from unsloth_ft.model_facts import ModelFacts

FROZEN, TRAINED = 4, 6


def model_flops(
    model: ModelFacts, rows: Iterable[tuple[int, int]], *, r: int, target_modules: Iterable[str], full: bool = False
) -> float:
    """Operations for these rows, once each. `rows`: (tokens, learned tokens). `full`: all weights are trained, and there is no adapter."""
    adapter = 0 if full else model.lora_parameters(r, target_modules)
    factor = TRAINED if full else FROZEN
    a_token = factor * model.linear_parameters + TRAINED * adapter
    a_learned = factor * model.hidden_size * model.vocab_size
    a_pair = 6 * model.query_width * model.num_hidden_layers
    return float(sum(a_token * tokens + a_learned * learned + a_pair * tokens**2 for tokens, learned in rows))
