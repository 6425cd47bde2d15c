"""Fits the memory table's constants to measured peaks, and says how far off it is.

    python -m unsloth_ft.bench.memory_fitting bench/results/*-memory-grid-*.json bench/results/*-cuda/*/*.json --out unsloth_ft/memory_fits.json

One fit for each backend, device, precision and way of checkpointing: least squares of the relative errors over all phases, no constant
below 0, so that the table is monotone in everything. The bound is the largest error, of the fit itself and, where there are enough models,
of fits that never saw the one they are held against.
"""

from __future__ import annotations

import json
import math
import operator
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from unsloth_ft.hardware import GIB, MIB
from unsloth_ft import catalog
from unsloth_ft.known_models import KNOWN
from unsloth_ft.measured import work_of
from unsloth_ft.memory import OPTIMIZER_BYTES, estimate
from unsloth_ft.memory_fit import Fit, checkpointing_name
from unsloth_ft.memory_values import ANSWERS, EVALUATION, TRAINING, Batch, Work
from unsloth_ft.record import write_atomically

FIRM, EVALUATED = ("load", TRAINING), (EVALUATION, ANSWERS)
NOTHING = Batch(0, 0, 0, 0)
LEAST_BOUND = 0.05  # two runs of one point differ by up to this
MODELS = 4  # from here on each model is left out in turn; with fewer, what is left says too little of the others
FEW_MODELS_BOUND = 0.15  # at least, where there are fewer, so that little shows how far the fit holds for another model
# Constants begin, and stay where the points say nothing of them, at what a layer's tensors come to when they are counted: about six of
# hidden size and four of intermediate size in 2 bytes, the float32 copies that LoRA's matrices make of their inputs, logits in float32 and
# their gradient.
PRIOR = {
    "begun": 400.0 * MIB, "loading": 0.3, "fixed": 600.0 * MIB, "hidden": 8.0, "wide": 8.0, "rank": 4.0, "once": 8.0, "kept": 2.0, "logit": 12.0, "pair": 0.5,
    "dequantized": 2.0, "retained": 1.0, "evaluated": 6.0, "evaluated_logit": 6.0,
}  # fmt: skip
ON_CARD = {"begun": 50.0 * MIB, "fixed": 300.0 * MIB, "loading": 1.1, "retained": 0.0}  # tensors alone are counted there, and they go when they are let go
IN_LOADING = ("begun", "loading")
IN_TRAINING = ("fixed", "hidden", "wide", "rank", "once", "kept", "logit", "pair", "dequantized")
UNITS = {name: 2.0**30 if name in ("begun", "fixed") else 1.0 for name in PRIOR}  # so that all are of one size
LEAST_PRIOR = 1e-3
PRIOR_WEIGHT = 1e-3  # of a prior's relative error against a point's
SWEEPS = 3000  # of coordinate descent; the constants don't move any more after a few hundred
# How each backend's training loss holds logits: (logits at a time, positions at a time, also of positions without a label), 0 for no such
# limit. TRL's chunked_nll takes 256 positions; Unsloth's fused loss up to 4 GiB, which it counts as 16 bytes a logit (unsloth_zoo's
# fused_losses); ours kernels.cross_entropy.LOGITS.
LOGITS = {"peft": (0, 256, False), "unsloth": (2**28, 0, True), "fused": (2**23, 0, False)}
EVALUATED_LOGITS = 2**26  # evaluate.losses.LOGITS
HOST_BYTES = {"cpu": 0, "cuda": int(2.5 * GIB)}  # 2.0 GiB of libraries and a CUDA context's host side on an H200's machine, and its imports


@dataclass(frozen=True)
class Measured:
    """One point: the work, and the peak of each phase that was reached."""

    work: Work
    peaks: dict[str, int]
    model: str
    machine: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What is fitted together."""
        work = self.work
        return work.backend, work.device, work.dtype, checkpointing_name(work.gradient_checkpointing)


def read(path: Path) -> list[Measured]:
    """The points of a grid's file, or of a measurement of the bench."""
    told = json.loads(path.read_text(encoding="utf-8"))
    if "leg" in told:
        return of_measurement(told)
    return [Measured(work_of(entry["work"]), entry["peaks"], entry["point"]["recipe"], told["machine"]) for entry in told["points"]]


