"""The lines that an export must pass, found in the files as they lie on the disk: the same at export and in `verify`.

What a writer has compared already, under a temporary name, is passed in as `read_back` and not compared twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export import gguf, in_llamacpp, proof
from unsloth_ft.export.gguf_check import check_finite, check_metadata
from unsloth_ft.export.gguf_lora import check_gguf_lora
from unsloth_ft.export.gguf_model import read_architecture
from unsloth_ft.export.llama_quantize import OWN
from unsloth_ft.export.llamacpp import LlamaCpp
from unsloth_ft.export.lora import read_adapter
from unsloth_ft.export.merge_plan import plan_merge
from unsloth_ft.export.merged import check
from unsloth_ft.export.merged_files import check_files, tokenizer_folder
from unsloth_ft.export.ollama_model import modelfile_checks, template_ids
from unsloth_ft.export.recorded import files_of
from unsloth_ft.export.trained import Trained
from unsloth_ft.record import RunDirectory, sha256

Line = dict[str, Any]
"""One check, as `proof.check` writes it."""
Lines = tuple[list[Line], list[str]]
"""(checks, notes)"""

WRITTEN_BACK = "each within its quantization's rounding of the merged model's"


def files(result: dict[str, Any], directory: RunDirectory) -> Line:
    """Whether every file of an export has the recorded size and sha256."""

    def same() -> str:
        for file, path in zip(result["files"], files_of(result, directory)):
            if not path.is_file():
                raise GateError(f"{file['name']} is missing")
            if path.stat().st_size != file["bytes"]:
                raise GateError(f"{file['name']} has {path.stat().st_size:,} bytes, {file['bytes']:,} were written")
            if sha256(path) != file["sha256"]:
                raise GateError(f"{file['name']} has other bytes than were written")
        return f"{len(result['files'])} files, {sum(file['bytes'] for file in result['files']):,} bytes"

    return proof.holds("files", "the recorded sizes and sha256", same)


def adapter(trained: Trained) -> Lines:
    """The adapter's own files."""

    def pairs() -> str:
        found = read_adapter(trained.directory.adapter).pairs
        for module, pair in found.items():
            if not all(bool(tensor.isfinite().all()) for tensor in pair):
                raise GateError(f"{module} holds NaN or infinity")
        return f"{len(found)} pairs of A and B"

    return [proof.holds("tensors", "at least one pair, all finite", pairs)], []


def merged(folder: Path, trained: Trained, *, read_back: Line | None = None) -> Lines:
    """The merged folder: its weights, its tokenizer and ends, and what it says."""

    def weights() -> str:
        check(trained.base.folder, read_adapter(trained.directory.adapter), folder)
        return "every tensor: as computed from base and adapter where targeted, the base's elsewhere"

    lines = [read_back or proof.holds("weights read back", "as computed; all others equal the base's", weights)]
    expected = "the base's, or with added tokens the adapter's"
    lines.append(proof.holds("tokenizer and configuration", expected, lambda: _same_files(folder, trained)))
    return _spoken(lines, folder, trained)


def gguf_file(
    path: Path, folder: Path, quantization: str, trained: Trained, *, quantizer: str = OWN, read_back: Line | None = None
) -> Lines:
    """A GGUF against the merged model in `folder`: its bytes, then what llama.cpp makes of it."""
    lines = model_bytes(path, folder, quantization, quantizer=quantizer, read_back=read_back)
    return _in_llamacpp(lines, path, folder, quantization, trained)


def gguf_lora(
    path: Path,
    base_gguf: Path,
    folder: Path,
    quantization: str,
    trained: Trained,
    *,
    quantizer: str = OWN,
    read_back: Line | None = None,
) -> Lines:
    """An adapter's GGUF and its base's: their bytes, then what llama.cpp makes of both together, against the merged model in `folder`."""
    base = trained.base.folder

    def pairs() -> str:
        return check_gguf_lora(trained.directory.adapter, base, path)

    lines = [proof.holds("adapter's tensors read back", "the adapter's own, at its scale", pairs)]
    lines += model_bytes(base_gguf, base, quantization, quantizer=quantizer, read_back=read_back)
    return _in_llamacpp(lines, base_gguf, folder, quantization, trained, lora=path)


def model_bytes(path: Path, folder: Path, quantization: str, *, quantizer: str, read_back: Line | None = None) -> list[Line]:
    """A whole model's GGUF against its HF folder, byte by byte; no model is run."""

    def tensors() -> str:
        check_finite(path)
        targets = gguf.plan_tensors(folder, read_architecture(folder), quantization)
        if quantizer != OWN:
            targets = gguf.as_written(path, targets, quantization)
        gguf.verify_file(path, targets, every_row=True)
        return f"{len(targets)} tensors, every row"

    return [
        read_back or proof.holds("tensors read back", WRITTEN_BACK, tensors),
        proof.holds("metadata", "what the model's configuration and tokenizer say", lambda: check_metadata(path, folder, quantization)),
    ]


def _in_llamacpp(lines: list[Line], path: Path, folder: Path, quantization: str, trained: Trained, *, lora: Path | None = None) -> Lines:
    """The lines, those of the merged model's answers, and llama.cpp's against them."""
    if not all(line["ok"] for line in lines):
        return lines, []  # llama.cpp must not be asked to run what is known to be broken
    lines, notes = _spoken(lines, folder, trained)
    if in_llamacpp.missing():
        return lines, [*notes, in_llamacpp.MISSING]
    answers, _ = trained.answers(folder)
    found = in_llamacpp.in_llamacpp(
        path,
        trained.chat,
        trained.prompts,
        answers.merged if answers else (),
        limit=proof.limits(quantization, trained.dtype),
        max_new_tokens=trained.longest,
        lora=lora,
    )
    return [*lines, *found], notes


def modelfile(
    path: Path, gguf_path: Path, trained: Trained, *, ends: Sequence[str], num_ctx: int, adapter: Path | None, system: str | None
) -> Lines:
    """A Modelfile, its files and the tokenizer's template; and its TEMPLATE's ids in llama.cpp."""
    name = adapter.name if adapter else None
    missing = [file.name for file in (gguf_path, adapter) if file and not file.is_file()]
    if missing:
        return [proof.check("FROM and ADAPTER", False, f"{' and '.join(missing)}: missing", "GGUF files beside the Modelfile")], []
    lines = modelfile_checks(path, trained.chat, from_=gguf_path.name, adapter=name, ends=ends, num_ctx=num_ctx, system=system)
    if not all(line["ok"] for line in lines):
        return lines, []
    if in_llamacpp.missing():
        return lines, [in_llamacpp.MISSING]
    try:
        with LlamaCpp(gguf_path, context_length=512) as llama:
            return [*lines, template_ids(llama, path, trained.chat)], []
    except UserError as error:
        return [*lines, in_llamacpp.unopened(error)], []


def _spoken(lines: list[Line], folder: Path, trained: Trained) -> Lines:
    """The lines, and those of the merged model's answers where its files are right."""
    if not all(line["ok"] for line in lines):
        return lines, []
    answers, notes = trained.answers(folder)
    return [*lines, *(trained.merge_checks(answers) if answers else [])], notes


def _same_files(folder: Path, trained: Trained) -> str:
    base, adapter = trained.base.folder, trained.directory.adapter
    plan = plan_merge(base, read_adapter(adapter))
    return check_files(base, tokenizer_folder(base, adapter, rows=plan.vocabulary_rows), folder, plan)
