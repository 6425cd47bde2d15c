"""What a run takes of memory at the peak of each of its phases, part by part, before anything is loaded. No torch.

Weights, adapter, gradients and optimizer are counted; what a step holds besides them is measured (`memory_fit`): so many bytes for each
token, layer and unit of width. Every part grows, or stays, with rank, length, rows, layers and width.
"""

from __future__ import annotations

from dataclasses import replace

from unsloth_ft.hardware import MIB
from unsloth_ft.memory_correction import corrected
from unsloth_ft.memory_fit import Fit, first_layers, fit_for
from unsloth_ft.memory_values import ANSWERS, CONTEXT, EVALUATION, FRAGMENTS, TRAINING, Batch, Estimate, Part, Phase, Work

VALUE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
ADAPTER_BYTES = 4  # adapters are float32, and so are their gradients
NF4_BYTES = 0.5  # a weight; the statistics besides
NF4_STATE_BYTES = 0.127 / 8  # a weight, with double quantization (arXiv 2305.14314, section 3)
# Bytes a trained weight that an optimizer remembers, by transformers' name. AdamW has two moments; 8-bit states are a quarter of float32.
OPTIMIZER_BYTES = {
    "adamw_torch": 8,
    "adamw_torch_fused": 8,
    "adamw_8bit": 2,
    "adamw_bnb_8bit": 2,
    "paged_adamw_8bit": 2,
    "paged_adamw_32bit": 8,
    "paged_adamw": 8,
    "lion_8bit": 1,
    "lion_32bit": 4,
    "paged_lion_8bit": 1,
    "paged_lion_32bit": 4,
    "sgd": 0,
}
UNKNOWN_OPTIMIZER_BYTES = 8  # as AdamW: most remember as much or less
# Of a CUDA context with its libraries: 0.3 to 0.6 GiB, measured on an H200; the upper end.
CONTEXT_BYTES = 600 * MIB
# The caching allocator's lost pieces, against what a step holds. On an H200 under a 24 GiB cap the longest row that trained held
# 20.0 GiB of tensors, and its process 23.6 GiB.
FRAGMENTATION = 0.2
# Besides the program while exports are made: export/merge_memory.py counts a merge, export/preflight.py a GGUF.
MERGE_BYTES = 84 * MIB
EXPORT_BYTES = 1024 * MIB

def estimate(work: Work, fit: Fit | None = None) -> Estimate:
    """The peaks of this work, in the order of a run's phases, corrected by what was measured on this machine.

    `fit`: another than the one for this backend and device, and no correction.
    """
    if fit is not None:
        return _estimate(work, fit)
    return corrected(_of_table(work), work, work.corrections)


def _of_table(work: Work) -> Estimate:
    if first_layers(work.gradient_checkpointing) is not None:
        return _selective(work)
    return _estimate(work, fit_for(work.backend, work.device, work.dtype, work.gradient_checkpointing))


def _selective(work: Work) -> Estimate:
    """Where only the first layers are checkpointed. Never less than where all are: the backward pass forms them again one at a time too."""
    fit = fit_for(work.backend, work.device, work.dtype, work.gradient_checkpointing)
    some, all_layers = _estimate(work, fit), _of_table(replace(work, gradient_checkpointing=True))
    larger = (max(pair, key=lambda phase: phase.bytes) for pair in zip(some.phases, all_layers.phases))
    return Estimate(tuple(replace(phase, bound=own.bound) for phase, own in zip(larger, some.phases)), some.basis)


def _estimate(work: Work, fit: Fit) -> Estimate:
    on_card = work.device == "cuda"
    phases = [
        Phase("load", (*_begun(fit, work, fit.begun), *_loading(fit, work), _adapter(work, gradients=False)[0]), fit.bound),
        _phase(TRAINING, fit, work, _step(fit, work)),
        _phase(EVALUATION, fit, work, _evaluated(fit, work)),
        *([_phase(ANSWERS, fit, work, _answered(fit, work))] if work.answers.rows else []),
        Phase("merge", (_program(fit, work), Part("blocks of weights", MERGE_BYTES)), fit.bound, on_host=on_card),
        Phase("export", (_program(fit, work), Part("vocabulary and chunks of weights", EXPORT_BYTES)), fit.bound, on_host=on_card),
    ]
    return Estimate(tuple(phases), fit.basis)


