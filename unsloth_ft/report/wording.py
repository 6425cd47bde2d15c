"""Numbers and facts of a run record as words; the page and the model card say the same thing."""

from __future__ import annotations

import math
from typing import Any

MIB, GIB = 2**20, 2**30
SCORE_NAMES = {
    "loss": "loss",
    "perplexity": "perplexity",
    "token_f1": "token F1",
    "exact_match": "exact match",
    "stopped": "stopped by itself",
}
SHARES = ("token_f1", "exact_match", "stopped")
LEAST_SHARE = 0.0005  # of a training's time: less is 0.0 %
MINUS = "\N{MINUS SIGN}"
CHOSEN_ON_THE_SAME_ROWS = "The checkpoint was chosen by its loss on these same rows, so the figures after are somewhat optimistic."


def score(key: str, value: float | None) -> str:
    """One score as the reader sees it: shares in per cent, the loss with four digits."""
    if value is None:
        return "not measured"
    if not math.isfinite(value):
        return "no number"
    if key in SHARES:
        return f"{value:.1%}"
    if key == "loss":
        return f"{value:.4f}"
    return f"{value:.3f}" if value < 10_000 else f"{value:.3g}"


def signed(value: float) -> str:
    """A difference in loss, with a real minus sign."""
    return f"{value:+.4f}".replace("-", MINUS) if math.isfinite(value) else "no number"


def interval(difference: dict[str, float]) -> str:
    return f"{signed(difference['value'])}, 95\N{NO-BREAK SPACE}% interval {signed(difference['low'])} to {signed(difference['high'])}"


def verdict_sentence(evaluation: dict[str, Any]) -> str:
    """What the verdict rests on, in one sentence."""
    before, after = evaluation["before"]["loss"], evaluation["after"]["loss"]
    verb = {"better": "fell", "worse": "rose"}.get(evaluation["verdict"], "went")
    known = "" if evaluation["verdict"] != "no change" else " The interval holds 0, so this may be chance."
    return (
        f"The loss on {count(evaluation['rows'], 'held-out row')} {verb} from {score('loss', before)} to {score('loss', after)} nats a"
        f" token ({interval(evaluation['loss_difference'])}).{known}"
    )


def count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(number: float) -> str:
    """Bytes in the unit a person would use; binary units."""
    if number < 1024:
        return f"{number:,.0f} bytes"
    if number < MIB:
        return f"{number / 1024:,.1f} KiB"
    return f"{number / MIB:,.1f} MiB" if number < GIB else f"{number / GIB:,.2f} GiB"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def moment(stamp: str) -> str:
    """`2026-11-23T09:47:02+00:00` as `2026-11-23 09:47:02 UTC`; any other text as it is."""
    return stamp.replace("T", " ", 1).replace("+00:00", " UTC") if stamp.endswith("+00:00") else stamp


def plain(value: Any) -> str:
    """A recipe's or plan's value as text: `0.0002`, `true`, `q_proj, k_proj`, `none`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}={plain(part)}" for key, part in value.items()) or "none"
    return str(value)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested recipe values under their `--set` names."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = plain(value)
    return found


def mixed(part: dict[str, Any]) -> str:
    """What was mixed in of one file, as the record has it."""
    return (
        f"{count(part['taken'], 'training row')} of the {part['rows']:,} in {part['name']} (share {part['share']:g}, sha256 "
        f"{part['sha256'][:12]}) rehearse general skills"
    )


def failed_checks(exports: dict[str, Any]) -> list[str]:
    """`target: check` of every export check that did not hold."""
    return [f"{target}: {check['name']}" for target, export in exports.items() for check in export.get("checks", []) if not check["ok"]]


def shares(seconds_in: dict[str, float]) -> str:
    """`97.4% steps, 2.2% evaluations`: what a training's time went into, the large parts first; what shows nowhere is left out."""
    total = sum(seconds_in.values()) or 1.0
    largest = sorted(seconds_in.items(), key=lambda part: -part[1])
    return ", ".join(f"{seconds / total:.1%} {part}" for part, seconds in largest if seconds / total >= LEAST_SHARE)
