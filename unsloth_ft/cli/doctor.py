"""doctor: can this machine train, and what is missing."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from unsloth_ft.cli import options
from unsloth_ft.errors import MachineError


@dataclass(frozen=True)
class Bounds:
    """From `least` on, below `below`, or up to and with `most`."""

    least: str
    below: str | None = None
    most: str | None = None

    def holds(self, version: str) -> bool:
        found = _parts(version)
        return (
            found >= _parts(self.least)
            and (self.below is None or found < _parts(self.below))
            and (self.most is None or found <= _parts(self.most))
        )

    def __str__(self) -> str:
        end = f", below {self.below}" if self.below else f", at most {self.most}" if self.most else ""
        return f"{self.least} or newer{end}"

    def requirement(self, package: str) -> str:
        """As pip reads it."""
        end = f",<{self.below}" if self.below else f",<={self.most}" if self.most else ""
        return f"'{package}>={self.least}{end}'"


# Floors of our own, each for a published advisory or a feature that is used; upper bounds are those that unsloth and trl force.
NEEDED = {
    "torch": Bounds("2.10"),
    "transformers": Bounds("5.3", most="5.17.0"),
    "trl": Bounds("1.5", below="1.15"),
    "peft": Bounds("0.21"),
    "datasets": Bounds("4.6", below="5"),
    "bitsandbytes": Bounds("0.48"),
    "gguf": Bounds("0.19"),
    "jinja2": Bounds("3.1.6"),
    "safetensors": Bounds("0.6"),
}
OPTIONAL = {
    "unsloth": "the unsloth backend; without it vanilla PEFT is used",
    "xllamacpp": "comparing a GGUF in real llama.cpp, and `unsloth-ft chat`: pip install xllamacpp",
    "xformers": "Unsloth's attention on a GPU",
}


@click.command()
@click.option("--forget", is_flag=True, help="Forget the memory and speed that probes and runs measured on this machine, and end.")
@options.JSON
def doctor(forget: bool, as_json: bool) -> None:
    """Say whether this machine can train, and the one command that installs what is missing."""
    from unsloth_ft import backends, hardware, measured
    from unsloth_ft.record import version

    if forget:
        gone = measured.forget()
        options.print_json({"forgotten": gone}) if as_json else click.echo(f"forgotten: {', '.join(gone) or 'nothing was kept'}")
        return
    machine = hardware.detect()
    versions = {package: version(package) for package in (*NEEDED, *OPTIONAL)}
    clashing = {package: bounds for package, bounds in NEEDED.items() if (found := versions[package]) is None or not bounds.holds(found)}
    problems = [f"{package} is {versions[package] or 'not installed'}; expected {bounds}" for package, bounds in clashing.items()]
    command = f"pip install {' '.join(bounds.requirement(package) for package, bounds in clashing.items())}" if clashing else None
    backend = backends.choose("auto", machine) if versions["torch"] and versions["peft"] else None
    free = hardware.disk_free_bytes(Path.cwd()) / hardware.GIB
    if as_json:
        options.print_json(
            {"ok": not problems, "problems": problems, "command": command, "versions": versions, "machine": machine.summary,
             "backend": backend and backend.value, "disk_free_gib": round(free, 1), "ollama": bool(shutil.which("ollama"))}
        )  # fmt: skip
    else:
        click.echo(f"machine   {machine.summary}\npython    {sys.version.split()[0]}\ndisk      {free:.0f} GiB free here")
        click.echo(f"backend   {backend}" if backend else "backend   none")
        for package, found in versions.items():
            note = f"   ({OPTIONAL[package]})" if found is None and package in OPTIONAL else ""
            click.echo(f"{package:<13} {found or 'not installed'}{note}")
        click.echo(
            f"{'ollama':<13} "
            f"{shutil.which('ollama') and 'installed' or 'not installed   (needed to run an exported Modelfile, not to make it)'}"
        )
    if problems:
        raise MachineError("\n  ".join(["this machine can't train yet:", *problems]) + f"\nThis mends it: {command}")
    if not as_json:
        click.echo("this machine can train")


def _parts(version: str) -> tuple[int, ...]:
    """The numbers of a version, zeros at the end left out: 1.15.0 is 1.15."""
    numbers = [int(part) for part in version.split("+")[0].split(".") if part.isdigit()]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
