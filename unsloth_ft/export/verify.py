"""`unsloth-ft verify`: every export of a run through its gate again, as it lies on the disk today."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat
from unsloth_ft.errors import UserError
from unsloth_ft.export import gate
from unsloth_ft.export.pipeline import Exports
from unsloth_ft.export.recorded import files_of, recorded_exports
from unsloth_ft.export.targets import Target
from unsloth_ft.record import RunDirectory, now


def verify(directory: RunDirectory, *, base: BaseModel, chat: Chat, console: Console) -> dict[str, Any]:
    """{"at": time, "ok": whether all held, "exports": {target: its lines}, "notes": […]}, which run.json keeps as `verification`.

    The merged model is made again where it was only a step on the way. Raises UserError when the run has no exports.
    """
    made = recorded(directory)
    exports = Exports(directory, tuple(made), base, chat, console)
    found: dict[str, list[dict[str, Any]]] = {}
    notes: list[str] = []
    try:
        for target, result in made.items():
            console.print(f"verifying {target}")
            lines, more = exports.check(target) if all(file.is_file() for file in files_of(result, directory)) else ([], [])
            found[str(target)] = [gate.files(result, directory), *lines]
            notes += more
    finally:
        exports.remove_hidden()
    verification = _summed(found, notes)
    directory.update(verification=verification)
    return verification


def verify_files(directory: RunDirectory) -> dict[str, Any]:
    """As `verify`, by sizes and sha256 alone; nothing is written."""
    return _summed({str(target): [gate.files(result, directory)] for target, result in recorded(directory).items()}, [])


def _summed(found: dict[str, list[dict[str, Any]]], notes: list[str]) -> dict[str, Any]:
    return {
        "at": now(),
        "ok": all(line["ok"] for lines in found.values() for line in lines),
        "exports": found,
        "notes": list(dict.fromkeys(notes)),
    }


def recorded(directory: RunDirectory) -> dict[Target, dict[str, Any]]:
    """The exports in run.json. Raises UserError when there is none."""
    exports = recorded_exports(directory)
    if not exports:
        raise UserError(f"{directory.name} has no exports. `unsloth-ft export {directory.name} --to gguf:q8_0` makes one.")
    return exports
