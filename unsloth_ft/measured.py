"""Peaks that probes and runs measured on this machine, kept in the user's cache for later plans. No torch.

`UNSLOTH_FT_REMEMBER=0` keeps and uses none; `unsloth-ft doctor --forget` removes what is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unsloth_ft import cache, measured_files
from unsloth_ft.hardware import GIB, Hardware
from unsloth_ft.memory import estimate
from unsloth_ft.memory_correction import CORRECTED, Correction, Point, kind, point
from unsloth_ft.memory_values import TRAINING, Batch, Work
from unsloth_ft.model_facts import ModelFacts
from unsloth_ft.plan import Plan
from unsloth_ft.record import version

FORMAT = 1
MOST = 64  # points a machine and backend; the newest are kept
PEAKS, RATES = "peaks.json", "rates.json"  # the second is outlook's; both are forgotten together


@dataclass(frozen=True)
class Measured:
    """One measurement: the work, and the peak bytes of its phases, on a card those of tensors."""

    work: Work
    peaks: dict[str, int]
    source: str
    """probe or run."""

    def as_json(self) -> dict[str, Any]:
        return {"source": self.source, "peaks": self.peaks, "work": work_as_json(self.work)}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Measured:
        """The reverse. Raises KeyError, TypeError or ValueError for what isn't one."""
        return cls(work_of(told["work"]), {str(name): int(peak) for name, peak in told["peaks"].items()}, str(told["source"]))


def work_as_json(work: Work) -> dict[str, Any]:
    """All of it but what was measured here."""
    return {name: value for name, value in asdict(work).items() if name != "corrections"}


def work_of(values: Mapping[str, Any]) -> Work:
    """The reverse of `work_as_json`."""
    batches = {name: Batch(**values[name]) for name in ("training", "evaluation", "answers")}
    return Work(**{**values, **batches, "model": ModelFacts(**values["model"]), "target_modules": tuple(values["target_modules"])})


def is_on() -> bool:
    return os.environ.get("UNSLOTH_FT_REMEMBER") != "0"


def machine_key(hardware: Hardware, backend: str) -> str:
    """What peaks are alike on: the machine, the backend, its version and torch's."""
    gpu = hardware.gpu
    where = f"{gpu.name}, {gpu.memory_bytes / GIB:.0f} GiB" if gpu else f"{hardware.cpu_name}, {hardware.cpu_count} cores"
    package = "unsloth" if backend == "unsloth" else "peft"  # `fused` is our layers in a model of PEFT's
    return f"{where}; {backend}; {package} {version(package) or 'none'}; torch {version('torch') or 'none'}"


def known(hardware: Hardware, backend: str) -> list[dict[str, Any]]:
    """The measurements of this machine and backend as they are kept; none where the file is missing or damaged."""
    return _entries(_peaks(measured_files.read(file())), machine_key(hardware, backend)) if is_on() else []


def _entries(peaks: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = peaks.get(key, [])
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def remember(measured: Measured, hardware: Hardware) -> tuple[str, ...]:
    """Keeps it; a measurement of the same work by the same source gives way to it. A warning where it can't be kept."""
    if not is_on():
        return ()
    told, key = measured.as_json(), machine_key(hardware, measured.work.backend)

    def added(content: Any) -> dict[str, Any]:
        peaks = _peaks(content)
        others = [entry for entry in _entries(peaks, key) if (entry.get("work"), entry.get("source")) != _as_read(told)]
        return {"format": FORMAT, "peaks": peaks | {key: [*others, told][-MOST:]}}

    return measured_files.rewrite(file(), added)


def remember_training(plan: Plan, hardware: Hardware, peak: int) -> tuple[str, ...]:
    """Keeps a run's peak; 0: it had no step left to do."""
    if not peak or plan.fitting is None:
        return ()
    return remember(Measured(plan.fitting.work, {TRAINING: peak}, "run"), hardware)


def corrections(entries: Iterable[Mapping[str, Any]]) -> tuple[Correction, ...]:
    """What they say of the table, by kind of work and phase. What this version can't read is left out."""
    groups: dict[tuple[Any, ...], list[tuple[Point, str]]] = {}
    for one, points in _readable(entries):
        for phase, found in points.items():
            groups.setdefault((phase, kind(one.work)), []).append((found, one.source))
    return tuple(
        Correction(phase, of, tuple(found for found, _ in group), tuple(sorted({source for _, source in group})))
        for (phase, of), group in groups.items()
    )


def forget() -> list[str]:
    """Removes what was measured of memory and speed; the names of the files that were there."""
    there = [path for path in (file(), cache.folder() / RATES) if path.is_file()]
    for path in there:
        path.unlink()
    return [path.name for path in there]


def file() -> Path:
    """Where they are kept."""
    return cache.folder() / PEAKS


def _readable(entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Measured, dict[str, Point]]]:
    """Each with its points by phase."""
    for entry in entries:
        try:
            found = Measured.of(entry)
            points = _points(found)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):  # another version's, or damaged
            continue
        yield found, points


def _points(measured: Measured) -> dict[str, Point]:
    """By phase, of those that are corrected."""
    found = {}
    for phase in estimate(replace(measured.work, corrections=())).phases:
        peak = measured.peaks.get(phase.name, 0)
        if phase.name in CORRECTED and peak > 0:
            found[phase.name] = point(measured.work, phase.name, bytes_=peak, ratio=peak / phase.tensor_bytes)
    return found


def _peaks(told: Any) -> dict[str, Any]:
    """Machine and backend -> measurements, of the file's content."""
    peaks = told.get("peaks") if isinstance(told, dict) and told.get("format") == FORMAT else None
    return peaks if isinstance(peaks, dict) else {}


def _as_read(told: dict[str, Any]) -> tuple[Any, Any]:
    """(work, source) as JSON gives them back."""
    back = json.loads(json.dumps(told))
    return back["work"], back["source"]
