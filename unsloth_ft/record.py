"""The run directory: run.json, what stands in it, and who may write to it.

`run.json` is what one needs to trust and to repeat a run; it holds no absolute path, no user name and no secret, so that it
can be passed on. This machine's own paths, which `resume` and `export` need, are kept apart in `local.json`.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unsloth_ft import __version__
from unsloth_ft.errors import BusyError, MachineError, UserError

SCHEMA = 1
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "tokenizers", "safetensors",
            "unsloth", "unsloth_zoo", "gguf", "xllamacpp", "triton", "xformers")


@dataclass(frozen=True)
class RunDirectory:
    """`runs/<name>/` and the places in it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def local_file(self) -> Path:
        return self.path / "local.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def evaluation(self) -> Path:
        return self.path / "eval"

    @property
    def exports(self) -> Path:
        return self.path / "export"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def read(self) -> dict[str, Any]:
        """run.json. Raises UserError when there is none, or when it is none of ours."""
        if not self.record_file.is_file():
            raise UserError(f"{self.name}: no run.json in it; expected a run directory, as `unsloth-ft run` makes them.")
        try:
            record = json.loads(self.record_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{self.name}/run.json: not JSON ({error}); the run directory is damaged.") from None
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise UserError(f"{self.name}/run.json: not a run record of schema {SCHEMA}.")
        return record

    def read_local(self) -> dict[str, Any]:
        return json.loads(self.local_file.read_text(encoding="utf-8")) if self.local_file.is_file() else {}

    def update(self, **parts: Any) -> dict[str, Any]:
        """Puts the parts into run.json in one step; what was there under other names stays."""
        known = self.read() if self.record_file.is_file() else {"schema": SCHEMA, "name": self.name, "created": now(), "warnings": []}
        record = without_folders(known | parts, self.private_folders())
        record["updated"] = now()
        write_atomically(self.record_file, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        return record

    def private_folders(self) -> list[str]:
        """Absolute folders that a message or a command may name, the longest first; run.json keeps what comes after them."""
        local = self.read_local()
        inputs = local.get("inputs", {})
        files = [*inputs.get("data_files", ()), *inputs.get("eval_data", ()), inputs.get("recipe"), inputs.get("model"), local.get("base_model"), os.path.abspath(self.path)]
        folders = {os.path.dirname(file) for file in files if file and os.path.isabs(file)} | {os.getcwd(), os.path.expanduser("~")}
        return sorted(folders - {"/"}, key=len, reverse=True)

    def update_local(self, **parts: Any) -> None:
        """Puts this machine's own paths into local.json."""
        write_atomically(self.local_file, json.dumps(self.read_local() | parts, indent=2, ensure_ascii=False) + "\n")

    def warn(self, *messages: str) -> None:
        """Adds warnings to run.json, each once."""
        known = self.read()["warnings"] if self.record_file.is_file() else []
        self.update(warnings=list(dict.fromkeys([*known, *messages])))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the directory for this process, making it where it is missing. Raises BusyError when another one does."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            stream = open(self.path / ".lock", "a")  # noqa: SIM115  held as long as the run
        except OSError as error:
            raise UserError(f"{self.name}: can't be written as a run directory ({error.strerror}). Name another with --out.") from None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"{self.name}: another process is working in this run directory.") from None
            yield


def find(name: str, *, root: Path = Path("runs")) -> RunDirectory:
    """A run by its directory, or by its name under runs/. Raises UserError with the names that exist."""
    for path in (Path(name), root / name):
        if (path / "run.json").is_file():
            return RunDirectory(path)
    known = ", ".join(directory.name for directory in all_runs(root=root)) or "none"
    raise UserError(f'"{name}" is no run: neither a run directory nor a name under {root}/ (there: {known}).')


def all_runs(*, root: Path = Path("runs")) -> list[RunDirectory]:
    """Every run under the folder, the newest last."""
    files = sorted(root.glob("*/run.json"), key=lambda file: file.stat().st_mtime)
    return [RunDirectory(file.parent) for file in files]


def new_run(stem: str, *, root: Path = Path("runs")) -> RunDirectory:
    """A directory name that is free: the stem, or the stem with the next number."""
    path, number = root / stem, 1
    while path.exists():
        number += 1
        path = root / f"{stem}-{number}"
    return RunDirectory(path)


def write_atomically(path: Path, text: str) -> None:
    """The whole new text or the whole old one, whatever the moment of a kill or a power cut.

    Raises MachineError when the disk is full; the old file is untouched then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise MachineError(f"{path.name}: can't be written ({error.strerror}); {len(text.encode()):,} bytes are needed. Free some space and run the same command again.") from None
    sync_folder(path.parent)


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Dataclass values as JSON, a line each; whole or not at all."""
    write_atomically(path, "".join(json.dumps(asdict(value), ensure_ascii=False) + "\n" for value in values))


def without_folders(value: Any, folders: Sequence[str]) -> Any:
    """The value with the folders taken out of every text in it: /home/me/data/faq.jsonl becomes faq.jsonl."""
    if isinstance(value, str):
        for folder in folders:
            value = value.replace(folder + os.sep, "")
        return value
    if isinstance(value, dict):
        return {key: without_folders(item, folders) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(item, folders) for item in value]
    return value


def sync_folder(folder: Path) -> None:
    """Makes renames in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """What is installed of the packages a result depends on."""
    found = {"unsloth_ft": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _digest(stream) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()
