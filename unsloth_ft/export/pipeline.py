"""From a trained run to files that others load, each opened and compared before it counts as done."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from unsloth_ft.base_model import BaseModel, weight_files
from unsloth_ft.chat import Chat
from unsloth_ft.data.conversation import Message
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export import proof
from unsloth_ft.export.gguf import check_supported, write_gguf
from unsloth_ft.export.gguf_vocab import read_vocabulary
from unsloth_ft.export.merged import Merged, merge
from unsloth_ft.export.modelfile import check_modelfile, write_modelfile
from unsloth_ft.export.ollama_template import ChatTemplate, GoTemplate, derive_template
from unsloth_ft.export.targets import Target
from unsloth_ft.hardware import disk_free_bytes
from unsloth_ft.record import RunDirectory, sha256
from unsloth_ft.report import terminal

DEFAULT_QUANTIZATION = "q8_0"  # of an Ollama model when no GGUF was asked for
# Bytes a weight, from the formats' block sizes: q8_0 holds 32 weights in 34 bytes.
BYTES_PER_WEIGHT = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32}


def preflight(targets: Sequence[Target], base: BaseModel, chat: Chat, directory: RunDirectory) -> None:
    """What could fail after hours of training, tried in milliseconds: architecture, tokenizer, template, disk.

    Raises UserError for what can't be exported at all, MachineError when the disk is too small, with the numbers.
    """
    for target in complete(targets):
        if target.kind == "gguf":
            check_supported(base.folder, target.quantization)
        if target.kind == "ollama":
            ollama_template(base.folder, chat)
    needed = disk_needed_bytes(targets, base)
    free = disk_free_bytes(directory.path.absolute())
    if needed > free:
        raise MachineError(
            f"the exports need about {needed / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free. "
            "Free some space, name another disk with --out, or leave an export out; `unsloth-ft export RUN --to …` can make it later."
        )


def complete(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The targets in the order they build on each other; Ollama brings a GGUF with it where none was asked for."""
    wanted = list(targets)
    if any(target.kind == "ollama" for target in wanted) and not any(target.kind == "gguf" for target in wanted):
        wanted.append(Target("gguf", DEFAULT_QUANTIZATION))
    rank = {"adapter": 0, "merged": 1, "gguf": 2, "ollama": 3}
    return tuple(sorted(dict.fromkeys(wanted), key=lambda target: rank[target.kind]))


def disk_needed_bytes(targets: Sequence[Target], base: BaseModel) -> int:
    """Merged model (also when it is only a step on the way) plus every GGUF."""
    size = sum(file.stat().st_size for file in weight_files(base.folder))
    kinds = complete(targets)
    needed = size if any(target.kind != "adapter" for target in kinds) else 0
    return int(needed + sum(size / 2 * BYTES_PER_WEIGHT[target.quantization] for target in kinds if target.quantization))


def export(directory: RunDirectory, targets: Sequence[Target], *, base: BaseModel, chat: Chat, console: Console) -> dict[str, Any]:
    """Makes each target that isn't there yet, and returns run.json.

    Raises GateError when an export is not what the adapter is; the file and the record of its checks are kept.
    """
    record = directory.read()
    todo = [target for target in complete(targets) if not is_done(record.get("exports", {}).get(str(target)), directory)]
    if not todo:
        return record
    exports = Exports(directory, base, chat, console)
    for target in todo:
        started = time.perf_counter()
        result = exports.make(target)
        result["seconds"] = round(time.perf_counter() - started, 2)
        record = directory.update(exports={**directory.read().get("exports", {}), str(target): result})
        terminal.show_export(str(target), result, console)
        failed = [check for check in result["checks"] if not check["ok"]]
        if failed:
            lines = "\n".join(f"  {check['name']}: {check['found']}; expected {check['expected']}" for check in failed)
            raise GateError(f"{directory.name}: {target} is not what was trained. It is kept for a look; don't use it.\n{lines}")
    exports.clean()
    return record


def is_done(result: dict[str, Any] | None, directory: RunDirectory) -> bool:
    """Whether an export is recorded, passed its checks, and its files still have the recorded bytes."""
    if result is None or not all(check["ok"] for check in result["checks"]):
        return False
    files = [(directory.path / file["name"], file) for file in result["files"]]
    return all(path.is_file() and path.stat().st_size == file["bytes"] and sha256(path) == file["sha256"] for path, file in files)


