"""What is timed beside training: preparing data, exporting, starting the command line. Each kind of leg is one function.

All that a task needs (rows, an adapter, a tokenizer, imports) is there before its clock starts.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unsloth_ft import catalog
from unsloth_ft.bench.case import Case, Leg
from unsloth_ft.bench.data_check import check
from unsloth_ft.bench.task import LAST_LINES, Task
from unsloth_ft.errors import MachineError

WORDS = (
    "the a of to in and is for on with how what when where account order refund shipping invoice password reset contact support day week "
    "please open close change add remove update delivery address country payment card bank receipt warranty return exchange size colour"
).split()
TOKENS_A_WORD = 1.2  # of the words above with SmolLM2's tokenizer, the spaces included
P95 = 1.645  # standard deviations between a normal distribution's median and its 95th percentile
PLANNED_ROWS = 100  # of the file that `plan` reads


def task(leg: Leg, case: Case, model: Path, scratch: Path) -> Task:
    """The leg's work, made ready. `scratch` holds its inputs and outputs."""
    kind = leg.kind
    if kind in ("prepare-ours", "prepare-again"):
        return prepare_ours(case, model, scratch, again=kind == "prepare-again")
    if kind == "prepare-datasets":
        return prepare_datasets(case, model, scratch)
    if kind.startswith("check-"):
        return check(kind, write_rows(scratch / "rows.jsonl", case), scratch)
    if kind == "merge":
        return merge(case, model, scratch)
    if kind.startswith("gguf-"):
        return gguf(kind.removeprefix("gguf-"), model, scratch)
    if kind == "cli-run":
        return first_step(case, model, scratch)
    if kind.startswith("cli-"):
        return start(kind.removeprefix("cli-"), case, model, scratch)
    raise ValueError(f"a leg of kind {kind} trains; expected one of bench.case.COMMAND_KINDS")


def prepare_ours(case: Case, model: Path, scratch: Path, *, again: bool) -> Task:
    """As `unsloth-ft run` does it: every row checked, encoded and masked. `again`: encoded rows are kept from an earlier time."""
    from unsloth_ft import data, token_store
    from unsloth_ft.chat import Chat, load_tokenizer

    recipe = catalog.find(case.recipe).recipe
    file = write_rows(scratch / "rows.jsonl", case)
    chat = Chat(load_tokenizer(model), template_kwargs=recipe.chat_template_kwargs)
    os.environ["UNSLOTH_FT_CACHE"] = str(scratch / "cache")

    def run() -> Any:
        return token_store.tokenized([data.load((str(file),)).conversations], chat=chat).parts[0]

    def amount(rows: Any) -> dict[str, float]:
        if not again:
            shutil.rmtree(scratch / "cache", ignore_errors=True)  # few rows are kept nowhere
        return _rows(len(rows), int(rows.lengths.sum()), int(rows.learned.sum()))

    encodes = "unsloth_ft.token_store.tokenized" + (", kept from before" if again else ", one process, its tokenizer on all cores")
    return Task(run, amount, {"reads": "unsloth_ft.data.load", "encodes": encodes}, warm_up=int(again))


def prepare_datasets(case: Case, model: Path, scratch: Path) -> Task:
    """As TRL does it with prompts and completions: two renderings a row, what the prompt's has is not learned."""
    import datasets

    from unsloth_ft.chat import load_tokenizer

    options = catalog.find(case.recipe).recipe.chat_template_kwargs
    file = write_rows(scratch / "rows.jsonl", case)
    tokenizer = load_tokenizer(model)

    def encode(row: dict[str, Any]) -> dict[str, list[int]]:
        messages = row["messages"]
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=True, return_dict=True, **options)
        whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]
        learned = len(prompt["input_ids"])
        return {"input_ids": whole, "labels": [-100] * learned + whole[learned:]}

    def run() -> Any:
        loaded = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(scratch / "cache"))
        return loaded.map(encode, remove_columns=loaded.column_names)

    def amount(rows: Any) -> dict[str, float]:
        shutil.rmtree(scratch / "cache")  # or the next repeat would find its answer there
        labels = [label for row in rows["labels"] for label in row]
        return _rows(len(rows), len(labels), sum(label != -100 for label in labels))

    return Task(run, amount, {"reads": 'datasets.load_dataset("json")', "encodes": "Dataset.map row by row, one process, no cache"})


def merge(case: Case, model: Path, scratch: Path) -> Task:
    """The base and an adapter of the recipe's rank, written and read back."""
    from unsloth_ft.export import merged

    recipe = catalog.find(case.recipe).recipe
    rank = case.r or recipe.lora.r
    adapter = write_adapter(scratch / "adapter", model, rank=rank, target_modules=recipe.lora.target_modules, seed=case.seed)

    def run() -> Any:
        return merged.merge(model, adapter, scratch / "merged")

    def amount(result: Any) -> dict[str, float]:
        shutil.rmtree(result.folder)
        return {"bytes": float(result.size_bytes), "tensors": float(result.tensors)}

    return Task(run, amount, {"writes": "unsloth_ft.export.merged.merge", "r": rank})


