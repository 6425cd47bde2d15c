"""A finished run, opened again: its record, its base model, its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unsloth_ft import base_model, catalog, hardware, prepare, record
from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat
from unsloth_ft.errors import UserError
from unsloth_ft.plan import Decision, Plan
from unsloth_ft.recipe import Recipe
from unsloth_ft.record import RunDirectory

DTYPES = ("float32", "float16", "bfloat16")  # that a plan can say


@dataclass(frozen=True)
class Reopened:
    """What is needed to go on from a trained adapter."""

    directory: RunDirectory
    record: dict[str, Any]
    recipe: Recipe
    plan: Plan
    base: BaseModel
    chat: Chat


def reopen(name: str, *, model: str | None = None, offline: bool = False) -> Reopened:
    """The run of that directory or name, with the base it was trained on.

    Raises UserError when it is not trained yet, or when the base at hand is another one.
    """
    directory, known = trained(name)
    try:
        values, sha256, plan = known["recipe"]["values"], known["base_model"]["sha256"], _plan(known["plan"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{directory.name}/run.json: recipe, base_model or plan is not whole ({error!r}); the run directory is damaged, or another "
            "version made it."
        ) from None
    if plan.dtype.value not in DTYPES:
        raise UserError(f"{directory.name}/run.json: the plan's dtype is {plan.dtype.value!r}; expected {', '.join(DTYPES)}.")
    recipe = catalog.validated(values, f"{directory.name}/run.json")
    base = _base(directory, recipe, model, offline)
    if base.fingerprint() != sha256:
        raise UserError(
            f"{base.folder.name} is not the base model that {directory.name} was trained on: same names, other weights. Name the right "
            "one with --model DIR."
        )
    return Reopened(directory, known, recipe, replace(plan, device=_device()), base, prepare.chat_of(recipe, base))


def trained(name: str) -> tuple[RunDirectory, dict[str, Any]]:
    """The run and its record. Raises UserError when there is no such run, or when it is not trained yet."""
    directory = record.find(name)
    known = directory.read()
    if "training" not in known or not (directory.adapter / "adapter_model.safetensors").is_file():
        raise UserError(
            f'{directory.name} is not trained yet (status "{directory.status()}"). `unsloth-ft resume {directory.name}` goes on with it.'
        )
    return directory, known


def _plan(known: dict[str, Any]) -> Plan:
    return Plan(**{key: Decision(entry["value"], entry["reason"]) for key, entry in known.items()})


def _device() -> Decision[str]:
    """This machine's, which need not be the one that trained."""
    machine = hardware.detect()
    hardware.pin(machine)
    return Decision("cuda" if machine.gpu else "cpu", machine.summary)


def _base(directory: RunDirectory, recipe: Recipe, model: str | None, offline: bool) -> BaseModel:
    if model:
        return base_model.find(model, offline=offline)
    folder = directory.read_local().get("base_model")
    if folder and Path(folder).is_dir():
        return base_model.find(folder, offline=offline)
    return base_model.find(recipe.model, revision=recipe.revision, wheel=recipe.wheel, offline=offline)
