"""From a trained run to files that others load, each opened and compared before it counts as done."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat
from unsloth_ft.data.conversation import Message
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export import proof
from unsloth_ft.export.gguf import check_quantization, check_shapes, check_supported, write_gguf
from unsloth_ft.export.gguf_model import read_architecture
from unsloth_ft.export.lora import read_adapter
from unsloth_ft.export.merged import Merged, merge, parameter_count
from unsloth_ft.export.modelfile import check_modelfile, write_modelfile
from unsloth_ft.export.ollama_template import ChatTemplate, GoTemplate, derive_template
from unsloth_ft.export.targets import Target
from unsloth_ft.hardware import disk_free_bytes
from unsloth_ft.record import RunDirectory, sha256
from unsloth_ft.report import terminal

DEFAULT_QUANTIZATION = "q8_0"  # of an Ollama model when no GGUF was asked for
# Bytes a weight, from the formats' block sizes: q8_0 holds 32 weights in 34 bytes.
BYTES_PER_WEIGHT = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32}
MERGED_BYTES_PER_WEIGHT = 2
LEAST_CONTEXT = 2048  # tokens of a chat in Ollama, however short the rows were


def preflight(targets: Sequence[Target], base: BaseModel, chat: Chat, directory: RunDirectory) -> None:
    """What could fail after hours of training, tried in seconds: architecture, tokenizer, template, disk.

    Raises UserError for what can't be exported at all, MachineError when the disk is too small, with the numbers.
    """
    quantizations = [target.quantization for target in complete(targets) if target.kind == "gguf"]
    for quantization in quantizations:
        check_quantization(quantization)
        check_shapes(read_architecture(base.folder), quantization)
    if quantizations:
        check_supported(base.folder, quantizations[0])  # reads the whole vocabulary, which is the same for all
    if any(target.kind == "ollama" for target in targets):
        ollama_template(chat)
    done = directory.read().get("exports", {}) if directory.record_file.is_file() else {}
    needed = disk_needed_bytes([target for target in complete(targets) if not _lies_there(done.get(str(target)), directory)], base)
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
    """Merged model (also when it is only a step on the way) plus every GGUF; nothing for an adapter or a Modelfile."""
    quantizations = [target.quantization for target in targets if target.kind == "gguf"]
    if not quantizations and not any(target.kind == "merged" for target in targets):
        return 0
    return int(parameter_count(base.folder) * (MERGED_BYTES_PER_WEIGHT + sum(BYTES_PER_WEIGHT[name] for name in quantizations)))


def export(directory: RunDirectory, targets: Sequence[Target], *, base: BaseModel, chat: Chat, console: Console) -> dict[str, Any]:
    """Makes each target that isn't there yet, and returns run.json.

    Raises GateError when an export is not what the adapter is; the file and the record of its checks are kept.
    """
    exports = Exports(directory, complete(targets), base, chat, console)
    try:
        for target in exports.targets:
            if not exports.is_done(target):
                _make(exports, target)
    finally:
        exports.clean()
    return directory.read()


def _make(exports: Exports, target: Target) -> None:
    directory = exports.directory
    started = time.perf_counter()
    result = exports.make(target)
    result["seconds"] = round(time.perf_counter() - started, 2)
    directory.update(exports={**directory.read().get("exports", {}), str(target): result})
    terminal.show_export_made(str(target), result, exports.console)
    failed = [check for check in result["checks"] if not check["ok"]]
    if failed:
        lines = "\n".join(f"  {check['name']}: {check['found']}; expected {check['expected']}" for check in failed)
        raise GateError(f"{directory.name}: {target} is not what was trained. It is kept for a look; don't use it.\n{lines}")


def is_done(result: dict[str, Any] | None, directory: RunDirectory) -> bool:
    """Whether an export is recorded, passed its checks, and its files still have the recorded bytes."""
    if result is None or not _lies_there(result, directory):
        return False
    return all(sha256(directory.path / file["name"]) == file["sha256"] for file in result["files"])


def _lies_there(result: dict[str, Any] | None, directory: RunDirectory) -> bool:
    """As `is_done`, by the files' sizes alone."""
    if result is None or not all(check["ok"] for check in result["checks"]):
        return False
    files = [(directory.path / file["name"], file["bytes"]) for file in result["files"]]
    return all(path.is_file() and path.stat().st_size == size for path, size in files)