def of_measurement(told: dict[str, Any]) -> list[Measured]:
    """A leg's own peaks on a GPU: of each row that a search tried, or of its steps where every micro-batch's size is known.

    The legs' adapters may be in 16 bits, where the table counts 32: what that saves is added to the peak.
    """
    if told["outcome"] != "done" or told["machine"]["device"] != "cuda":
        return []
    setup = {name: decision["value"] for name, decision in told["setup"].items() if "value" in decision}
    command, case = told["command"], told["case_values"]
    recipe = catalog.find(command[command.index("--recipe") + 1] if "--recipe" in command else case["recipe"]).recipe
    work = Work(
        model=KNOWN[recipe.model],
        backend=setup["backend"],
        device="cuda",
        dtype=setup["dtype"],
        load_in_4bit=setup["load_in_4bit"],
        r=case["r"] or recipe.lora.r,
        target_modules=recipe.lora.target_modules,
        optim=setup["optim"],
        gradient_checkpointing=setup["gradient_checkpointing"],
        training=NOTHING,
        evaluation=NOTHING,
        answers=NOTHING,
    )
    # Weight, gradient and, but for 8-bit ones, two moments have the trained weights' type.
    saved = 0 if setup["trained_dtype"] == "float32" else (8 if OPTIMIZER_BYTES[work.optim] == 8 else 4) * work.adapter_parameters
    return [
        Measured(replace(work, training=batch), {TRAINING: peak + saved}, recipe.model, told["machine"]["summary"])
        for batch, peak in _batches(told, setup)
    ]


