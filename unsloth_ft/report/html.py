"""report.html: the whole run on one page that needs no network, no script and no font.

All text of a run is hostile here (a data file's `<script>`, a model's control character): the template escapes every value,
control characters become visible signs, and the page's own policy forbids the browser to load or run anything.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from unsloth_ft.record import RunDirectory, write_atomically
from unsloth_ft.report import memory_table, pages, plots, wording

# Characters of a text on the page; a longer one keeps its beginning and its end.
LONGEST_ANSWER, LONGEST_PIECE = 1_000, 6_000
# What a run that only began has no entry for.
ABSENT: dict[str, Any] = {"status": "unknown", "evaluation": None, "data": {}, "plan": {}, "versions": {}, "warnings": []}
MARKS = {"better": "✓", "no change": "≈", "worse": "✗"}


@dataclass(frozen=True)
class Curves:
    """metrics.jsonl as (step, loss) points; `unreadable` counts lines that are no JSON, as a kill can leave one."""

    train: tuple[plots.Point, ...]
    evaluations: tuple[plots.Point, ...]
    unreadable: int

    @property
    def not_finite(self) -> int:
        return sum(not math.isfinite(loss) for _, loss in (*self.train, *self.evaluations))

    @property
    def last_step(self) -> int:
        return int(max((step for step, _ in (*self.train, *self.evaluations)), default=0))


def write(directory: RunDirectory, record: dict[str, Any]) -> Path:
    """Writes report.html from run.json's content and metrics.jsonl, for a run in any state; returns its path."""
    write_atomically(directory.report, page(record, read_curves(directory.metrics_file)))
    return directory.report


def read_curves(file: Path) -> Curves:
    """The losses in metrics.jsonl; no file gives no points."""
    train, evaluations, unreadable = [], [], 0
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    for line in lines:
        entry = _entry(line)
        if entry is None:
            unreadable += 1
        elif "eval_loss" in entry:
            evaluations.append((entry["step"], entry["eval_loss"]))
        elif "loss" in entry:
            train.append((entry["step"], entry["loss"]))
    return Curves(tuple(train), tuple(evaluations), unreadable)


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None


def page(record: dict[str, Any], curves: Curves) -> str:
    """The page's HTML."""
    filters = {
        "score": _score,
        "size": wording.size,
        "duration": wording.duration,
        "plain": wording.plain,
        "short": shorten,
        "moment": wording.moment,
        "mixed": wording.mixed,
    }
    return pages.render(
        pages.HERE / "page.html",
        filters=filters,
        run=ABSENT | record,
        head=headline(record, curves),
        curves=curves_view(record, curves),
        scores=scores_view(record.get("evaluation")),
        pairs=pairs_view(record),
        example=example_view(record),
        cost=cost_view(record),
        memory=memory_view(record.get("memory")),
        exports=exports_view(record.get("exports", {})),
        facts=facts_view(record),
        recipe=wording.flat(record.get("recipe", {}).get("values", {})),
        failed=wording.failed_checks(record.get("exports", {})),
        command=shlex.join(record.get("command", [])),
        chosen=wording.CHOSEN_ON_THE_SAME_ROWS,
    )


