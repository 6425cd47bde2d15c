"""From a trained run to files that others load, each opened and compared before it counts as done."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat
from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export import gate, proof
from unsloth_ft.export.gguf import write_gguf
from unsloth_ft.export.merged import Merged, merge
from unsloth_ft.export.modelfile import write_modelfile
from unsloth_ft.export.ollama_model import context_tokens, end_texts, model_name, ollama_template
from unsloth_ft.export.targets import Target, complete
from unsloth_ft.export.trained import Trained
from unsloth_ft.record import RunDirectory, sha256
from unsloth_ft.report import terminal


def export(directory: RunDirectory, targets: Sequence[Target], *, base: BaseModel, chat: Chat, console: Console) -> dict[str, Any]:
    """Makes each target that isn't there yet, and returns run.json.

    Raises GateError when an export is not what the adapter is; the file and the record of its checks are kept.
    """
    exports = Exports(directory, complete(targets), base, chat, console)
    try:
        for target in exports.targets:
            if not exports.is_done(target):
                _make(exports, target)
        exports.remove_leftovers()
    finally:
        exports.remove_hidden()
    return directory.read()


def _make(exports: Exports, target: Target) -> None:
    directory = exports.directory
    started = time.perf_counter()
    exports.console.print(f"exporting {target}")
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
    return result is not None and all(check["ok"] for check in result["checks"]) and gate.files(result, directory)["ok"]


class Exports:
    """The exports of one run; what they share (the merged model, its answers) is made once."""

    def __init__(self, directory: RunDirectory, targets: Sequence[Target], base: BaseModel, chat: Chat, console: Console) -> None:
        self.directory = directory
        self.targets = targets
        self.base = base
        self.chat = chat
        self.console = console
        self.trained = Trained(directory, base, chat)
        self.hidden = directory.exports / ".merged"
        self.shown = directory.exports / "merged"
        self._merged_now: Path | None = None

    def is_done(self, target: Target) -> bool:
        result = self.recorded(target)
        if target.kind == "ollama" and result is not None and result.get("from") != self.gguf_path(self._ollama_gguf).name:
            return False  # the Modelfile of another GGUF than the one asked for now
        return is_done(result, self.directory)

    def make(self, target: Target) -> dict[str, Any]:
        """Writes the target's files and passes them through the gate; what run.json says of it."""
        making = {"adapter": self._adapter, "merged": self._merged, "gguf": self._gguf, "ollama": self._ollama}
        return making[target.kind](target)

    def check(self, target: Target) -> gate.Lines:
        """The gate again, on the files as they lie there; an Ollama model's is that of the GGUF that it was made for."""
        if target.kind == "adapter":
            return gate.adapter(self.trained)
        if target.kind == "merged":
            return gate.merged(self.shown, self.trained)
        if target.kind == "gguf":
            return gate.gguf_file(self.gguf_path(target), self.merged_folder(), str(target.quantization), self.trained)
        result = self.recorded(target)
        return self._check_modelfile(self.directory.path / result["files"][0]["name"], self.directory.exports / result["from"])

    def remove_hidden(self) -> None:
        """Removes the merged model where it was only a step on the way."""
        shutil.rmtree(self.hidden, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Removes what earlier calls began to merge and never went on with; an unfinished merge is kept until exports succeed."""
        for folder in (self.hidden, self.shown):
            for leftover in (folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.previous")):
                shutil.rmtree(leftover, ignore_errors=True)

    def _adapter(self, target: Target) -> dict[str, Any]:
        # The model card is written last, from this very record.
        files = [file for file in sorted(self.directory.adapter.iterdir()) if file.name != "README.md"]
        return self._result(files, gate.adapter(self.trained))

    def _merged(self, target: Target) -> dict[str, Any]:
        merged = self._merge_into(self.shown)
        found = f"{merged.tensors} tensors, {merged.changed} of {merged.targeted} targeted ones changed"
        read_back = proof.check("weights read back", True, found, "as computed; all others equal the base's")
        return self._result(sorted(self.shown.iterdir()), gate.merged(self.shown, self.trained, read_back=read_back))

    def _gguf(self, target: Target) -> dict[str, Any]:
        folder, path, quantization = self.merged_folder(), self.gguf_path(target), str(target.quantization)
        written = write_gguf(folder, path, quantization=quantization)
        read_back = proof.check("tensors read back", True, f"{written.tensor_count} tensors", gate.WRITTEN_BACK)
        return self._result([path], gate.gguf_file(path, folder, quantization, self.trained, read_back=read_back))

    def _ollama(self, target: Target) -> dict[str, Any]:
        gguf = self.gguf_path(self._ollama_gguf)
        template, _ = ollama_template(self.chat)
        path = write_modelfile(
            self.directory.exports / "Modelfile",
            gguf_name=gguf.name,
            template=template,
            stops=end_texts(self.chat, self.base.folder),
            num_ctx=self.num_ctx(),
            temperature=0.0,
        )
        checks, notes = self._check_modelfile(path, gguf)
        model = model_name(self.directory.read()["name"])
        use = f"to use it: cd {self.directory.exports.name} && ollama create {model} -f Modelfile && ollama run {model}"
        return self._result([path], (checks, [*template.notes, *notes, use])) | {"from": gguf.name}

    def _check_modelfile(self, path: Path, gguf: Path) -> gate.Lines:
        return gate.modelfile(path, gguf, self.trained, ends=end_texts(self.chat, self.base.folder), num_ctx=self.num_ctx())

    @property
    def _ollama_gguf(self) -> Target:
        """The GGUF that the Modelfile names: the last one asked for."""
        return [target for target in self.targets if target.kind == "gguf"][-1]

    def num_ctx(self) -> int:
        trained = self.directory.read()["plan"]["max_seq_length"]["value"]
        return context_tokens(trained, self.base.facts().max_position_embeddings)

    def gguf_path(self, target: Target) -> Path:
        """The recorded file, or else a new name. A run directory that was renamed since keeps its files' names."""
        result = self.recorded(target)
        if result is not None:
            return self.directory.path / result["files"][0]["name"]
        return self.directory.exports / f"{model_name(self.directory.read()['name'])}-{target.quantization}.gguf"

    def recorded(self, target: Target) -> dict[str, Any] | None:
        return self.directory.read().get("exports", {}).get(str(target))

    def merged_folder(self) -> Path:
        """The merged model: the exported one, the one of this call, or a new one."""
        if self._merged_now is None:
            if is_done(self.recorded(Target("merged")), self.directory):
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

    def _result(self, files: Sequence[Path], lines: gate.Lines) -> dict[str, Any]:
        entries = [
            {"name": os.fspath(file.relative_to(self.directory.path)), "bytes": file.stat().st_size, "sha256": sha256(file)}
            for file in files
        ]
        checks, notes = lines
        return {"files": entries, "checks": checks, "notes": notes}
