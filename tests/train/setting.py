"""A tiny training run, whole: recipe, plan, rows and model, for any test that trains.

The machine is a literal (no GPU), so that a test says the same on every machine; UNSLOTH_FORCE_CPU must be set before
unsloth is imported.
"""

from __future__ import annotations

import gc
import io
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console

from unsloth_ft import backends, catalog, token_store, xray
from unsloth_ft.backends import Backend
from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat, Row, load_tokenizer
from unsloth_ft.data.conversation import Conversation, Message
from unsloth_ft.hardware import Hardware
from unsloth_ft.plan import Decision, Plan, resolve
from unsloth_ft.recipe import Recipe
from unsloth_ft.record import RunDirectory

MACHINE = Hardware(gpus=(), cpu_name="a test's CPU", cpu_count=2, cpu_has_bfloat16=True, memory_bytes=16 * 2**30)
TOWNS = (
    "Oslo",
    "Lima",
    "Quito",
    "Cairo",
    "Accra",
    "Hanoi",
    "Minsk",
    "Sofia",
    "Tunis",
    "Dhaka",
    "Bern",
    "Riga",
    "Doha",
    "Male",
    "Apia",
    "Suva",
)
SMALL = (
    "train.per_device_train_batch_size=2",
    "train.gradient_accumulation_steps=1",
    "train.learning_rate=0.01",
    "lora.r=4",
    "dtype=float32",
    "train.early_stopping_patience=0",
    "evaluate.answers=2",
    "evaluate.max_new_tokens=4",
    "evaluate.bootstrap_samples=200",
)


@dataclass(frozen=True)
class Setting:
    """What `train` and `compare` want, without the model."""

    base: BaseModel
    recipe: Recipe
    plan: Plan
    chat: Chat
    conversations: tuple[Conversation, ...]
    held_out_conversations: tuple[Conversation, ...]
    rows: tuple[Row, ...]
    held_out: tuple[Row, ...]

    def model(self, backend: Backend) -> Any:
        """The base with a new adapter."""
        with backends.third_party():
            return backend.add_lora(backend.load(self.base, self.plan), self.recipe, self.plan)

    def train(self, model: Any, backend: Backend, out: Path, *, console: Console | None = None) -> Any:
        from unsloth_ft.train.loop import train

        out.mkdir(parents=True, exist_ok=True)
        return train(
            model,
            backend,
            recipe=self.recipe,
            plan=self.plan,
            rows=self.rows,
            held_out=self.held_out,
            chat=self.chat,
            run=RunDirectory(out),
            console=console or Console(file=io.StringIO()),
        )


def conversations(count: int, *, file: str = "faq.jsonl", first: int = 0) -> tuple[Conversation, ...]:
    """Questions and answers of unlike lengths, 4 to about 40 words; the same for the same number."""
    found = []
    for number in range(first, first + count):
        town = TOWNS[number % len(TOWNS)]
        question = f"When does the office in {town} open on day {number}?"
        answer = f"At {number % 12 + 1}." + f" The one in {town} closes at noon." * (number * 7 % 5)
        found.append(Conversation((Message("user", question), Message("assistant", answer)), file, number + 1))
    return tuple(found)


@lru_cache
def tokenizer_of(folder: Path) -> Any:
    """Read once a process. What is imported by then is none of the garbage that accelerate collects at each training's begin."""
    tokenizer = load_tokenizer(folder)
    gc.freeze()
    return tokenizer


def setting(folder: Path, *settings: str, backend: str = "peft", rows: int = 12, held_out: int = 4) -> Setting:
    """The setting on a model folder, with `--set` values on top of SMALL."""
    recipe = catalog.override(Recipe(model=os.fspath(folder)), [*SMALL, *settings])
    base = BaseModel(folder.name, None, folder, "a folder")
    chat = Chat(tokenizer_of(folder), template_kwargs=recipe.chat_template_kwargs)
    train, held = conversations(rows), conversations(held_out, file="held_out.jsonl", first=100)
    encoded, held_rows = token_store.tokenized((train, held), chat=chat).parts
    plan = resolve(recipe, xray.measure(encoded, held_rows), base.facts(), MACHINE, Decision(backend, "a test"))
    kept, _ = xray.look(encoded, plan.max_seq_length.value, chat.tokenizer)
    return Setting(base, recipe, plan, chat, train, held, tuple(kept), tuple(held_rows))
