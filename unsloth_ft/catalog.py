"""Finds recipes by name, by path and by entry point, and applies `--set KEY=VALUE`."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import json
import os
import pkgutil
import re
import traceback
import types
import typing
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from pydantic import BaseModel, ValidationError

from unsloth_ft.errors import UserError, nearest
from unsloth_ft.recipe import Recipe

ENTRY_POINTS = "unsloth_ft.recipes"
# What people type elsewhere for a field of ours; spelling alone does not lead from one to the other.
OTHER_NAMES = {
    "alpha": "lora.lora_alpha",
    "batch_size": "train.effective_batch_size",
    "dropout": "lora.lora_dropout",
    "epochs": "train.num_train_epochs",
    "grad_accum": "train.gradient_accumulation_steps",
    "lora_r": "lora.r",
    "lr": "train.learning_rate",
    "max_length": "max_seq_length",
    "rank": "lora.r",
    "scheduler": "train.lr_scheduler_type",
    "steps": "train.max_steps",
}
# A user's recipe file is a program; whatever it raises is its author's to mend.
RECIPE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Entry:
    """A recipe, its name, and where it was found: "built in", a package, or a path."""

    name: str
    recipe: Recipe
    source: str


def names() -> list[str]:
    """The built-in recipes' names, as a user types them: llama31-8b."""
    import unsloth_ft.recipes

    return sorted(_typed(module.name) for module in pkgutil.iter_modules(unsloth_ft.recipes.__path__))


def find(name: str) -> Entry:
    """The recipe of that name, or in the file of that path.

    Raises UserError for an unknown name, with the nearest ones, and for a file without a RECIPE.
    """
    if name.endswith(".py") or "/" in name or "\\" in name:
        return Entry(Path(name).stem, _from_file(Path(name)), Path(name).name)
    if name in names():
        module = importlib.import_module(f"unsloth_ft.recipes.{_module(name)}")
        return Entry(name, module.RECIPE, "built in")
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return Entry(name, _checked(point.load(), f"entry point {point.value}"), point.dist.name if point.dist else point.value)
    known = names() + [point.name for point in entry_points(group=ENTRY_POINTS)]
    raise UserError(
        f'recipe "{name}" is not known.{nearest(name, known)} `unsloth-ft recipes list` shows all; '
        "a file is named by its path, like ./mine.py."
    )


def all_entries() -> list[Entry]:
    """Every recipe that has a name, the built-in ones first."""
    return [find(name) for name in names()] + [find(point.name) for point in entry_points(group=ENTRY_POINTS)]


def override(recipe: Recipe, settings: typing.Sequence[str]) -> Recipe:
    """The recipe with `lora.r=32`-like settings applied, validated as a whole.

    Values are JSON where they parse as JSON, else text. Raises UserError with every mistake at once.
    """
    values = recipe.model_dump()
    mistakes = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            mistakes.append(f'--set "{setting}": expected KEY=VALUE, like lora.r=32.')
            continue
        names = key.strip().startswith(("data.columns.", "data.roles."))  # a column may be called 1, or true
        mistake = _assign(values, key.strip(), text.strip() if names else _value(text.strip()))
        if mistake:
            mistakes.append(f"--set {setting}: {mistake}")
    if mistakes:
        raise UserError("\n".join(mistakes))
    return validated(values, "--set")


def validated(values: dict, source: str) -> Recipe:
    """A Recipe from plain values; UserError with one line a mistake, each naming its key and what was found."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(_sentences(error, source)) from None


def fields(model: type[BaseModel] = Recipe, prefix: str = "") -> dict[str, str]:
    """Every key that `--set` reaches, with its one-line description: {"lora.r": "Rank: …"}."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section:
            found.update(fields(section, f"{prefix}{name}."))
        else:
            found[prefix + name] = (field.description or "").split("\n")[0]
    return found


def _typed(module: str) -> str:
    # A module's name has no dot, so recipes/qwen25_0_5b.py is typed qwen25-0.5b.
    return re.sub(r"_(\d+)_(\d)", r"-\1.\2", module).replace("_", "-")


def _module(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")


def _from_file(path: Path) -> Recipe:
    if not path.is_file():
        raise UserError(f"{path}: no such recipe file.")
    if path.suffix != ".py":
        raise UserError(f"{path}: not a Python file; a recipe is a .py file with a RECIPE.")
    name = f"unsloth_ft_user_recipe_{path.stem}"
    spec = importlib.util.spec_from_loader(name, _Loader(name, os.fspath(path)))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ValidationError as error:
        raise UserError(_sentences(error, str(path))) from None
    except RECIPE_ERRORS as error:
        raise UserError(f"{_line_in(path, error)}: {type(error).__name__}: {error}") from error
    if "RECIPE" not in vars(module):
        raise UserError(f"{path}: no RECIPE in it; expected `RECIPE = Recipe(model=…)`.")
    return _checked(module.RECIPE, str(path))


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads a recipe and leaves no __pycache__ beside it."""

    def set_data(self, *_: object, **__: object) -> None:
        return


def _line_in(path: Path, error: BaseException) -> str:
    """file:line of the recipe's own line that raised; the file alone where there is none (a syntax error names its own)."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == os.fspath(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _checked(value: object, source: str) -> Recipe:
    if not isinstance(value, Recipe):
        raise UserError(f"{source}: RECIPE is of type {type(value).__name__}; expected an unsloth_ft.recipe.Recipe.")
    return value


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _assign(values: dict, key: str, value: object) -> str | None:
    """Puts the value in place; returns what is wrong with the key, or None."""
    parts = key.split(".")
    known = fields()
    if key in known:
        free = None
    else:
        free = next((name for name in ("data.columns", "data.roles", "chat_template_kwargs") if key.startswith(name + ".")), None)
        if free is None:
            candidates = [name for name in known if name.split(".")[-1] == parts[-1]] or [OTHER_NAMES.get(parts[-1].lower())]
            hint = f" Did you mean {candidates[0]}?" if candidates[0] else nearest(key, list(known))
            return f'no recipe field "{key}".{hint} `unsloth-ft recipes show NAME` lists all.'
    if free:
        parts = [*free.split("."), key[len(free) + 1 :]]
    target = values
    for part in parts[:-1]:
        target = target[part]
    if key == "lora.target_modules" and isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if key == "data.mix" and isinstance(value, str):
        value = [value]
    target[parts[-1]] = value
    return None


def _section(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _sentences(error: ValidationError, source: str) -> str:
    """A line a mistake; a field of two types (true/false or text) reports one a type, of which the first is enough."""
    return "\n".join(dict.fromkeys(_sentence(problem, source) for problem in error.errors()))


def _sentence(problem: typing.Any, source: str) -> str:
    places = [str(part) for part in problem["loc"] if not isinstance(part, int)]
    if places[0] == "chat_template_kwargs":
        return f"{source}: {'.'.join(places[:2])} is {problem['input']!r}; expected true, false or a text."
    key = ".".join(places)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f'{source}: no recipe field "{key}".{nearest(key, list(fields()))}'
    end = "" if message.endswith(("?", ".")) else "."
    found = str(problem["input"]).lower() if isinstance(problem["input"], bool) else repr(problem["input"])
    return f"{source}: {key} is {found}; {message[0].lower()}{message[1:]}{end}"
