"""Datasets of the hub that lie in the cache of `datasets`, found without importing it and read without a socket."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import MachineError, UserError, nearest
from .wording import listed, printable

NEEDED = "reading from the hub needs the package datasets. Run: pip install datasets"
_HEX = re.compile("[0-9a-f]{7,40}")
_COMMIT_SHOWN = 12  # characters


@dataclass(frozen=True)
class Cached:
    """One configuration at one commit, as `datasets` prepared it: `folder` is `OWNER___NAME/CONFIG/VERSION/COMMIT`."""

    folder: Path
    config: str

    @property
    def commit(self) -> str:
        return self.folder.name

    @property
    def version(self) -> str:
        return self.folder.parent.name


def datasets_cache() -> Path:
    """Where `datasets` keeps what it prepared (HF_DATASETS_CACHE, HF_HOME, XDG_CACHE_HOME, as its own config.py reads them)."""
    return Path(os.environ.get("HF_DATASETS_CACHE") or _home() / "datasets")


def find(name: str, *, config: str | None, revision: str | None, shown: str) -> Cached | None:
    """The newest prepared copy of `owner/name`; None when there is none of this configuration and revision.

    `shown` is what messages call it. Raises: UserError when it has several configurations and none is asked for.
    """
    copies = sorted(_copies(name), key=lambda cached: cached.folder.stat().st_mtime)
    if revision is not None:
        commit = _commit(name, revision)
        copies = [cached for cached in copies if cached.commit.startswith(commit)]
    if config is not None:
        return next((cached for cached in reversed(copies) if config in (cached.config, cached.folder.parts[-3])), None)
    configs = sorted({cached.config for cached in copies})
    if len(configs) > 1:
        raise UserError(f"{printable(shown)}: the dataset has several configurations: {listed(configs)}. Name one: hf://{name}/{configs[0]}")
    return copies[-1] if copies else None


def known(name: str) -> str:
    """What the cache has of the dataset, for a message; '' when it has nothing."""
    copies = [f"{cached.config}@{cached.commit[:_COMMIT_SHOWN]}" for cached in _copies(name)]
    return f" There {'is' if len(copies) == 1 else 'are'} {listed(sorted(copies))}." if copies else ""


def rows(cached: Cached, name: str, split: str, *, shown: str) -> Iterator[dict[str, object]]:
    """The split's rows, from memory-mapped files. Raises: UserError for a split that isn't there, MachineError for a torn copy."""
    try:
        from datasets.packaged_modules.cache.cache import Cache
    except ImportError:
        raise MachineError(f"{printable(shown)}: {NEEDED}") from None
    parts = cached.folder.parts
    builder = Cache(
        cache_dir=str(Path(*parts[:-4])),
        repo_id=name,
        dataset_name=name.split("/")[-1],
        config_name=parts[-3],
        version=cached.version,
        hash=cached.commit,
    )
    splits = list(builder.info.splits or ())
    missing = next((part for part in split.split("+") if part.split("[")[0] not in splits), None)
    if missing is not None:
        raise UserError(f"{printable(shown)}: no split {printable(missing)}; there is {listed(splits)}.{nearest(missing, splits)}")
    try:
        return iter(builder.as_dataset(split=split))
    except ValueError as error:  # a slice that can't be read; pyarrow's for a damaged file is one too
        raise UserError(f"{printable(shown)}: {reason(error)}") from None
    except OSError:
        way_out = f"Delete {'/'.join(parts[-4:])} there, and load it again where there is network."
        raise MachineError(f"{printable(shown)}: its copy in the cache of datasets can't be read. {way_out}") from None


def reason(error: Exception) -> str:
    """What a library says of its failure, on one line and not without end."""
    return printable(" ".join(str(error).split())[:300])


def _home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser()


def _copies(name: str) -> list[Cached]:
    """Every prepared copy. `datasets` writes a name's capitals as `_` and a small letter, so names are compared without both."""
    root = datasets_cache()
    wanted = _plain(name.replace("/", ""))
    folders = [entry for entry in root.glob("*___*") if _plain(entry.name) == wanted]
    infos = [info for folder in folders for info in folder.glob("*/*/*/dataset_info.json")]
    return [Cached(info.parent, config) for info in infos if (config := _config(info)) is not None]


def _config(info: Path) -> str | None:
    """The configuration that a dataset_info.json names; None when it can't be read."""
    try:
        return str(json.loads(info.read_text("utf-8"))["config_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _commit(name: str, revision: str) -> str:
    """The commit that a branch or tag stood for when it was last asked for; a commit is one already."""
    hub = Path(os.environ.get("HF_HUB_CACHE") or _home() / "hub")
    reference = hub / f"datasets--{name.replace('/', '--')}" / "refs" / revision
    if reference.is_file():
        return reference.read_text("utf-8").strip()
    return revision if _HEX.fullmatch(revision) else f"no commit for {revision}"
