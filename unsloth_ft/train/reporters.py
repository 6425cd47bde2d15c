"""Where else a training's curve is sent: `train.report_to`, checked before a weight is loaded."""

from __future__ import annotations

import importlib.util

from unsloth_ft.errors import MachineError


def check(report_to: str) -> None:
    """Raises MachineError when the package is missing that `train.report_to` names (package and reporter are spelt alike)."""
    if report_to != "none" and importlib.util.find_spec(report_to) is None:
        raise MachineError(
            f"train.report_to is {report_to}, but {report_to} is not installed. Install it: pip install {report_to}. "
            "Or leave train.report_to out."
        )
