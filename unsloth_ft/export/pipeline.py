"""From a trained run to files that others load, each opened and compared before it counts as done."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat
from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export import gate, ollama, proof
from unsloth_ft.export.gguf import GgufFile, write_gguf
from unsloth_ft.export.gguf_lora import write_gguf_lora
from unsloth_ft.export.llama_quantize import OWN
from unsloth_ft.export.merged import Merged, merge, restore
from unsloth_ft.export.modelfile import write_modelfile
from unsloth_ft.export.ollama_model import context_tokens, end_texts, model_name, ollama_template
from unsloth_ft.export.ollama_template import GoTemplate
from unsloth_ft.export.recorded import files_of, recorded_exports
from unsloth_ft.export.targets import Target, complete
from unsloth_ft.export.trained import Trained
from unsloth_ft.record import RunDirectory, sha256
from unsloth_ft.report import terminal


@dataclass(frozen=True)
class Options:
    """How exports are made. `system` is the SYSTEM of a Modelfile; `offline`: no socket, not even to the user's own Ollama."""

    system: str | None = None
    quantizer: str = OWN
    offline: bool = False


def export(
    directory: RunDirectory, targets: Sequence[Target], *, base: BaseModel, chat: Chat, console: Console, options: Options = Options()
) -> dict[str, Any]:
    """Makes each target that isn't there yet, and returns run.json.

    Raises GateError when an export is not what the adapter is; the file and the record of its checks are kept.
    """
    exports = Exports(directory, complete(targets), base, chat, console, options)
    restore(exports.shown)
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

    def __init__(
        self,
        directory: RunDirectory,
        targets: Sequence[Target],
        base: BaseModel,
        chat: Chat,
        console: Console,
        options: Options = Options(),
    ) -> None:
        self.directory = directory
        self.targets = targets
        self.base = base
        self.chat = chat
        self.console = console
        self.options = options
        self.trained = Trained(directory, base, chat)
        self.hidden = directory.exports / ".merged"
        self.shown = directory.exports / "merged"
        self._merged_now: Path | None = None

    def is_done(self, target: Target) -> bool:
        result = self.recorded(target)
        # The Modelfile of another GGUF than the one asked for now, or with another SYSTEM, is not the one asked for.
        if result is not None and target.kind == "ollama":
            gguf, adapter = self._ollama_source()
            if (result["from"], result["adapter"]) != (gguf.name, adapter.name if adapter else None):
                return False
        asked = {"system": self.options.system, "quantizer": self.options.quantizer}
        if result is not None and any(key in result and result[key] != value for key, value in asked.items()):
            return False
        return self.is_whole(target)

    def is_whole(self, target: Target) -> bool:
        """Whether it passed its checks and lies there as recorded. A merged model found so is not read again for what is made of it."""
        whole = is_done(self.recorded(target), self.directory)
        if whole and target.kind == "merged":
            self._merged_now = self.shown
        return whole

    def make(self, target: Target) -> dict[str, Any]:
        """Writes the target's files and passes them through the gate; what run.json says of it."""
        making = {
            "adapter": self._adapter,
            "merged": self._merged,
            "gguf": self._gguf,
            "gguf-lora": self._gguf_lora,
            "ollama": self._ollama,
        }
        return making[target.kind](target)

    def check(self, target: Target) -> gate.Lines:
        """The gate again, on the files as they lie there; an Ollama model's is that of the GGUF that it was made for."""
        result = self.recorded(target)
        if target.kind == "adapter":
            return gate.adapter(self.trained)
        if target.kind == "merged":
            return gate.merged(self.shown, self.trained)
        if target.kind == "gguf":
            path, folder, quantizer = self.gguf_path(target), self.merged_folder(), result["quantizer"]
            return gate.gguf_file(path, folder, str(target.quantization), self.trained, quantizer=quantizer)
        files = files_of(result, self.directory)
        if target.kind == "gguf-lora":
            return self._check_gguf_lora(files, str(target.quantization), system=result["system"], quantizer=result["quantizer"])
        gguf, adapter = (self.directory.exports / name if name else None for name in (result["from"], result["adapter"]))
        return self._check_modelfile(files[0], gguf, adapter=adapter, system=result["system"])

    def remove_hidden(self) -> None:
        """Removes the merged model where it was only a step on the way."""
        shutil.rmtree(self.hidden, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Removes what earlier calls began and never went on with; an unfinished merge is kept until exports succeed."""
        for folder in (self.hidden, self.shown):
            for leftover in (folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.previous")):
                shutil.rmtree(leftover, ignore_errors=True)
        for pattern in (".*.gguf.*", ".Modelfile*"):
            for leftover in filter(Path.is_file, self.directory.exports.glob(pattern)):
                leftover.unlink()

    def _adapter(self, target: Target) -> dict[str, Any]:
        # The model card is written last, from this very record.
        files = [file for file in sorted(self.directory.adapter.iterdir()) if file.is_file() and file.name != "README.md"]
        return self._result(files, gate.adapter(self.trained))

    def _merged(self, target: Target) -> dict[str, Any]:
        merged = self._merge_into(self.shown)
        found = "; ".join((f"{merged.tensors} tensors, {merged.changed} of {merged.targeted} targeted ones changed", *merged.notes))
        read_back = proof.check("weights read back", True, found, "as computed; all others equal the base's")
        return self._result(sorted(self.shown.iterdir()), gate.merged(self.shown, self.trained, read_back=read_back))

    def _gguf(self, target: Target) -> dict[str, Any]:
        folder, path, quantization = self.merged_folder(), self.gguf_path(target), str(target.quantization)
        written = write_gguf(folder, path, quantization=quantization, quantizer=self.options.quantizer)
        read_back = proof.check("tensors read back", True, f"{written.tensor_count} tensors", gate.WRITTEN_BACK)
        result = self._result([path], gate.gguf_file(path, folder, quantization, self.trained, read_back=read_back), written)
        return result | {"quantizer": self.options.quantizer}

    def _gguf_lora(self, target: Target) -> dict[str, Any]:
        quantization = str(target.quantization)
        files = path, base, modelfile = self._lora_paths(target)
        alone = write_gguf_lora(self.directory.adapter, self.base.folder, path)
        written = write_gguf(self.base.folder, base, quantization=quantization, quantizer=self.options.quantizer)
        read_back = proof.check("tensors read back", True, f"{written.tensor_count} tensors", gate.WRITTEN_BACK)
        template = self._write_modelfile(modelfile, base, adapter=path)
        checks, notes = self._check_gguf_lora(files, quantization, system=self.options.system, read_back=read_back)
        shared = f"{base.name} has the same bytes for every adapter on this base: keep one, and name it in each Modelfile's FROM"
        return self._result(files, (checks, [*template.notes, *notes, shared, self._use(modelfile)]), alone, written) | {
            "system": self.options.system,
            "quantizer": self.options.quantizer,
        }

    def _check_gguf_lora(
        self, files: Sequence[Path], quantization: str, *, system: str | None, quantizer: str = OWN, read_back: gate.Line | None = None
    ) -> gate.Lines:
        path, base, modelfile = files
        checks, notes = gate.gguf_lora(
            path, base, self.merged_folder(), quantization, self.trained, quantizer=quantizer, read_back=read_back
        )
        more, further = self._check_modelfile(modelfile, base, adapter=path, system=system)
        return [*checks, *more], [*notes, *further]

    def _ollama(self, target: Target) -> dict[str, Any]:
        gguf, adapter = self._ollama_source()
        path = self.directory.exports / "Modelfile"
        template = self._write_modelfile(path, gguf, adapter=adapter)
        checks, notes = self._check_modelfile(path, gguf, adapter=adapter, system=self.options.system)
        if all(line["ok"] for line in checks):
            created, said = self._create(path)
            checks, notes = [*checks, *created], [*notes, *said]
        result = self._result([path], (checks, [*template.notes, *notes]))
        return result | {"from": gguf.name, "adapter": adapter.name if adapter else None, "system": self.options.system}

    def _write_modelfile(self, path: Path, gguf: Path, *, adapter: Path | None = None) -> GoTemplate:
        template, _ = ollama_template(self.chat)
        write_modelfile(
            path,
            gguf_name=gguf.name,
            adapter=adapter.name if adapter else None,
            template=template,
            stops=end_texts(self.chat, self.base.folder),
            num_ctx=self.num_ctx(),
            system=self.options.system,
            temperature=0.0,
        )
        return template

    def _check_modelfile(self, path: Path, gguf: Path, *, adapter: Path | None, system: str | None) -> gate.Lines:
        ends = end_texts(self.chat, self.base.folder)
        return gate.modelfile(path, gguf, self.trained, ends=ends, num_ctx=self.num_ctx(), adapter=adapter, system=system)

    def _create(self, modelfile: Path) -> gate.Lines:
        """The model in the user's own Ollama, asked one question; where there is none, the commands to type."""
        why_not = ollama.unavailable(offline=self.options.offline)
        if why_not:
            return [], [f"not tried in Ollama: {why_not}", self._use(modelfile)]
        model = model_name(self.directory.read()["name"])
        ollama.create(modelfile, model)
        answer = ollama.ask(model, self.trained.first_question, max_new_tokens=self.trained.longest)
        ends = self.trained.ends_first_answer
        held = bool(answer.text.strip()) and (answer.stopped or not ends)
        found = f"{answer.text!r}, {'ended by itself' if answer.stopped else 'cut'}"
        check = proof.check("answers in Ollama", held, found, "an answer that ends by itself" if ends else "an answer")
        return [check], [f"made in Ollama; to use it: {ollama.commands(modelfile, model)[1]}"]

    def _use(self, modelfile: Path) -> str:
        create, run = ollama.commands(Path(modelfile.name), model_name(self.directory.read()["name"]))
        return f"to use it: cd {self.directory.exports.name} && {create} && {run}"

    def _ollama_source(self) -> tuple[Path, Path | None]:
        """(GGUF, adapter's GGUF) that the Modelfile names: the last GGUF asked for, or else an adapter on its base."""
        models = [target for target in self.targets if target.kind == "gguf"]
        if models:
            return self.gguf_path(models[-1]), None
        path, base, _ = self._lora_paths([target for target in self.targets if target.kind == "gguf-lora"][-1])
        return base, path

    def _lora_paths(self, target: Target) -> list[Path]:
        """[adapter's GGUF, its base's, the Modelfile of both]: the recorded files, or else new names."""
        result = self.recorded(target)
        if result is not None:
            return files_of(result, self.directory)[:3]
        known = self.directory.read()
        run, base = model_name(known["name"]), f"{model_name(Path(known['base_model']['model']).name)}-base"
        if base == run:  # whose own GGUF has that name
            base += "-model"
        # The adapter's file is the same on every base; a Modelfile names one.
        others = any(other.kind == "gguf-lora" for other in recorded_exports(self.directory))
        modelfile = f"Modelfile.lora-{target.quantization}" if others else "Modelfile.lora"
        return [self.directory.exports / name for name in (f"{run}-lora.gguf", f"{base}-{target.quantization}.gguf", modelfile)]

    def num_ctx(self) -> int:
        trained = self.directory.read()["plan"]["max_seq_length"]["value"]
        return context_tokens(trained, self.base.facts().max_position_embeddings)

    def gguf_path(self, target: Target) -> Path:
        """The recorded file, or else a new name. A run directory that was renamed since keeps its files' names."""
        result = self.recorded(target)
        if result is not None:
            return files_of(result, self.directory)[0]
        return self.directory.exports / f"{model_name(self.directory.read()['name'])}-{target.quantization}.gguf"

    def recorded(self, target: Target) -> dict[str, Any] | None:
        return recorded_exports(self.directory).get(target)

    def merged_folder(self) -> Path:
        """The merged model: the exported one, the one of this call, or a new one."""
        if self._merged_now is None and not self.is_whole(Target("merged")):
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

    def _result(self, files: Sequence[Path], lines: gate.Lines, *written: GgufFile) -> dict[str, Any]:
        """`written`: those of the files whose sha256 is known, as it was when they were proven."""
        known = {file.path: file.sha256 for file in written}
        entries = [
            {
                "name": os.fspath(file.relative_to(self.directory.path)),
                "bytes": file.stat().st_size,
                "sha256": known.get(file) or sha256(file),
            }
            for file in files
        ]
        checks, notes = lines
        return {"files": entries, "checks": checks, "notes": notes}
