"""What a person sees while training: rate, loss, time left; and a line a log step in metrics.jsonl."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback

from unsloth_ft.record import write_atomically

PLAIN_LINE_SECONDS = 20


class Metrics(TrainerCallback):
    """Appends to metrics.jsonl; lines beyond the step that a resumed run starts from are taken out first.

    tokens_per_second counts real tokens of the steps since the last line, without padding and without evaluations.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.trainer: Any = None
        self.tokens = 0
        self.seconds = 0.0
        self.started = 0.0
        self.total_tokens = 0
        self.total_seconds = 0.0

    def restore(self, step: int) -> None:
        """Takes up the lines through `step`, and takes the later ones out of the file."""
        text = self.file.read_text(encoding="utf-8", errors="replace") if self.file.is_file() else ""
        records = [record for record in map(_record, text.splitlines()) if record and step and record["step"] <= step]
        kept = "".join(json.dumps(record) + "\n" for record in records)
        if kept != text:
            write_atomically(self.file, kept)
        self.total_tokens = sum(record.get("tokens", 0) for record in records)
        self.total_seconds = sum(record.get("seconds", 0.0) for record in records)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.restore(state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds += time.perf_counter() - self.started
        self.tokens += self.trainer.step_tokens
        if control.should_save:
            control.should_log = True  # what a line sums up is not in the checkpoint, so a line ends at each

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        logs = logs or {}
        if "eval_loss" in logs:
            self._append({"step": state.global_step, "epoch": round(state.epoch or 0, 4), "eval_loss": float(logs["eval_loss"])}, control)
        elif "loss" in logs:
            record = {
                "step": state.global_step,
                "epoch": round(state.epoch or 0, 4),
                "loss": float(logs["loss"]),
                "learning_rate": float(logs["learning_rate"]),
                "grad_norm": float(logs.get("grad_norm", 0.0)),
                "tokens": self.tokens,
                "seconds": round(self.seconds, 4),
                "tokens_per_second": round(self.tokens / self.seconds, 1) if self.seconds else None,
            }
            self._append(record, control)
            self.total_tokens += self.tokens
            self.total_seconds += self.seconds
            self.tokens, self.seconds = 0, 0.0

    def _append(self, record: dict[str, Any], control: Any) -> None:
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
            if control.should_save:  # a checkpoint must not outlive the lines before it
                stream.flush()
                os.fsync(stream.fileno())


def _record(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl, or None for one that a kill or a power cut left in pieces."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "step" in record else None


class Bar(TrainerCallback):
    """A progress bar on stderr; without a terminal a plain line now and then."""

    def __init__(self, console: Console, metrics: Metrics) -> None:
        self.console = console
        self.metrics = metrics
        self.loss = self.eval_loss = float("nan")
        self.last_line = 0.0
        self.progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.last_line = time.monotonic()
        if not self.console.is_terminal:
            return
        columns = (
            TextColumn("training"),
            BarColumn(),
            TextColumn("step {task.completed}/{task.total}"),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=self.console, transient=True)
        self.task = self.progress.add_task("", total=state.max_steps, completed=state.global_step, numbers="")
        self.progress.start()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        logs = logs or {}
        self.loss = float(logs.get("loss", self.loss))
        if "eval_loss" in logs:
            self.eval_loss = float(logs["eval_loss"])
            self.console.print(f"  step {state.global_step}/{state.max_steps}: eval loss {self.eval_loss:.4f}", highlight=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        seconds, tokens = self.metrics.total_seconds + self.metrics.seconds, self.metrics.total_tokens + self.metrics.tokens
        rate = tokens / seconds if seconds else 0.0
        if self.progress:
            self.progress.update(self.task, completed=state.global_step, numbers=f"{self._loss()}  {rate:,.0f} tokens/s")
        elif time.monotonic() - self.last_line > PLAIN_LINE_SECONDS:
            self.last_line = time.monotonic()
            left = (state.max_steps - state.global_step) * seconds / max(1, state.global_step)
            self.console.print(
                f"  step {state.global_step}/{state.max_steps}: {self._loss()}, {rate:,.0f} tokens/s, about {left / 60:.1f} min left",
                highlight=False,
            )

    def _loss(self) -> str:
        return "loss …" if math.isnan(self.loss) else f"loss {self.loss:.3f}"  # none is logged before the first step's end

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        if self.progress:
            self.progress.stop()
            self.progress = None


class LastStep(TrainerCallback):
    """The last step is evaluated and saved like any other that ends an interval."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True


class EarlyStopping(TrainerCallback):
    """Ends the run after `patience` evaluations without a better eval loss.

    The count is read from the log, which is in the checkpoint; transformers' own callback begins at 0 in a resumed run.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if is_exhausted(state.log_history, self.patience):
            control.should_training_stop = True


def is_exhausted(log_history: list[dict[str, Any]], patience: int) -> bool:
    """Whether the last `patience` evaluations brought nothing better; 0 is endless patience.

    The evaluation before the first step doesn't count.
    """
    losses = [line["eval_loss"] for line in log_history if "eval_loss" in line and line["step"] > 0]
    return bool(patience) and len(losses) - 1 - losses.index(min(losses)) >= patience if losses else False


class Interruption(TrainerCallback):
    """SIGINT and SIGTERM end the run after the step at hand, with a checkpoint; a second one ends it at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def __enter__(self) -> Interruption:
        for number in self.before:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.received is not None:
            control.should_save = control.should_training_stop = True
