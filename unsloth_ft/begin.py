"""The beginning of a run directory: what is known before the first weight, and whether the directory is this run's."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from unsloth_ft import record
from unsloth_ft.errors import UserError
from unsloth_ft.outlook import memory_record
from unsloth_ft.prepare import Prepared, data_record, template_sha256
from unsloth_ft.record import RunDirectory

DIFFERENCES_SHOWN = 10
SHOWN_DIGITS = 12  # of a sha256


def begin(prepared: Prepared, directory: RunDirectory, command: list[str], local: dict[str, Any]) -> None:
    """Writes what is known before the first weight; goes on where the directory holds this very run.

    Raises UserError for a directory that holds another run, naming each difference, or that is none.
    """
    directory.refuse_unusable()
    identity = prepared.identity()
    again = directory.record_file.is_file() and "identity" in (known := directory.read())
    if again:
        refuse_other_run(known["identity"], directory.public(identity), directory)
    directory.remove_leftovers()
    directory.update_local(base_model=str(prepared.base.folder), **local)
    if again:
        upgrades = version_changes(known["versions"], record.versions())
        directory.update(status="running", error=None)
        directory.warn(*prepared.warnings, *upgrades)
        return
    base = prepared.base
    directory.update(
        status="running",
        command=command,
        identity=identity,
        recipe={
            "name": prepared.request.recipe.name,
            "source": prepared.request.recipe.source,
            "values": prepared.recipe.model_dump(mode="json"),
        },
        plan=prepared.plan.as_json(),
        memory=memory_record(prepared.recipe, prepared.plan, prepared.hardware, tokens_a_row=prepared.xray.tokens_a_row),
        data=data_record(prepared),
        base_model={
            "model": base.model,
            "revision": base.revision,
            "config_sha256": base.config_sha256,
            "sha256": identity["base_model_sha256"],
            "loaded_from": base.source,
            "chat_template_sha256": template_sha256(prepared.chat),
        },
        seeds={"train": prepared.recipe.train.seed},
        hardware=asdict(prepared.hardware),
        versions=record.versions(),
        warnings=list(prepared.warnings),
    )


def refuse_other_run(before: dict[str, Any], now: dict[str, Any], directory: RunDirectory) -> None:
    """Raises UserError naming each difference between the run in this directory and the one asked for."""
    old, new = flat(before), flat(now)
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if not differing:
        return
    lines = [f"  {key}: {_shown(key, old.get(key))} there, {_shown(key, new.get(key))} now" for key in differing[:DIFFERENCES_SHOWN]]
    if len(differing) > DIFFERENCES_SHOWN:
        lines.append(f"  and {len(differing) - DIFFERENCES_SHOWN} more")
    raise UserError(f"{directory.name} holds another run. Name another directory with --out. What differs:\n" + "\n".join(lines))


def version_changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """A warning a package that is another version than when the run began."""
    return [
        f"the run began with {package} {before.get(package, 'not installed')} and goes on with {now.get(package, 'none')}"
        for package in {**before, **now}
        if before.get(package) != now.get(package)
    ]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"lora": {"r": 8}} as {"lora.r": 8}."""
    parts = [flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value} for key, value in values.items()]
    return {key: value for part in parts for key, value in part.items()}


def _shown(key: str, value: Any) -> Any:
    return value[:SHOWN_DIGITS] if key.endswith("sha256") and isinstance(value, str) else value
