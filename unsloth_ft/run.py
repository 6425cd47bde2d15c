"""The story: recipe, plan, data, backend, training, evaluation, export, report. Read this file first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

from unsloth_ft import record
from unsloth_ft.begin import begin
from unsloth_ft.errors import GateError, UnslothFtError
from unsloth_ft.export.pipeline import Options, export
from unsloth_ft.export.preflight import preflight
from unsloth_ft.export.targets import Target
from unsloth_ft.measured import remember_training
from unsloth_ft.prepare import Prepared
from unsloth_ft.record import RunDirectory
from unsloth_ft.report import terminal
from unsloth_ft.report.memory_table import show_bars

if TYPE_CHECKING:
    from peft import PeftModel


def run(
    prepared: Prepared,
    directory: RunDirectory,
    targets: tuple[Target, ...],
    *,
    command: list[str],
    local: dict[str, Any],
    console: Console,
    began: float | None = None,
) -> dict[str, Any]:
    """Trains, proves, exports and reports; goes on where the same command stopped before. Returns run.json.

    `began`: time.perf_counter() when the command began; None: now.
    Raises what its stages raise; a failure's reason and the report so far are in the run directory then.
    """
    began = time.perf_counter() if began is None else began
    stages = preflight(targets, prepared.base, prepared.chat, directory, prepared.hardware, dtype=prepared.plan.dtype.value)
    with directory.held():
        begin(prepared, directory, command, local)
        terminal.show_plan(prepared, console)
        show_bars(prepared.plan.fitting.as_json(), console)
        terminal.show_stages(stages, prepared.hardware, directory, console)
        try:
            model = tuned_model(prepared, directory, console, began=began)
            prove(prepared, directory, model, console)
            del model
            options = Options(offline=prepared.request.offline)
            export(directory, targets, base=prepared.base, chat=prepared.chat, console=console, options=options)
        except UnslothFtError as error:
            reported(directory, status="failed", error=str(error))
            raise
        except KeyboardInterrupt:
            reported(directory, status="interrupted")
            raise
        return finish(prepared, directory)


def tuned_model(prepared: Prepared, directory: RunDirectory, console: Console, *, began: float) -> PeftModel | None:
    """The trained adapter on its base, trained now if it isn't yet; None when all that follows is done too."""
    from unsloth_ft.backends import third_party
    from unsloth_ft.train.loop import save_adapter, train

    backend, plan = prepared.backend, prepared.plan
    known = directory.read()
    trained = "training" in known and (directory.adapter / "adapter_model.safetensors").is_file()
    if trained and "evaluation" in known:
        return None
    console.print(f"loading {prepared.base.model} from {prepared.base.source}")
    with third_party():
        base = backend.load(prepared.base, plan)
        model = backend.load_adapter(base, directory.adapter, plan) if trained else backend.add_lora(base, prepared.recipe, plan)
    if trained:
        return model
    training = train(
        model,
        backend,
        recipe=prepared.recipe,
        plan=plan,
        rows=prepared.rows,
        held_out=prepared.held_out_rows,
        chat=prepared.chat,
        run=directory,
        console=console,
        began=began,
    )
    save_adapter(model, prepared.chat, prepared.base.model, directory)
    directory.update(training=training.as_json())
    terminal.show_training(training, console)
    terminal.show_warnings(remember_training(plan, prepared.hardware, training.peak_allocated_bytes), console)
    return model


def prove(prepared: Prepared, directory: RunDirectory, model: PeftModel | None, console: Console) -> None:
    """Before against after on the held-out rows."""
    from unsloth_ft.evaluate.compare import compare
    from unsloth_ft.train import before

    if model is None:
        return
    console.print(f"comparing before and after on {len(prepared.held_out_rows)} held-out rows")
    began = time.perf_counter()
    comparison = compare(
        model,
        prepared.backend,
        recipe=prepared.recipe,
        plan=prepared.plan,
        conversations=prepared.held_out,
        rows=prepared.held_out_rows,
        chat=prepared.chat,
        losses_before=before.read(directory, rows=len(prepared.held_out_rows), loss=directory.read()["training"]["first_eval_loss"]),
    )
    directory.evaluation.mkdir(exist_ok=True)
    folders = directory.private_folders()
    record.write_lines(directory.evaluation / "answers.jsonl", comparison.pairs, folders=folders)
    record.write_lines(directory.evaluation / "prompts.jsonl", comparison.prompts, folders=folders)
    seconds = round(time.perf_counter() - began, 2)
    directory.update(evaluation=comparison.as_json(side_by_side=prepared.recipe.evaluate.side_by_side) | {"seconds": seconds})
    console.print(terminal.verdict_line(comparison.as_json()))


def reported(directory: RunDirectory, **parts: Any) -> dict[str, Any]:
    """Puts the parts into run.json and writes report and model card from it."""
    from unsloth_ft.report import html, model_card

    result = directory.update(**parts)
    html.write(directory, result)
    if directory.adapter.is_dir():
        model_card.write(directory, result)
    return result


def finish(prepared: Prepared, directory: RunDirectory) -> dict[str, Any]:
    """The report, the model card and the verdict that was demanded."""
    result = reported(directory, status="done", error=None)
    demanded, verdict = prepared.recipe.evaluate.require, result["evaluation"]["verdict"]
    if (demanded == "better" and verdict != "better") or (demanded == "not_worse" and verdict == "worse"):
        raise GateError(f'{directory.name}: the result is "{verdict}" and evaluate.require demands "{demanded}". Everything is kept.')
    return result
