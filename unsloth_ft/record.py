"""The run directory: run.json, what stands in it, and who may write to it.

`run.json` is what one needs to trust and to repeat a run; it holds no absolute path, no user name and no secret, so that it
can be passed on. This machine's own paths, which `resume` and `export` need, are kept apart in `local.json`.
"""

from __future__ import annotations

import datetime
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unsloth_ft import __version__
from unsloth_ft.disk import finite, sync
from unsloth_ft.errors import BusyError, MachineError, UserError

SCHEMA = 1
LOCK, RECORD, LOCAL = ".lock", "run.json", "local.json"
FULL = (errno.ENOSPC, errno.EDQUOT)
PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "tokenizers",
    "safetensors",
    "unsloth",
    "unsloth_zoo",
    "gguf",
    "xllamacpp",
    "triton",
    "xformers",
)


@dataclass(frozen=True)
class RunDirectory:
    """`runs/<name>/` and the places in it."""

    path: Path

    @property
    def name(self) -> str:
        # "." and ".." name a directory too.
        return os.path.basename(os.path.abspath(self.path))

    @property
    def record_file(self) -> Path:
        return self.path / RECORD

    @property
    def local_file(self) -> Path:
        return self.path / LOCAL

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
        record = self._read(self.record_file)
        if record.get("schema") != SCHEMA:
            raise UserError(f"{self.name}/run.json: not a run record of schema {SCHEMA}.")
        return record

    def read_local(self) -> dict[str, Any]:
        """This machine's own paths; nothing where the run was made elsewhere."""
        return self._read(self.local_file) if self.local_file.is_file() else {}

    def _read(self, file: Path) -> dict[str, Any]:
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.name}/{file.name}: not JSON ({error}); the run directory is damaged.") from None
        if not isinstance(value, dict):
            raise UserError(f"{self.name}/{file.name}: not a JSON object; the run directory is damaged.")
        return value

    def update(self, **parts: Any) -> dict[str, Any]:
        """Puts the parts into run.json in one step; what was there under other names stays."""
        known = self.read() if self.record_file.is_file() else {"schema": SCHEMA, "name": self.name, "created": now(), "warnings": []}
        record = self.public(known | parts)
        record["updated"] = now()
        write_atomically(self.record_file, as_json(record))
        return record

    def private_folders(self) -> list[str]:
        """Folders that a message or a command may name, absolute or by "..", the longest first; run.json keeps what comes after them."""
        local = self.read_local()
        inputs = local.get("inputs", {})
        files = [
            *inputs.get("data_files", ()),
            *inputs.get("eval_data", ()),
            inputs.get("recipe"),
            inputs.get("model"),
            local.get("base_model"),
            os.path.abspath(self.path),
        ]
        folders = {os.path.dirname(file) for file in files if file and os.path.isabs(file)} | {os.getcwd(), os.path.expanduser("~")}
        folders |= {os.path.realpath(folder) for folder in folders}
        from_here = {os.path.relpath(folder) for folder in folders}
        return sorted((folders - {"/"}) | {folder for folder in from_here if folder.startswith("..")}, key=len, reverse=True)

    def public(self, value: Any) -> Any:
        """The value as run.json may hold it: without this machine's folders."""
        return without_folders(value, self.private_folders())

    def update_local(self, **parts: Any) -> None:
        """Puts this machine's own paths into local.json."""
        write_atomically(self.local_file, as_json(self.read_local() | parts))

    def warn(self, *messages: str) -> None:
        """Adds warnings to run.json, each once."""
        known = self.read()["warnings"] if self.record_file.is_file() else []
        self.update(warnings=list(dict.fromkeys([*known, *messages])))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the directory for this process, making it where it is missing. Raises BusyError when another one does."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            stream = open(self.path / LOCK, "a")  # noqa: SIM115  held as long as the run
        except OSError as error:
            kind = MachineError if error.errno in FULL else UserError
            raise kind(f"{self.path}: can't be written as a run directory ({error.strerror}). Name another with --out.") from None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"{self.name}: another process is working in this run directory.") from None
            yield

    def is_held(self) -> bool:
        """Whether a process is working in the directory now."""
        if not (self.path / LOCK).is_file():
            return False
        with open(self.path / LOCK) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def status(self) -> str:
        """The status in run.json; "stopped" for a run that was killed, "damaged" where run.json can't be read."""
        try:
            status = self.read().get("status", "stopped")
        except UserError:
            return "damaged"
        return "stopped" if status == "running" and not self.is_held() else status

    def refuse_unusable(self) -> None:
        """Raises UserError for a place that can't become a run directory: a file, a folder of other things, one that can't be written.

        Nothing is written; to be called before anything is read.
        """
        if self.path.is_dir():
            others = sorted(file.name for file in self.path.iterdir() if not self._is_own(file))
            if others and not self.record_file.is_file():
                raise UserError(
                    f"{self.path}: holds other files ({', '.join(others[:3])}{', …' if len(others) > 3 else ''}) and is no run "
                    "directory. Name another with --out."
                )
            if self.record_file.is_file():
                self.read()
        place = next(folder for folder in (self.path, *self.path.absolute().parents) if os.path.lexists(folder))
        if not place.is_dir():
            raise UserError(
                f"{self.path}: {'is a file' if place == self.path else f'{place} is a file'}; expected a new directory or an earlier "
                "run's. Name another with --out."
            )
        if not os.access(place, os.W_OK | os.X_OK):
            raise UserError(f"{self.path}: {place} can't be written. Name another directory with --out.")

    def remove_leftovers(self) -> None:
        """Removes what a killed process left half written beside run.json and local.json; only while the directory is held."""
        for file in self.path.iterdir():
            if file.name.startswith((f".{RECORD}.", f".{LOCAL}.")):
                file.unlink()

    def _is_own(self, file: Path) -> bool:
        # local.json is written before run.json, so a kill may leave it alone.
        return file.name in (LOCK, LOCAL) or file.name.startswith((f".{RECORD}.", f".{LOCAL}."))


