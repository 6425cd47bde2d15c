"""A run directory as training leaves it, without the training: adapter, record, and the adapter's answers."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.export import adapters
from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.data.conversation import Message
from unsloth_ft.export import references
from unsloth_ft.export.pipeline import Options, export
from unsloth_ft.export.targets import parse
from unsloth_ft.record import RunDirectory

QUESTIONS = ("What is LoRA?", "Name three rivers in Asia.", "Wie spät ist es?")
LONGEST = 6


def base_model(folder: Path) -> BaseModel:
    return BaseModel(folder.name, None, folder, "a folder")


def answers(base: Path, adapter: Path) -> list[dict[str, Any]]:
    """Lines of eval/prompts.jsonl."""
    chat = Chat(load_tokenizer(base))
    prompts = [chat.ids(chat.render([Message("user", text)], add_generation_prompt=True)) for text in QUESTIONS]
    found = references.references(base, chat, prompts, dtype="float32", device="cpu", max_new_tokens=LONGEST, adapter=adapter)
    return [
        {"where": f"faq.jsonl:{at}", "prompt_ids": prompt, "answer_ids": list(answer.ids)}
        for at, (prompt, answer) in enumerate(zip(prompts, found), 1)
    ]


def trained_run(
    path: Path, base: Path, adapter: Path, lines: list[dict[str, Any]], *, max_seq_length: int = 64, load_in_4bit: bool = False
) -> RunDirectory:
    directory = RunDirectory(path)
    path.mkdir(parents=True)
    shutil.copytree(adapter, directory.adapter)
    plan = {"dtype": "float32", "device": "cpu", "max_seq_length": max_seq_length, "load_in_4bit": load_in_4bit}
    directory.update(
        status="running",
        base_model={"model": "owner/small", "sha256": base_model(base).fingerprint()},
        plan={key: {"value": value, "reason": "a test"} for key, value in plan.items()},
        recipe={"values": {"evaluate": {"max_new_tokens": LONGEST}}},
    )
    directory.evaluation.mkdir()
    (directory.evaluation / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return directory


def make(directory: RunDirectory, base: Path, *targets: str, console: Console | None = None, **options: Any) -> dict[str, Any]:
    """`unsloth-ft export --to …`: the record's exports."""
    chat = Chat(load_tokenizer(base))
    quiet = console or Console(file=io.StringIO())
    making = Options(**{"offline": True, **options})  # a test must make no model in the developer's own Ollama
    return export(directory, parse(targets), base=base_model(base), chat=chat, console=quiet, options=making)["exports"]


def exported(family: Path, folder: Path, *targets: str) -> tuple[RunDirectory, Path]:
    """(`my-run` in the folder with these exports, its base): SmolLM2's small model and a random adapter."""
    base = small_model(family, folder / "small")
    adapter = adapters.save(adapters.peft_model(base), folder / "adapter")
    directory = trained_run(folder / "my-run", base, adapter, answers(base, adapter))
    make(directory, base, *targets)
    return directory, base


def changed_config(base: Path, tmp_path: Path, **values: Any) -> Path:
    """A copy of the base whose config.json says something else."""
    folder = shutil.copytree(base, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | values), encoding="utf-8")
    return folder


VOCABULARY = 2048


def small_model(family: Path, folder: Path) -> Path:
    """SmolLM2's tiny model with the first 2,048 tokens of its vocabulary: all that an export does, in a tenth of the time."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(family, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    kept = {token: index for token, index in tokenizer["model"]["vocab"].items() if index < VOCABULARY}
    tokenizer["model"]["vocab"] = kept
    tokenizer["model"]["merges"] = [pair for pair in tokenizer["model"]["merges"] if _merged(pair) in kept]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": VOCABULARY}), encoding="utf-8")
    state = load_file(folder / "model.safetensors")
    state["model.embed_tokens.weight"] = state["model.embed_tokens.weight"][:VOCABULARY].contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _merged(pair: str | list[str]) -> str:
    return "".join(pair.split(" ") if isinstance(pair, str) else pair)
