"""Results as a report: Markdown, and one HTML page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from unsloth_ft.bench import markdown, page
from unsloth_ft.bench.contents import contents
from unsloth_ft.bench.measurement import read_all
from unsloth_ft.errors import UserError
from unsloth_ft.record import write_atomically


def report(folder: Path, out: Path) -> list[Path]:
    """Writes bench.md and bench.html into `out`, and returns what was written. Raises UserError where there is nothing to report."""
    measurements = read_all(folder)
    if not measurements:
        raise UserError(f"{folder}: no measurements; expected a folder that `unsloth-ft bench run` wrote.")
    found = contents(measurements)
    written = {out / "bench.md": markdown.render(found), out / "bench.html": page.render(found)}
    for path, text in written.items():
        write_atomically(path, text)
    return list(written)
