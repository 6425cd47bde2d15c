"""A merged folder in the making, which a later call goes on with: each whole file is listed with the inputs it was made from."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unsloth_ft.base_model import BaseModel, weight_files
from unsloth_ft.disk import sync
from unsloth_ft.record import sha256, write_atomically

MANIFEST = ".merge.json"
LAYOUT = 1  # what is written for the same inputs; one more whenever that changes


@dataclass(frozen=True)
class Written:
    """A shard that was written, read back and found right. `changed` of its `targeted` tensors differ from the base's."""

    sha256: str
    targeted: int
    changed: int


def inputs_of(base: Path, adapter_folder: Path, weights: Path) -> dict[str, Any]:
    """What the merged weights depend on. Slices tell models apart; size and time of each file tell that it is still the same one."""
    files = [(file, file.stat()) for file in weight_files(base)]
    return {
        "layout": LAYOUT,
        "base": BaseModel(base.name, None, base, "a folder").fingerprint(),
        "files": [[file.name, status.st_size, status.st_mtime_ns] for file, status in files],
        "adapter": [sha256(adapter_folder / "adapter_config.json"), sha256(weights)],
    }


class Staging:
    """The folder and its list. What is in it by other inputs, or unlisted, or not as listed, counts as nothing."""

    def __init__(self, folder: Path, inputs: dict[str, Any]) -> None:
        self.folder = folder
        self.inputs = inputs
        self.written = _listed(folder / MANIFEST, inputs)
        if not self.written:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

    def kept(self, name: str) -> Written | None:
        """The shard of an earlier call, if it still has the bytes that were found right then."""
        written = self.written.get(name)
        return written if written and (self.folder / name).is_file() and sha256(self.folder / name) == written.sha256 else None

    def keep(self, name: str, written: Written) -> None:
        """Lists a shard, which is on the disk for good."""
        self.written[name] = written
        manifest = {"inputs": self.inputs, "shards": {file: asdict(entry) for file, entry in self.written.items()}}
        write_atomically(self.folder / MANIFEST, json.dumps(manifest))

    def finish(self, names: set[str]) -> None:
        """Only the files named, each of them on the disk for good."""
        for file in self.folder.iterdir():
            if file.name not in names:
                file.unlink()
        for name in names:
            sync(self.folder / name)
        sync(self.folder)


def _listed(manifest: Path, inputs: dict[str, Any]) -> dict[str, Written]:
    """The shards that an earlier call made from the same inputs; none where the list is damaged."""
    try:
        listed = json.loads(manifest.read_text(encoding="utf-8"))
        return {name: Written(**entry) for name, entry in listed["shards"].items()} if listed["inputs"] == inputs else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
