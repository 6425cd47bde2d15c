"""What a training's time goes into: steps, and all that should not show beside them."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback

PARTS = ("steps", "evaluations", "checkpoints", "data", "logging", "rest")


class Timing(TrainerCallback):
    """Seconds by part, from the training's begin to its end. Add it last, so that what other callbacks do counts to their part.

    Between two events of the trainer only one thing happens: `seconds` has all of the time, and no part of it twice.
    `began`: time.perf_counter() when the command began.
    """

    def __init__(self, *, began: float) -> None:
        self.began = began
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.start_up_seconds: float | None = None
        """Until the first step, without the evaluation before it."""
        self.last = 0.0

    def as_json(self) -> dict[str, float]:
        """Rounded to a millisecond."""
        return {part: round(seconds, 3) for part, seconds in self.seconds.items()}

    def _ends(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] += now - self.last
        self.last = now

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.last = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ends("data")
        if self.start_up_seconds is None:
            self.start_up_seconds = round(self.last - self.began - self.seconds["evaluations"], 3)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ends("steps")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self._ends("evaluations" if "eval_loss" in (logs or {}) else "logging")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ends("evaluations")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ends("checkpoints")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ends("rest")
