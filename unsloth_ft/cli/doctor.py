"""doctor: can this machine train, and what is missing."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from pathlib import Path

import click

from unsloth_ft.cli import options
from unsloth_ft.errors import MachineError

# Floors of our own, each for a published advisory or a feature that is used; upper bounds are those that unsloth and trl force.
NEEDED = {
    "torch": ("2.10", None),
    "transformers": ("5.3", "5.17.0"),
    "trl": ("1.5", "1.14.99"),
    "peft": ("0.21", None),
    "datasets": ("4.6", "4.99"),
    "bitsandbytes": ("0.48", None),
    "gguf": ("0.19", None),
    "jinja2": ("3.1.6", None),
    "safetensors": ("0.6", None),
}
OPTIONAL = {
    "unsloth": "the unsloth backend; without it vanilla PEFT is used",
    "xllamacpp": "comparing a GGUF in real llama.cpp, and `unsloth-ft chat`: pip install xllamacpp",
    "xformers": "Unsloth's attention on a GPU",
}


@click.command()
@options.JSON
def doctor(as_json: bool) -> None:
    """Say whether this machine can train, with one command for each thing that is missing."""
    from unsloth_ft import backends, hardware

    machine = hardware.detect()
    problems, versions = [], {}
    for package, (least, most) in NEEDED.items():
        found = _version(package)
        versions[package] = found
        if found is None:
            problems.append(f"{package} is not installed: pip install '{package}>={least}'")
        elif _parts(found) < _parts(least):
            problems.append(f"{package} is {found}, {least} or newer is needed: pip install -U '{package}>={least}'")
        elif most and _parts(found) > _parts(most):
            problems.append(f"{package} is {found}, at most {most} works: pip install '{package}<={most}'")
    versions |= {package: _version(package) for package in OPTIONAL}
    backend = backends.choose("auto", machine) if versions["torch"] and versions["peft"] else None
    free = hardware.disk_free_bytes(Path.cwd()) / hardware.GIB
    if as_json:
        options.print_json(
            {"ok": not problems, "problems": problems, "versions": versions, "machine": machine.summary, "backend": backend and backend.value,
             "disk_free_gib": round(free, 1), "ollama": bool(shutil.which("ollama"))}
        )
    else:
        click.echo(f"machine   {machine.summary}\npython    {sys.version.split()[0]}\ndisk      {free:.0f} GiB free here")
        click.echo(f"backend   {backend}" if backend else "backend   none")
        for package, version in versions.items():
            note = f"   ({OPTIONAL[package]})" if version is None and package in OPTIONAL else ""
            click.echo(f"{package:<13} {version or 'not installed'}{note}")
        click.echo(f"{'ollama':<13} {shutil.which('ollama') and 'installed' or 'not installed   (needed to run an exported Modelfile, not to make it)'}")
    if problems:
        raise MachineError("this machine can't train yet:\n" + "\n".join(f"  {problem}" for problem in problems))
    if not as_json:
        click.echo("this machine can train")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".") if part.isdigit())
