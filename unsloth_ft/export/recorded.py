"""The exports in run.json, read with care: a run directory may come from somebody else, or from an earlier version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unsloth_ft.errors import UserError
from unsloth_ft.export.llama_quantize import OWN, QUANTIZERS
from unsloth_ft.export.targets import Target, parse
from unsloth_ft.record import RunDirectory

# Where a target's files lie, and how many there are at least.
FOLDERS = {"adapter": "adapter", "merged": "export/merged", "gguf": "export", "gguf-lora": "export", "ollama": "export"}
FEWEST = {"gguf-lora": 3}  # the adapter's GGUF, its base's, and the Modelfile
# What the record of an earlier version leaves out, and how that version made the export.
LEFT_OUT: dict[str, dict[str, Any]] = {
    "gguf": {"quantizer": OWN},
    "gguf-lora": {"quantizer": OWN, "system": None},
    "ollama": {"adapter": None, "system": None},
}


def recorded_exports(directory: RunDirectory) -> dict[Target, dict[str, Any]]:
    """Target → what run.json says of it; what an earlier version left out is filled in.

    Raises UserError for what is no record of an export, and for files outside of the run directory's own folders.
    """
    exports = directory.read().get("exports", {})
    if not isinstance(exports, dict):
        raise UserError(f"{directory.name}/run.json: exports is a {type(exports).__name__}; the run directory is damaged.")
    found = {}
    for name, result in exports.items():
        target = parse([name])[0]
        found[target] = _checked(result, target, f"{directory.name}/run.json: the export {target}")
    return found


def files_of(result: dict[str, Any], directory: RunDirectory) -> list[Path]:
    """The files of an export, which need not be there any more."""
    return [directory.path / file["name"] for file in result["files"]]


def lies_there(result: dict[str, Any] | None, directory: RunDirectory) -> bool:
    """Whether the export passed its checks, and its files have the recorded sizes; their bytes are not read."""
    if result is None or not all(check["ok"] for check in result["checks"]):
        return False
    sizes = [file["bytes"] for file in result["files"]]
    return all(path.is_file() and path.stat().st_size == size for path, size in zip(files_of(result, directory), sizes))


def _checked(result: Any, target: Target, where: str) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise UserError(f"{where} is a {type(result).__name__}; the run directory is damaged.")
    result = {**LEFT_OUT.get(target.kind, {}), **result}
    files, checks = result.get("files"), result.get("checks")
    if not _are(files, {"name": str, "bytes": int, "sha256": str}) or not _are(checks, {"name": str, "ok": bool, "found": str}):
        raise UserError(f"{where} has no list of files with sizes and sha256, or none of checks; the run directory is damaged.")
    if len(files) < FEWEST.get(target.kind, 1):
        raise UserError(f"{where} has {len(files)} files; expected {FEWEST.get(target.kind, 1)} or more. The run directory is damaged.")
    folder = FOLDERS[target.kind]
    for file in files:
        if not (file["name"].startswith(f"{folder}/") and _is_bare(file["name"].removeprefix(f"{folder}/"))):
            raise UserError(f"{where} names the file {file['name']!r}; expected files in {folder}/. Nothing else is read or written.")
    for key, needed in (("from", target.kind == "ollama"), ("adapter", False)):
        if (needed or result.get(key) is not None) and not _is_bare(result.get(key)):
            raise UserError(f"{where} says {key} = {result.get(key)!r}; expected the name of a file in export/.")
    if result.get("quantizer", OWN) not in QUANTIZERS:
        raise UserError(f"{where} says quantizer = {result['quantizer']!r}; expected one of {', '.join(QUANTIZERS)}.")
    if not isinstance(result.get("system"), str | None):
        raise UserError(f"{where} says system = {result['system']!r}; expected a text.")
    return result


def _are(entries: Any, fields: dict[str, type]) -> bool:
    """Whether it is a list of objects with these fields."""
    return isinstance(entries, list) and all(
        isinstance(entry, dict) and all(type(entry.get(name)) is kind for name, kind in fields.items()) for entry in entries
    )


def _is_bare(name: Any) -> bool:
    """Whether it is the name of a file, and no way to one."""
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name