class Exports:
    """The exports of one run; the merged model that they share is made once."""

    def __init__(self, directory: RunDirectory, base: BaseModel, chat: Chat, console: Console) -> None:
        self.directory = directory
        self.base = base
        self.chat = chat
        self.console = console
        self.hidden = directory.exports / ".merged"
        self.shown = directory.exports / "merged"
        self._answers: list[list[int]] | None = None

    def make(self, target: Target) -> dict[str, Any]:
        self.console.print(f"exporting {target}")
        if target.kind == "adapter":
            return self._adapter()
        if target.kind == "merged":
            return self._merged()
        if target.kind == "gguf":
            return self._gguf(target)
        return self._ollama()

    def clean(self) -> None:
        """Removes the merged model where it was only a step on the way."""
        shutil.rmtree(self.hidden, ignore_errors=True)

    def _adapter(self) -> dict[str, Any]:
        from unsloth_ft.export.merged import read_adapter

        adapter = read_adapter(self.directory.adapter)
        check = proof.check("tensors", bool(adapter.pairs), f"{len(adapter.pairs)} pairs of A and B", "at least one pair")
        # The model card is written last, from this very record.
        files = [file for file in sorted(self.directory.adapter.iterdir()) if file.name != "README.md"]
        return self._result(files, [check])

    def _merged(self) -> dict[str, Any]:
        merged = self._merge_into(self.shown)
        checks = [
            proof.check("weights read back", True, f"{merged.tensors} tensors, {merged.changed} of {merged.targeted} targeted ones changed", "as computed; all others equal the base's"),
            self._same_as_adapter(self.shown),
        ]
        return self._result(sorted(self.shown.iterdir()), checks)

    def _gguf(self, target: Target) -> dict[str, Any]:
        folder = self._merged_folder()
        path = self.gguf_path(target)
        written = write_gguf(folder, path, quantization=target.quantization)
        checks = [
            proof.check("tensors read back", True, f"{written.tensor_count} tensors", "each within its quantization's rounding of the merged model's"),
            self._same_as_adapter(folder),
        ]
        found, notes = proof.in_llamacpp(path, target.quantization, self.chat, self._prompts(), self._merged_answers(folder), self._longest())
        return self._result([path], [*checks, *found], notes)

    def _ollama(self) -> dict[str, Any]:
        targets = [Target(*name.split(":")) for name in self.directory.read().get("exports", {}) if name.startswith("gguf:")]
        gguf = self.gguf_path(targets[-1])
        template, render = ollama_template(self.base.folder, self.chat)
        ends = end_texts(self.chat)
        context = json.loads((self.directory.record_file).read_text(encoding="utf-8"))["plan"]["max_seq_length"]["value"]
        # The context must hold what was trained and the answer to it; Ollama's own default would be cut or waste memory.
        path = write_modelfile(
            self.directory.exports / "Modelfile", gguf_name=gguf.name, template=template, stops=ends, num_ctx=max(2048, 2 * context), temperature=0.0
        )
        check_modelfile(path.read_text(encoding="utf-8"), render, end_tokens=ends)
        checks = [
            proof.check("TEMPLATE", True, "renders the tokenizer's own text on every proof conversation", "equal texts"),
            proof.check("stops", True, ", ".join(ends), "every end token"),
        ]
        model = self.directory.name
        notes = [*template.notes, f"to use it: cd {self.directory.exports.name} && ollama create {model} -f Modelfile && ollama run {model}"]
        return self._result([path], checks, notes)

    def gguf_path(self, target: Target) -> Path:
        return self.directory.exports / f"{self.directory.name}-{target.quantization}.gguf"

    def _merged_folder(self) -> Path:
        """The merged model: the exported one, the one of this call, or a new one."""
        if is_done(self.directory.read().get("exports", {}).get("merged"), self.directory):
            return self.shown
        if not self.hidden.is_dir():
            self._merge_into(self.hidden)
        return self.hidden

    def _merge_into(self, folder: Path) -> Merged:
        recorded = self.directory.read()["base_model"]["sha256"]
        if self.base.fingerprint() != recorded:
            raise UserError(f"{self.base.folder.name}: this is not the base model that the adapter was trained on (its fingerprint differs). Pass the right one with --model DIR.")
        return merge(self.base.folder, self.directory.adapter, folder)

    def _prompts(self) -> list[dict[str, Any]]:
        file = self.directory.evaluation / "prompts.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return [json.loads(line) for line in lines[: proof.QUESTIONS]]

    def _longest(self) -> int:
        return self.directory.read()["recipe"]["values"]["evaluate"]["max_new_tokens"]

    def _merged_answers(self, folder: Path) -> list[list[int]]:
        if self._answers is None:
            plan = self.directory.read()["plan"]
            prompts = [line["prompt_ids"] for line in self._prompts()]
            self._answers = proof.merged_answers(
                folder, self.chat, prompts, dtype=plan["dtype"]["value"], device=plan["device"]["value"], max_new_tokens=self._longest()
            )
        return self._answers

    def _same_as_adapter(self, folder: Path) -> dict[str, Any]:
        return proof.same_as_adapter(self._merged_answers(folder), [line["answer_ids"] for line in self._prompts()])

    def _result(self, files: Sequence[Path], checks: list[dict[str, Any]], notes: Sequence[str] = ()) -> dict[str, Any]:
        entries = [{"name": os.fspath(file.relative_to(self.directory.path)), "bytes": file.stat().st_size, "sha256": sha256(file)} for file in files]
        return {"files": entries, "checks": checks, "notes": list(notes)}


def ollama_template(model_dir: Path, chat: Chat) -> tuple[GoTemplate, ChatTemplate]:
    """Ollama's TEMPLATE derived from the tokenizer's, and the tokenizer's to compare with. Raises UserError when it can't be expressed."""

    def render(messages: list[dict], add_generation_prompt: bool) -> str:
        return chat.render([Message(message["role"], message["content"]) for message in messages], add_generation_prompt=add_generation_prompt)

    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    adds_bos = read_vocabulary(model_dir, vocab_size=config["vocab_size"]).add_bos
    bos = chat.tokenizer.bos_token
    return derive_template(render, bos_token=bos, drop_bos=adds_bos), ChatTemplate(render, bos, adds_bos)


def end_texts(chat: Chat) -> tuple[str, ...]:
    """The texts of every token that ends a generation: the turn end and eos."""
    texts = [chat.turn_end, *(chat.tokenizer.convert_ids_to_tokens(index) for index in chat.end_ids)]
    return tuple(dict.fromkeys(texts))
