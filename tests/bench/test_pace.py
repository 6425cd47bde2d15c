"""The one model of a card's pace against every step that was measured on one."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path

from unsloth_ft.cards import find
from unsloth_ft.flops import model_flops
from unsloth_ft.known_models import KNOWN
from unsloth_ft.memory_fit import checkpointing_name
from unsloth_ft.pace import ERROR, operations_a_second, started_seconds, step_seconds
from unsloth_ft.plan_memory import RECOMPUTED
from unsloth_ft.recipe import PROJECTIONS

RESULTS = Path(__file__).parents[2] / "bench" / "results"
LLAMA = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]
WARM_UP = 2  # steps


def estimated(card: str, backend: str, *, tokens: float, row: int, passes: int, padding_free: bool, checkpointed: bool) -> float:
    """Seconds of a step of so many computed tokens in rows of that length, half of them learned."""
    operations = model_flops(LLAMA, [(row, row // 2)], r=16, target_modules=PROJECTIONS) * tokens / row
    rate, started = operations_a_second(find(card)), started_seconds(backend, padding_free=padding_free)
    assert rate is not None
    return step_seconds(
        operations, passes=passes, layers=LLAMA.num_hidden_layers, rate=rate, started=started, again=RECOMPUTED if checkpointed else 1.0
    )


def steps_of_the_bench() -> dict[str, tuple[float, float]]:
    """Case and leg -> (estimated, measured) seconds of a step: the median of the steps, of the quickest repeat."""
    measured: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for file in sorted(RESULTS.glob("*-cuda/*/*.json")):
        told = json.loads(file.read_text(encoding="utf-8"))
        setup = {name: decision["value"] for name, decision in told["setup"].items() if "value" in decision}
        if told["outcome"] != "done" or len(told["steps"]) <= WARM_UP or setup["backend"] not in ("unsloth", "peft"):
            continue
        steps = told["steps"][WARM_UP:]
        tokens = statistics.mean(step["computed_tokens"] for step in steps)
        rows = setup["per_device_train_batch_size"] * setup["gradient_accumulation_steps"]
        found = estimated(
            "h200", setup["backend"], tokens=tokens, row=round(tokens / rows), passes=setup["gradient_accumulation_steps"],
            padding_free=setup["backend"] == "peft" and bool(setup["padding_free"]),  # Unsloth padded all of them, as the tokens tell
            checkpointed=checkpointing_name(setup["gradient_checkpointing"]) != "none",
        )  # fmt: skip
        measured[f"{told['case']}/{told['leg']}"].append((found, statistics.median(step["seconds"] for step in steps)))
    return {name: min(pairs, key=lambda pair: pair[1]) for name, pairs in measured.items()}


def passes_of_the_layouts() -> dict[str, tuple[float, float]]:
    """The same of an H100's four steps of 8 FAQ rows, of which 57 % are padding where they are padded."""
    found = {}
    for point in json.loads((RESULTS / "2026-11-26-layouts-h100.json").read_text(encoding="utf-8"))["points"]:
        if point.get("name") != "faq":
            continue
        tokens = point["tokens"] if point["flat"] else point["tokens"] / 0.43
        seconds = estimated(
            "h100", point["backend"], tokens=tokens, row=167, passes=4 * 8 // point["micro"], padding_free=point["flat"],
            checkpointed=bool(point["checkpointing"]),
        )  # fmt: skip
        found[f"{point['backend']}, flat {point['flat']}, checkpointing {point['checkpointing']}"] = seconds, min(point["times"])
    return found


def test_the_estimate_is_within_its_error_of_every_measured_step():
    pairs = steps_of_the_bench() | passes_of_the_layouts()
    assert len(pairs) >= 12
    errors = {name: round(expected / seconds - 1, 2) for name, (expected, seconds) in pairs.items()}
    assert {name: error for name, error in errors.items() if abs(error) > ERROR} == {}