def host_bytes(work: Work) -> int:
    """Host memory of a run on a card: the program, and what its checkpointing puts aside. On a CPU: the peak itself."""
    fit = fit_for(work.backend, work.device, work.dtype, work.gradient_checkpointing)
    if work.device != "cuda":
        return estimate(work).peak.bytes
    offloaded = work.training.tokens * work.model.num_hidden_layers * work.model.hidden_size * VALUE_BYTES[work.dtype]
    return fit.host_bytes + (offloaded if work.gradient_checkpointing == "unsloth" else 0)


def _program(fit: Fit, work: Work) -> Part:
    return Part("program and libraries", fit.host_bytes if work.device == "cuda" else int(fit.fixed))


def _phase(name: str, fit: Fit, work: Work, held: tuple[Part, ...]) -> Phase:
    """A phase in which base, adapter and optimizer are there, and something is computed besides."""
    lost = (Part(FRAGMENTS, int(FRAGMENTATION * sum(part.bytes for part in held if not part.elastic))),) if work.device == "cuda" else ()
    bound = fit.bound if name == TRAINING else fit.evaluated_bound
    return Phase(name, (*_begun(fit, work), *_base(work), *_adapter(work, gradients=name == TRAINING), *held, *lost), bound)


def _begun(fit: Fit, work: Work, there: float | None = None) -> tuple[Part, ...]:
    """What is there besides weights. `there`: bytes while the base is loaded; None: later."""
    held = int(fit.fixed if there is None else there)
    if work.device == "cuda":
        return (Part(CONTEXT, CONTEXT_BYTES), Part("workspace", held))
    return (Part(_program(fit, work).name, held),)


def _base(work: Work) -> tuple[Part, ...]:
    model, value_bytes = work.model, VALUE_BYTES[work.dtype]
    if not work.load_in_4bit:
        return (Part("base weights", value_bytes * model.parameters),)
    rest = value_bytes * (model.parameters - model.linear_parameters)
    return (
        Part("base weights", int(NF4_BYTES * model.linear_parameters) + rest),
        Part("quantization state", int(NF4_STATE_BYTES * model.linear_parameters)),
    )


def _adapter(work: Work, *, gradients: bool) -> tuple[Part, ...]:
    count = work.adapter_parameters
    kept = OPTIMIZER_BYTES.get(work.optim, UNKNOWN_OPTIMIZER_BYTES)
    parts = (Part("LoRA weights", ADAPTER_BYTES * count), Part("optimizer state", kept * count))
    return (*parts, Part("gradients", ADAPTER_BYTES * count)) if gradients else parts


def _loading(fit: Fit, work: Work) -> tuple[Part, ...]:
    """The weights as far as loading holds them, and more than that where they are copied.

    Without a GPU the file is mapped: embeddings aren't touched yet, and what is quantized is read in 16 bits. Mapped pages are given back
    when memory is short, so they don't decide whether a run fits.
    """
    if work.device == "cuda":
        return tuple(Part(part.name, int(fit.loading * part.bytes)) for part in _base(work))
    return (Part("base weights", int(fit.loading * VALUE_BYTES[work.dtype] * work.model.linear_parameters), elastic=True),)


def _widths(fit: Fit, work: Work) -> float:
    """Bytes a token that one layer holds for its backward pass."""
    model = work.model
    narrow = model.hidden_size + model.query_width + 2 * model.key_width
    ranks = work.r * len(work.target_modules)
    return fit.hidden * narrow + fit.wide * model.intermediate_size + fit.rank * ranks