def gguf(quantization: str, model: Path, scratch: Path) -> Task:
    """The model as a GGUF file, written and read back."""
    from unsloth_ft.export.gguf import write_gguf

    def run() -> Any:
        return write_gguf(model, scratch / f"{quantization}.gguf", quantization=quantization)

    def amount(result: Any) -> dict[str, float]:
        result.path.unlink()
        return {"bytes": float(result.size_bytes), "tensors": float(result.tensor_count)}

    return Task(run, amount, {"writes": "unsloth_ft.export.gguf.write_gguf", "quantization": quantization})


def start(command: str, case: Case, model: Path, scratch: Path) -> Task:
    """A command of ours in a new process, from its start to its end. Its first runs read the disk, and are not counted."""
    file = write_rows(scratch / "rows.jsonl", case.model_copy(update={"rows": PLANNED_ROWS}))
    arguments = {
        "help": ["--help"],
        "recipes": ["recipes", "list"],
        "plan": ["plan", case.recipe, "--data", file.name, "--model", str(model), "--offline"],
        "doctor": ["doctor"],
    }[command]

    setup = {"command": ["unsloth-ft", *(model.name if argument == str(model) else argument for argument in arguments)]}
    return Task(
        lambda: _call(arguments, scratch), lambda _: {}, setup, times=case.steps, warm_up=case.warm_up_steps, own_memory=False
    )


def first_step(case: Case, model: Path, scratch: Path) -> Task:
    """From `unsloth-ft run` to the first step, as run.json tells it: imports, data, tokens, plan, weights, trainer."""
    file = write_rows(scratch / "rows.jsonl", case.model_copy(update={"rows": PLANNED_ROWS}))
    arguments = [
        "run", case.recipe, "--data", file.name, "--model", str(model), "--offline", "--out", "run", "--max-steps", "1",
        "--set", "evaluate.answers=1", "--set", "evaluate.max_new_tokens=1",
    ]  # fmt: skip

    def run() -> float:
        shutil.rmtree(scratch / "run", ignore_errors=True)
        _call(arguments, scratch)
        return json.loads((scratch / "run" / "run.json").read_text(encoding="utf-8"))["training"]["start_up_seconds"]

    shown = [model.name if argument == str(model) else argument for argument in arguments]
    setup = {"command": ["unsloth-ft", *shown], "until": "the first step; the evaluation before it is left out"}
    return Task(run, lambda _: {}, setup, warm_up=1, own_memory=False, seconds=float)


def _call(arguments: Sequence[str], folder: Path) -> None:
    """A command of ours in a new process. Raises MachineError, with its last words, where it doesn't end well."""
    done = subprocess.run([sys.executable, "-m", "unsloth_ft", *arguments], capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-LAST_LINES:])
        raise MachineError(f"`unsloth-ft {arguments[0]}` ended with exit code {done.returncode}:\n{said}")


def write_rows(path: Path, case: Case) -> Path:
    """Questions and answers of the case's lengths, as chat messages; no two rows are equal, and the same seed gives the same file."""
    generator = random.Random(case.seed)
    spread = math.log(case.lengths.p95 / case.lengths.median) / P95
    with path.open("w", encoding="utf-8") as stream:
        for number in range(case.rows or case.steps * case.effective_batch_size):
            drawn = generator.lognormvariate(math.log(case.lengths.median), spread)
            words = max(4, round(min(drawn, case.lengths.longest) / TOKENS_A_WORD))
            learned = max(1, round(case.learned * words))
            messages = [
                {"role": "user", "content": f"Question {number}: {_sentence(generator, words - learned)}?"},
                {"role": "assistant", "content": f"{_sentence(generator, learned)}."},
            ]
            stream.write(json.dumps({"messages": messages}) + "\n")
    return path


def write_adapter(folder: Path, base: Path, *, rank: int, target_modules: Sequence[str], seed: int) -> Path:
    """A random LoRA adapter on the base's projections, as PEFT saves it; B is not zero, so that every weight changes."""
    import torch
    from safetensors.torch import save_file

    from unsloth_ft.base_model import weight_files
    from unsloth_ft.export.shards import read_header

    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for file in weight_files(base):
        for name, stored in read_header(file).items():
            module = name.removesuffix(".weight")
            if module.rpartition(".")[2] in target_modules:
                rows, columns = stored.shape
                prefix = f"base_model.model.{module}"
                pairs[f"{prefix}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) * 0.02
                pairs[f"{prefix}.lora_B.weight"] = torch.randn(rows, rank, generator=generator) * 0.02
    save_file(pairs, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": list(target_modules)}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _sentence(generator: random.Random, words: int) -> str:
    return " ".join(generator.choices(WORDS, k=max(1, words))).capitalize()


def _rows(count: int, tokens: int, learned: int) -> dict[str, float]:
    return {"rows": float(count), "tokens": float(tokens), "learned_tokens": float(learned)}
