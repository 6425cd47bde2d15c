"""Where else a training's curve is sent: `train.report_to`, checked before a weight is loaded."""

from __future__ import annotations

import importlib.util

from unsloth_ft.errors import MachineError, UserError, nearest

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}


def check(report_to: str) -> None:
    """Raises UserError for a reporter that is none of ours, MachineError when its package is missing."""
    if report_to == "none":
        return
    if report_to not in PACKAGES:
        known = ("none", *PACKAGES)
        raise UserError(f'train.report_to is "{report_to}"; expected {", ".join(known[:-1])} or {known[-1]}.{nearest(report_to, known)}')
    package = PACKAGES[report_to]
    if importlib.util.find_spec(package) is None:
        raise MachineError(f"train.report_to is {report_to}, but {package} is not installed. Install it: pip install {package}. Or leave report_to out.")