def shorten(text: str, most: int = LONGEST_ANSWER) -> str:
    """The text, or its beginning and end with the number of characters between them that are left out."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"


def headline(record: dict[str, Any], curves: Curves) -> dict[str, Any]:
    """The verdict, or why there is none."""
    evaluation, status = record.get("evaluation"), record.get("status", "unknown")
    if evaluation:
        difference = evaluation["loss_difference"]
        label = f"difference in loss {wording.interval(difference)}"
        return {
            "verdict": evaluation["verdict"],
            "mark": MARKS.get(evaluation["verdict"], ""),
            "kind": evaluation["verdict"].replace(" ", "-"),
            "sentence": wording.verdict_sentence(evaluation),
            "interval": plots.interval(difference["value"], difference["low"], difference["high"], label=label),
        }
    if "training" in record:
        sentence = f"Training is finished, the comparison of before and after is not. The run's status is “{status}”."
    elif curves.last_step:
        planned = record.get("plan", {}).get("max_steps", {}).get("value")
        of = f" of {planned:,} planned" if planned else ""
        sentence = f"Training is not finished: its last step so far is {curves.last_step:,}{of}. The run's status is “{status}”."
    else:
        sentence = f"No training step is recorded. The run's status is “{status}”."
    if record.get("error"):
        sentence += f" It ended with: {record['error']}"
    return {"verdict": "no verdict yet", "mark": "…", "kind": "none", "sentence": sentence, "interval": Markup("")}


def curves_view(record: dict[str, Any], curves: Curves) -> dict[str, Any]:
    """The loss plot in two sizes, and what has to be said about it."""
    training = record.get("training", {})
    best = training.get("best_step")
    label = f"Training and eval loss over {curves.last_step:,} steps"
    if curves.evaluations:
        (first, begin), (last, end) = curves.evaluations[0], curves.evaluations[-1]
        label += f"; eval loss {wording.score('loss', begin)} at step {first:,}, {wording.score('loss', end)} at step {last:,}"
    if best is not None:
        label += f"; best at step {best:,}"
    drawn = [
        plots.loss_curves(curves.train, curves.evaluations, best_step=best, size=size, label=label) for size in (plots.WIDE, plots.NARROW)
    ]
    notes = []
    if curves.not_finite:
        notes.append(
            f"{wording.count(curves.not_finite, 'loss', 'losses')} in metrics.jsonl {'is' if curves.not_finite == 1 else 'are'} no number"
            " (NaN or infinite); the line breaks there."
        )
    if curves.unreadable:
        notes.append(
            f"{wording.count(curves.unreadable, 'line')} of metrics.jsonl can't be read and {'is' if curves.unreadable == 1 else 'are'}"
            " left out."
        )
    if training.get("resumed_from_step"):
        notes.append(f"The run was resumed from step {training['resumed_from_step']:,}.")
    if training.get("stopped_early"):
        notes.append(f"It stopped early, after step {training['steps']:,}: the eval loss no longer fell.")
    return {
        "wide": drawn[0],
        "narrow": drawn[1],
        "smoothing": plots.smoothing_width(len(curves.train)),
        "best_step": best,
        "best_loss": training.get("best_eval_loss"),
        "has_train": bool(curves.train),
        "has_eval": bool(curves.evaluations),
        "notes": notes,
    }


def scores_view(evaluation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One entry a score, with both bars; a share's bar is of 100 %, any other's of the larger side."""
    found = []
    for key, name in wording.SCORE_NAMES.items():
        if not evaluation:
            break
        before, after = evaluation["before"][key], evaluation["after"][key]
        if before is None or after is None:
            continue
        whole = 1.0 if key in wording.SHARES else max(before, after) or 1.0
        found.append(
            {
                "key": key,
                "name": name,
                "unit": (
                    {"loss": "nats a token", "perplexity": "e to the loss"}.get(
                        key, "share of the answers" if key != "token_f1" else "mean over the answers"
                    )
                ),
                "wanted": "higher is better" if key in wording.SHARES else "lower is better",
                "before": before,
                "after": after,
                "bars": (plots.bar(before / whole, kind="before"), plots.bar(after / whole, kind="after")),
            }
        )
    return found


def pairs_view(record: dict[str, Any]) -> list[dict[str, Any]]:
    shown = record.get("recipe", {}).get("values", {}).get("evaluate", {}).get("side_by_side", 10)
    return list(record.get("evaluation", {}).get("pairs", []))[:shown]