class Exports:
    """The exports of one run; what they share (the merged model, its answers) is made once."""

    def __init__(self, directory: RunDirectory, targets: Sequence[Target], base: BaseModel, chat: Chat, console: Console) -> None:
        self.directory = directory
        self.targets = targets
        self.base = base
        self.chat = chat
        self.console = console
        self.hidden = directory.exports / ".merged"
        self.shown = directory.exports / "merged"
        self._merged_now: Path | None = None
        self._references: list[proof.Reference] | None = None
        self._adapter_answers: list[Sequence[int]] = []
        self._nf4_note = ""
        self._notes: list[str] = []

    def is_done(self, target: Target) -> bool:
        result = self._recorded(target)
        if target.kind == "ollama" and result is not None and result.get("from") != self._gguf_path(self._ollama_gguf).name:
            return False  # the Modelfile of another GGUF than the one asked for now
        return is_done(result, self.directory)

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
        """Removes the merged model where it was only a step on the way, and what a killed process left of it."""
        for name in (".merged", "..merged.partial", "..merged.previous", ".merged.partial"):
            shutil.rmtree(self.directory.exports / name, ignore_errors=True)

    def _adapter(self) -> dict[str, Any]:
        adapter = read_adapter(self.directory.adapter)
        check = proof.check("tensors", bool(adapter.pairs), f"{len(adapter.pairs)} pairs of A and B", "at least one pair")
        # The model card is written last, from this very record.
        files = [file for file in sorted(self.directory.adapter.iterdir()) if file.name != "README.md"]
        return self._result(files, [check])

    def _merged(self) -> dict[str, Any]:
        merged = self._merge_into(self.shown)
        found = f"{merged.tensors} tensors, {merged.changed} of {merged.targeted} targeted ones changed"
        checks = [
            proof.check("weights read back", True, found, "as computed; all others equal the base's"),
            *self._same_as_adapter(self.shown),
        ]
        return self._result(sorted(self.shown.iterdir()), checks, self._notes)

    def _gguf(self, target: Target) -> dict[str, Any]:
        folder = self._merged_folder()
        path = self._gguf_path(target)
        written = write_gguf(folder, path, quantization=target.quantization)
        same = self._same_as_adapter(folder)
        read_back = proof.check(
            "tensors read back", True, f"{written.tensor_count} tensors", "each within its quantization's rounding of the merged model's"
        )
        limit = proof.limits(target.quantization, self.directory.read()["plan"]["dtype"]["value"])
        found, notes = proof.in_llamacpp(
            path, self.chat, self._prompts(), self._references or [], limit=limit, max_new_tokens=self._longest()
        )
        return self._result([path], [read_back, *same, *found], [*self._notes, *notes])

    def _ollama(self) -> dict[str, Any]:
        gguf = self._gguf_path(self._ollama_gguf)
        template, render = ollama_template(self.chat)
        ends = end_texts(self.chat, self.base.folder)
        path = write_modelfile(
            self.directory.exports / "Modelfile",
            gguf_name=gguf.name,
            template=template,
            stops=ends,
            num_ctx=self._num_ctx(),
            temperature=0.0,
        )
        check_modelfile(path.read_text(encoding="utf-8"), render, end_tokens=ends)
        checks = [
            proof.check("TEMPLATE", True, "renders the tokenizer's own text on every proof conversation", "equal texts"),
            proof.check("stops", True, ", ".join(ends), "every end token"),
        ]
        model = self._model_name()
        notes = [
            *template.notes,
            f"to use it: cd {self.directory.exports.name} && ollama create {model} -f Modelfile && ollama run {model}",
        ]
        return self._result([path], checks, notes) | {"from": gguf.name}

    @property
    def _ollama_gguf(self) -> Target:
        """The GGUF that the Modelfile names: the last one asked for."""
        return [target for target in self.targets if target.kind == "gguf"][-1]

    def _num_ctx(self) -> int:
        """Room for what was trained and as much again, within what the model knows; Ollama's own default would cut, or waste memory."""
        trained = self.directory.read()["plan"]["max_seq_length"]["value"]
        return min(max(LEAST_CONTEXT, 2 * trained), self.base.facts().max_position_embeddings)

    def _gguf_path(self, target: Target) -> Path:
        """The recorded file, or else a new name. A run directory that was renamed since keeps its files' names."""
        result = self._recorded(target)
        if result is not None:
            return self.directory.path / result["files"][0]["name"]
        return self.directory.exports / f"{self._model_name()}-{target.quantization}.gguf"

    def _model_name(self) -> str:
        return model_name(self.directory.read()["name"])

    def _recorded(self, target: Target) -> dict[str, Any] | None:
        return self.directory.read().get("exports", {}).get(str(target))

    def _merged_folder(self) -> Path:
        """The merged model: the exported one, the one of this call, or a new one."""
        if self._merged_now is None:
            if is_done(self._recorded(Target("merged")), self.directory):
                self._merged_now = self.shown
            else:
                self._merge_into(self.hidden)
        return self._merged_now

    def _merge_into(self, folder: Path) -> Merged:
        if self.base.fingerprint() != self.directory.read()["base_model"]["sha256"]:
            raise UserError(
                f"{self.base.folder.name}: this is not the base model that the adapter was trained on (its fingerprint differs). "
                "Pass the right one with --model DIR."
            )
        merged = merge(self.base.folder, self.directory.adapter, folder)
        self._merged_now = folder
        return merged

    def _questions(self) -> list[dict[str, Any]]:
        """The first held-out questions with the adapter's answers; none when the run asked none."""
        file = self.directory.evaluation / "prompts.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return [json.loads(line) for line in lines[: proof.QUESTIONS]]

    def _prompts(self) -> list[list[int]]:
        return [line["prompt_ids"] for line in self._questions()] or [proof.question(self.chat)]

    def _longest(self) -> int:
        return self.directory.read()["recipe"]["values"]["evaluate"]["max_new_tokens"]

    def _same_as_adapter(self, folder: Path) -> list[dict[str, Any]]:
        """The merged model's answers against the adapter's; a note where no device has room for the merged model."""
        questions, plan = self._questions(), self.directory.read()["plan"]
        dtype = plan["dtype"]["value"]
        try:
            device, reason = proof.room(folder, dtype=dtype, device=plan["device"]["value"])
        except MachineError as error:
            self._notes = [f"not compared with the adapter: {error}"]
            return []
        self._notes = [reason] if reason else []

        def answers(model: Path, prompts: list[list[int]], adapter: Path | None = None) -> list[proof.Reference]:
            return proof.references(model, self.chat, prompts, dtype=dtype, device=device, max_new_tokens=self._longest(), adapter=adapter)

        if self._references is None:
            self._references = answers(folder, self._prompts())
            self._adapter_answers = [line["answer_ids"] for line in questions]
            if plan["load_in_4bit"]["value"] and questions:
                # NF4's rounding moves answers by more than a merge does: so the adapter answers again, on the 16-bit base.
                on_nf4, on_16_bit = self._adapter_answers, answers(self.base.folder, self._prompts(), self.directory.adapter)
                self._adapter_answers = [reference.ids for reference in on_16_bit]
                shares = [proof.agreement(one, other) for one, other in zip(on_nf4, self._adapter_answers)]
                self._nf4_note = (
                    f"the adapter was trained on NF4 weights; on the 16-bit base, which is what is exported, "
                    f"{shares.count(1.0)} of {len(shares)} answers are the same, "
                    f"{sum(shares) / len(shares):.1%} of their tokens up to the first difference"
                )
        self._notes += [self._nf4_note] if self._nf4_note else []
        return [proof.same_as_adapter(self._references if questions else [], self._adapter_answers, end_ids=self.chat.end_ids)]

    def _result(self, files: Sequence[Path], checks: list[dict[str, Any]], notes: Sequence[str] = ()) -> dict[str, Any]:
        entries = [
            {"name": os.fspath(file.relative_to(self.directory.path)), "bytes": file.stat().st_size, "sha256": sha256(file)}
            for file in files
        ]
        return {"files": entries, "checks": checks, "notes": list(notes)}