def find(name: str, *, root: Path = Path("runs")) -> RunDirectory:
    """A run by its directory, or by its name under runs/. Raises UserError with the names that exist."""
    for path in (Path(name), root / name):
        if name and (path / RECORD).is_file():
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
    try:
        replace_text(path, text)
    except OSError as error:
        size = len(text.encode(errors="backslashreplace"))
        raise MachineError(
            f"{path.name}: can't be written ({error.strerror}); {size:,} bytes are needed. Free some space and run the same command again."
        ) from None


def replace_text(path: Path, text: str) -> None:
    """As `write_atomically`. Raises OSError where it can't be written."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        # A lone surrogate, from a file name that is no UTF-8, is written as an escape.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    except OSError:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise


def write_lines(path: Path, values: Iterable[Any], *, folders: Sequence[str] = ()) -> None:
    """Dataclass values as JSON, a line each, without the folders; whole or not at all."""
    lines = (finite(without_folders(asdict(value), folders)) for value in values)
    write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def as_json(value: Any) -> str:
    """Indented JSON with a line end; a number that is none (NaN, infinity) is null, since JSON has no word for it."""
    return json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def without_folders(value: Any, folders: Sequence[str]) -> Any:
    """The value with the folders taken out of every text in it: /home/me/data/faq.jsonl becomes faq.jsonl, /home/me itself a dot."""
    if isinstance(value, str):
        for folder in folders:
            # Only where a path may begin, so that /a in /b/a/c and in https://a/b stays; and only whole names, so that /home/me in
            # /home/mek stays.
            begins = rf"(?<![\w.-])(?<!:/){re.escape(folder)}"
            value = re.sub(rf"{begins}(?![\w-])", ".", re.sub(f"{begins}/", "", value))
        return value
    if isinstance(value, dict):
        return {key: without_folders(item, folders) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(item, folders) for item in value]
    return value


def sha256(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """What is installed of the packages a result depends on."""
    found = {package: there for package in PACKAGES if (there := version(package)) is not None}
    return {"unsloth_ft": __version__, "python": platform.python_version(), **found}


def version(package: str) -> str | None:
    """Of a package as it is installed; None: it isn't."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digest(stream) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()