def _step(fit: Fit, work: Work) -> tuple[Part, ...]:
    """What a forward and backward pass holds at its peak."""
    model, batch = work.model, work.training
    # Of the checkpointed ones one at a time is formed again; by then those behind it are gone.
    layers = max(1, model.num_hidden_layers - work.checkpointed_layers)
    # Unsloth's own checkpointing puts what it keeps into host memory.
    on_device = not (work.gradient_checkpointing == "unsloth" and work.device == "cuda")
    kept = fit.kept * batch.tokens * work.checkpointed_layers * model.hidden_size if on_device else 0
    parts = (
        Part("activations", int(layers * batch.tokens * _widths(fit, work) + fit.once * batch.tokens * model.hidden_size)),
        Part("checkpoints", int(kept)),
        Part("attention", int(fit.pair * batch.rows * batch.longest**2)),
        Part("dequantized weights", _dequantized(work, fit)),
    )
    return tuple(part for part in (*parts, _logits(fit, work, besides=parts)) if part.bytes)


def _logits(fit: Fit, work: Work, *, besides: tuple[Part, ...]) -> Part:
    """As the loss holds them. Unsloth's takes no more than half of what is free on the card (unsloth_zoo's fused_losses)."""
    positions = work.training.tokens if fit.all_positions else work.training.learned
    held = int(fit.logit * min(positions, fit.logit_rows(work.model.vocab_size)) * work.model.vocab_size)
    if not (fit.all_positions and work.room_bytes and work.device == "cuda"):
        return Part("logits", held)
    taken = sum(part.bytes for part in (*_begun(fit, work), *_base(work), *_adapter(work, gradients=True)))
    taken += int((1 + FRAGMENTATION) * sum(part.bytes for part in besides))
    return Part("logits", min(held, max(0, work.room_bytes - taken) // 2), elastic=True)


def _dequantized(work: Work, fit: Fit) -> int:
    """A 4-bit weight is a 16-bit one while it is multiplied: the largest of a layer."""
    largest = max(inner * outer for inner, outer in work.model.projections.values())
    return int(fit.dequantized * largest) if work.load_in_4bit else 0


def _evaluated(fit: Fit, work: Work) -> tuple[Part, ...]:
    """A forward pass keeps nothing: a layer's tensors, and the logits of learned tokens, some at a time."""
    model, batch = work.model, work.evaluation
    logits = min(batch.learned, max(1, fit.evaluated_logits // model.vocab_size)) * model.vocab_size
    parts = (
        Part("activations", int(fit.evaluated * batch.tokens * (model.hidden_size + model.intermediate_size))),
        Part("logits", int(fit.evaluated_logit * logits)),
        Part("attention", int(fit.pair * batch.rows * batch.longest**2)),
        Part("dequantized weights", _dequantized(work, fit)),
    )
    return _with_retained(fit, work, parts)


def _with_retained(fit: Fit, work: Work, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """What training let go of and the allocator kept is used first; the rest of it still counts."""
    kept = int(fit.retained * sum(part.bytes for part in _step(fit, work))) - sum(part.bytes for part in parts)
    return tuple(part for part in (*parts, Part("kept from training", max(0, kept))) if part.bytes)


def _answered(fit: Fit, work: Work) -> tuple[Part, ...]:
    """Keys and values of all tokens, and one layer's tensors of the prompts."""
    model, batch = work.model, work.answers
    cache = 2 * model.key_width * model.num_hidden_layers * batch.tokens * VALUE_BYTES[work.dtype]
    parts = (
        Part("keys and values", cache),
        Part("activations", int(fit.evaluated * batch.tokens * (model.hidden_size + model.intermediate_size))),
        Part("logits", int(fit.evaluated_logit * batch.rows * model.vocab_size)),
        Part("attention", int(fit.pair * batch.rows * batch.longest**2)),
        Part("dequantized weights", _dequantized(work, fit)),
    )
    return _with_retained(fit, work, parts)