def model_name(run: str) -> str:
    """The run's name as Ollama takes it for a model, and as any file system takes it: letters, digits, dot, dash, underscore.

    ollama's types/model/name.go: 80 characters at most, the first a letter, a digit or an underscore.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", run).strip("-.")[:80].rstrip("-.") or "model"


def ollama_template(chat: Chat) -> tuple[GoTemplate, ChatTemplate]:
    """Ollama's TEMPLATE derived from the tokenizer's, and the tokenizer's to compare with. Raises UserError when it can't be expressed."""

    def render(messages: list[dict], add_generation_prompt: bool) -> str:
        return chat.render(
            [Message(message["role"], message["content"]) for message in messages], add_generation_prompt=add_generation_prompt
        )

    bos = chat.tokenizer.bos_token
    # A tokenizer that puts BOS before a text by itself gives a GGUF that tells the runner to.
    adds_bos = bos is not None and chat.tokenizer("a")["input_ids"][:1] == [chat.tokenizer.bos_token_id]
    return derive_template(render, bos_token=bos, drop_bos=adds_bos), ChatTemplate(render, bos, adds_bos)


def end_texts(chat: Chat, model_dir: Path) -> tuple[str, ...]:
    """The texts of every token that ends a generation: the turn end, eos, and what generation_config.json adds to them."""
    file = model_dir / "generation_config.json"
    eos = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.is_file() else None
    ids = [*chat.end_ids, *(eos if isinstance(eos, list) else [] if eos is None else [eos])]
    texts = [chat.turn_end, *(chat.tokenizer.convert_ids_to_tokens(index) for index in ids)]
    return tuple(dict.fromkeys(text for text in texts if text))