def example_view(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The example row's pieces; what would make the page long is left out of the middle of a piece."""
    pieces = record.get("data", {}).get("xray", {}).get("example", {}).get("pieces", [])
    return [{"text": shorten(piece["text"], LONGEST_PIECE), "learned": piece["learned"]} for piece in pieces]


def cost_view(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, what it is) of memory, speed and time."""
    training = record.get("training")
    if not training:
        return []
    on_gpu = record.get("plan", {}).get("device", {}).get("value") == "cuda"
    share = training["trainable_parameters"] / training["all_parameters"] if training["all_parameters"] else math.nan
    return [
        (
            "peak memory",
            wording.size(training["peak_memory_bytes"]),
            "reserved on the GPU" if on_gpu else "resident memory of the process, model included; no GPU",
        ),
        ("speed", f"{training['tokens_per_second']:,.0f} tokens/s", "real tokens in training steps, without padding and evaluations"),
        ("training time", wording.duration(training["seconds"]), f"{training['seconds']:,.1f} s, evaluations and checkpoints included"),
        *_time_view(training),
        ("steps", f"{training['steps']:,}", f"{training['epochs']:.3g} epochs, {training['tokens']:,} tokens"),
        ("trainable parameters", f"{training['trainable_parameters']:,}", f"{share:.2%} of {training['all_parameters']:,}"),
    ]


def _time_view(training: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What the time went into; nothing for a record of before that was measured, or of a call that had no step left to do."""
    start_up, seconds_in = training.get("start_up_seconds"), training.get("seconds_in", {})
    if start_up is None:
        return []
    return [
        ("start-up", wording.duration(start_up), "until the first step; the evaluation before it counts below"),
        ("time in steps", f"{seconds_in['steps'] / (sum(seconds_in.values()) or 1.0):.1%}", wording.shares(seconds_in)),
    ]


def memory_view(memory: dict[str, Any] | None) -> dict[str, Any] | None:
    """The plan's memory table; None for a run that was begun before there was one."""
    if not memory:
        return None
    phases, there = memory["phases"], memory["available_bytes"]
    names = memory_table.part_names(memory)
    cells = {name: [memory_table.gibibytes(phase["parts"][name]) if name in phase["parts"] else "" for phase in phases] for name in names}
    return {
        "there": memory_table.gibibytes(there),
        "sentences": [
            text[:1].upper() + text[1:] + "."
            for text in (memory_table.basis_sentence(memory), memory_table.time_sentence(memory["time"]), memory_table.space_sentence(memory))
        ],
        "phases": [memory_table.phase_name(phase) for phase in phases],
        "parts": [*cells.items(), ("in all", [memory_table.gibibytes(phase["bytes"]) for phase in phases])],
        "headers": memory_table.fits_headers(memory),
        "fits": memory_table.fits_rows(memory),
        "bars": [
            {
                "name": phase["name"],
                "size": memory_table.gibibytes(phase["bytes"]),
                "bar": plots.bar(phase["bytes"] / there, kind="after" if phase["needed_bytes"] <= there else "before"),
            }
            for phase in phases
            if not phase["on_host"]
        ],
    }


def exports_view(exports: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "target": target,
            "files": export.get("files", []),
            "checks": export.get("checks", []),
            "notes": export.get("notes", []),
            "seconds": export.get("seconds"),
            "held": sum(bool(check["ok"]) for check in export.get("checks", [])),
        }
        for target, export in exports.items()
    ]


def facts_view(record: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the run was made from and with, as titled lists of (name, value)."""
    base, data, hardware = record.get("base_model", {}), record.get("data", {}), record.get("hardware", {})
    hashes = [
        ("base model config.json", base.get("config_sha256")),
        ("base model fingerprint", base.get("sha256")),
        ("chat template", base.get("chat_template_sha256")),
        ("training rows", data.get("train_sha256")),
        ("held-out rows", data.get("held_out_sha256")),
        *((f"data file {file['name']}", file["sha256"]) for file in data.get("files", [])),
    ]
    groups = [
        ("Base model", [("model", base.get("model")), ("revision", base.get("revision")), ("loaded from", base.get("loaded_from"))]),
        ("Hardware", _hardware(hardware)),
        ("Versions", list(record.get("versions", {}).items())),
        ("Seeds", list(record.get("seeds", {}).items())),
        ("sha256", hashes),
        (
            "Times",
            [(name, wording.moment(record[key])) for name, key in (("begun", "created"), ("last written", "updated")) if key in record],
        ),
    ]
    known = [(title, [(name, str(value)) for name, value in rows if value is not None]) for title, rows in groups]
    return [(title, rows) for title, rows in known if rows]


def _hardware(hardware: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for gpu in hardware.get("gpus", ()):
        yield (
            "GPU",
            (
                f"{gpu['name']}, {wording.size(gpu['memory_bytes'])}, SM {'.'.join(map(str, gpu['compute_capability']))}, driver"
                f" {gpu.get('driver') or 'unknown'}"
            ),
        )
    if hardware:
        if not hardware.get("gpus"):
            yield "GPU", "none"
        yield "CPU", f"{hardware['cpu_name']}, {wording.count(hardware['cpu_count'], 'core')}"
        yield "memory", wording.size(hardware["memory_bytes"])
        yield "system", hardware.get("system")


def _score(value: float | None, key: str) -> str:
    return wording.score(key, value)
