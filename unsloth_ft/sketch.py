"""A plan without data: for rows of a stated length, and for the built-in recipes without a download. No torch, no tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unsloth_ft import base_model, measured
from unsloth_ft.hardware import Hardware
from unsloth_ft.known_models import KNOWN
from unsloth_ft.model_facts import ModelFacts
from unsloth_ft.plan import DataFacts, Plan, resolve
from unsloth_ft.prepare import Request, backend_of, go_offline, machine_of
from unsloth_ft.recipe import Recipe

ROWS = 1000  # assumed; the steps and the time of a run go by it
HELD_OUT_ROWS = 100
LENGTH = 2048  # tokens; max_seq_length of Unsloth's notebooks


@dataclass(frozen=True)
class Sketch:
    """A plan and what it rests on: `assumed` rows, and where the model's sizes are `from`."""

    request: Request
    hardware: Hardware
    facts: ModelFacts
    data: DataFacts
    assumed: str
    sizes_from: str
    plan: Plan


def sketch(request: Request) -> Sketch:
    """The plan for rows as long as max_seq_length allows. Raises what `plan.resolve` and the search for the model raise."""
    if request.offline:
        go_offline()
    recipe = request.recipe.recipe
    machine = machine_of(request)
    facts, sizes_from = sizes(recipe, offline=request.offline)
    length = min(recipe.max_seq_length or LENGTH, facts.max_position_embeddings)
    data = DataFacts(ROWS, HELD_OUT_ROWS, length, length, length)
    assumed = f"no --data: {ROWS:,} rows of {length:,} tokens are assumed; --set max_seq_length=… says another length"
    settled = recipe.model_copy(update={"max_seq_length": length})
    backend = backend_of(request, machine, facts.architecture)
    plan = resolve(settled, data, facts, machine, backend, corrections=measured.corrections(measured.known(machine, backend.value)))
    return Sketch(request, machine, facts, data, assumed, sizes_from, plan)


def sizes(recipe: Recipe, *, offline: bool) -> tuple[ModelFacts, str]:
    """The model's sizes and where they are from: known here, or the model's own config.json."""
    if recipe.model in KNOWN and not Path(recipe.model).expanduser().exists():
        return KNOWN[recipe.model], f"{recipe.model}: sizes as this package knows them, not read from its config.json; nothing was downloaded"
    base = base_model.find(recipe.model, revision=recipe.revision, wheel=recipe.wheel, offline=offline)
    return base.facts(), f"{base.model}: sizes from its config.json ({base.source})"