def _batches(told: dict[str, Any], setup: dict[str, Any]) -> list[tuple[Batch, int]]:
    """(largest micro-batch, peak bytes of tensors)."""
    if told["tries"]:
        tried = [(one["tokens"], one["peaks"]["peak_device_allocated_bytes"]) for one in told["tries"] if one["fitted"]]
        return [(Batch(1, tokens, tokens, tokens), peak) for tokens, peak in tried]
    tokens = {step["computed_tokens"] for step in told["steps"]}
    passes, rows = setup["gradient_accumulation_steps"], setup["per_device_train_batch_size"]
    if passes > 1 and len(tokens) > 1:
        return []  # which rows were together is not known
    most = max(tokens) // passes
    return [(Batch(rows, most // rows, most, most), told["peak_device_allocated_bytes"])]


def fitted(points: Sequence[Measured]) -> Fit:
    """The fit of points with one key, with its bound."""
    found = solve(points)
    worst, evaluated = worst_of(found, points)
    models = sorted({point.model for point in points})
    least = LEAST_BOUND if len(models) >= MODELS else FEW_MODELS_BOUND
    for model in models if len(models) >= MODELS else ():
        seen, unseen = ([point for point in points if (point.model != model) is keep] for keep in (True, False))
        other = worst_of(solve(seen), unseen)
        worst, evaluated = max(worst, other[0]), max(evaluated, other[1])
    return replace(found, bound=max(least, rounded_up(worst)), evaluated_bound=max(least, rounded_up(evaluated)))


def worst_of(fit: Fit, points: Sequence[Measured]) -> tuple[float, float]:
    """The largest error of load and training, and of evaluation and answers."""
    firm, evaluated = (max(map(abs, errors(fit, points, phases)), default=0.0) for phases in (FIRM, EVALUATED))
    return firm, evaluated


def rounded_up(share: float) -> float:
    """To whole per cent."""
    return math.ceil(100 * share) / 100


def errors(fit: Fit, points: Iterable[Measured], phases: Sequence[str]) -> list[float]:
    """(estimate − measured) / measured of each of these phases of each point."""
    return [tensors(fit, point, phase) / peak - 1 for point in points for phase, peak in point.peaks.items() if phase in phases]


def tensors(fit: Fit, point: Measured, phase: str) -> int:
    """The estimate of what the probe measures: on a card without its context and fragments."""
    return estimate(point.work, fit).phase(phase).tensor_bytes


def solve(points: Sequence[Measured]) -> Fit:
    """The constants with the least sum of squared relative errors, none below 0, of loading and of training: the table is linear in both.

    An evaluation uses what training let go of, so few points say anything of its own constants, which stay as they were counted.
    """
    begun = _fit(points, PRIOR | (ON_CARD if points[0].work.device == "cuda" else {}))
    return _solve(points, _solve(points, begun, ("load",), IN_LOADING), (TRAINING,), IN_TRAINING)


def _solve(points: Sequence[Measured], fit: Fit, phases: tuple[str, ...], names: tuple[str, ...]) -> Fit:
    """The fit with these constants moved to where these phases want them."""
    pairs = [(point, phase) for point in points for phase in phases if phase in point.peaks]
    without = replace(fit, **dict.fromkeys(names, 0.0))
    base = [tensors(without, point, phase) for point, phase in pairs]
    wanted = [1 - zero / point.peaks[phase] for (point, phase), zero in zip(pairs, base)]
    columns = [
        [(tensors(replace(without, **{name: UNITS[name]}), point, phase) - zero) / point.peaks[phase] for (point, phase), zero in zip(pairs, base)]
        for name in names
    ]
    found = least_squares(columns, wanted, [max(getattr(fit, name), LEAST_PRIOR) / UNITS[name] for name in names])
    return replace(fit, **{name: round(value * UNITS[name], 4) for name, value in zip(names, found)})


def least_squares(columns: Sequence[Sequence[float]], wanted: Sequence[float], priors: Sequence[float]) -> list[float]:
    """x ≥ 0 with the least |Σ columns·x − wanted|² + PRIOR_WEIGHT · Σ (x / prior − 1)², by coordinate descent."""
    x = list(priors)
    left = [want - sum(column[at] * value for column, value in zip(columns, x)) for at, want in enumerate(wanted)]
    curvatures = [sum(value**2 for value in column) + PRIOR_WEIGHT / prior**2 for column, prior in zip(columns, priors)]
    for _ in range(SWEEPS):
        for at, column in enumerate(columns):
            pull = sum(map(operator.mul, column, left)) + PRIOR_WEIGHT * (priors[at] - x[at]) / priors[at] ** 2
            moved = max(0.0, x[at] + pull / curvatures[at])
            if moved != x[at]:
                left = [rest - value * (moved - x[at]) for rest, value in zip(left, column)]
                x[at] = moved
    return x


def _fit(points: Sequence[Measured], values: dict[str, float]) -> Fit:
    backend, device, dtype, checkpointing = points[0].key
    at_a_time, positions, all_positions = LOGITS[backend]
    return Fit(
        backend=backend,
        device=device,
        dtype=dtype,
        checkpointing=checkpointing,
        host_bytes=HOST_BYTES[device],
        logits=at_a_time,
        logit_positions=positions,
        all_positions=all_positions,
        evaluated_logits=EVALUATED_LOGITS,
        bound=0.0,
        evaluated_bound=0.0,
        points=len(points),
        machine=" and ".join(sorted({point.machine for point in points})),
        **values,
    )


@click.command(help=__doc__.split("\n")[0])
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Write the fits; those of other keys that it has stay.")
def main(files: tuple[Path, ...], out: Path | None) -> None:
    points = sorted((point for file in files for point in read(file)), key=lambda point: point.key)
    found = [fitted(list(group)) for _, group in groupby(points, key=lambda point: point.key)]
    for fit in found:
        group = [point for point in points if point.key == (fit.backend, fit.device, fit.dtype, fit.checkpointing)]
        within = sorted(errors(fit, group, FIRM))
        click.echo(
            f"{fit.backend} {fit.device} {fit.dtype} {fit.checkpointing}: {len(group)} points, errors {within[0]:+.1%} to {within[-1]:+.1%}, "
            f"median {statistics.median(map(abs, within)):.1%}, bound {fit.bound:.0%}, in evaluations {fit.evaluated_bound:.0%}"
        )
    if out:
        keys = {(fit.backend, fit.device, fit.dtype, fit.checkpointing) for fit in found}
        there = json.loads(out.read_text(encoding="utf-8"))["fits"] if out.is_file() else []
        kept = [fit for fit in there if (fit["backend"], fit["device"], fit["dtype"], fit["checkpointing"]) not in keys]
        told = [{key: value for key, value in asdict(fit).items() if key != "stands_in_for"} for fit in found]
        write_atomically(out, json.dumps({"format": 1, "fits": [*kept, *told]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
