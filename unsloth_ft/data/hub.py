"""Datasets of the Hugging Face hub: `hf://owner/name`, with `/config`, `@revision` and `:split` behind it where they are needed."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import MachineError, UserError
from . import hub_cache
from .findings import Finding
from .jsonfiles import Record
from .wording import printable

PREFIX = "hf://"
LARGE_BYTES = 2**30  # more than this is streamed: preparing it would write it to the disk twice, as downloaded and as Arrow
_PART = r"@[\w./-]+|:(?:[\w.+-]|\[[\w:%-]*\])+"  # a revision, or a split as `datasets` slices it: train[:10%]+test
_NAME = re.compile(rf"hf://(?:datasets/)?(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<config>[\w.-]+))?(?P<rest>(?:{_PART})*)", re.ASCII)
_WHOLE_SPLIT = re.compile(r"[\w.-]+", re.ASCII)  # only these can be streamed
_PROBE_SECONDS = 1.0  # with the rest of the command this stays under the two seconds an answer may take


@dataclass(frozen=True)
class Name:
    """A dataset as the user names it (`shown`), taken apart."""

    shown: str
    name: str
    config: str | None
    revision: str | None
    split: str


def is_hub(path: str) -> bool:
    """Whether the path names a dataset of the hub."""
    return path.startswith(PREFIX)


def parsed(path: str) -> Name:
    """The parts of a name; the split is `train` unless one is named. Raises: UserError for what is none."""
    match = _NAME.fullmatch(path)
    parts = re.findall(_PART, match["rest"], re.ASCII) if match else []
    given = {part[0]: part[1:] for part in parts}
    if match is None or len(given) < len(parts):
        way_out = "expected hf://owner/name, with /config, @revision or :split behind it if needed."
        raise UserError(f"{printable(path)}: not a dataset's name; {way_out}")
    return Name(path, match["name"], match["config"], given.get("@"), given.get(":", "train"))


def records(path: str, *, offline: bool = False) -> Iterator[Record | Finding]:
    """The rows of one split, numbered from 1; offline or without network from the cache of `datasets`, if they are there.

    Raises: UserError for a name that is none or isn't there; MachineError, before any library is loaded, when offline or without
    network and not in the cache.
    """
    asked = parsed(path)
    offline = offline or _set_offline()
    if not offline and _reachable():
        return _numbered(asked, _online(asked))
    cached = hub_cache.find(asked.name, config=asked.config, revision=asked.revision, shown=path)
    if cached is None:
        raise MachineError(f"{printable(path)}: {_not_cached(asked, offline=offline)}")
    return _from_cache(asked, cached, said=not offline)


def _from_cache(asked: Name, cached: hub_cache.Cached, *, said: bool) -> Iterator[Record | Finding]:
    if said:
        message = f"{_host()[0]} can't be reached; read from the cache, as of commit {cached.commit}."
        yield Finding(asked.shown, None, "warning", "from-cache", message)
    yield from _numbered(asked, hub_cache.rows(cached, asked.name, asked.split, shown=asked.shown))


def _numbered(asked: Name, rows: Iterable[dict[str, object]]) -> Iterator[Record]:
    try:
        for number, row in enumerate(rows, start=1):
            yield Record(number, dict(row))
    except OSError as error:  # while it streams
        raise MachineError(f"{printable(asked.shown)}: could not be loaded: {hub_cache.reason(error)}") from None


def _not_cached(asked: Name, *, offline: bool) -> str:
    why = "this run is offline" if offline else f"{_host()[0]} can't be reached"
    way_out = "Load it once where there is network, or save it as a file and pass that."
    return f"not in the cache of datasets, and {why}.{hub_cache.known(asked.name)} {way_out}"


def _online(asked: Name) -> Iterable[dict[str, object]]:
    try:
        import datasets
    except ImportError:
        raise MachineError(f"{printable(asked.shown)}: {hub_cache.NEEDED}") from None
    # without the prefix a folder of the same name here would be read instead
    source = {"path": f"hf://datasets/{asked.name}", "name": asked.config, "revision": asked.revision}
    try:
        size_bytes = datasets.load_dataset_builder(**source).info.dataset_size or 0
        stream = size_bytes > LARGE_BYTES and _WHOLE_SPLIT.fullmatch(asked.split) is not None
        return datasets.load_dataset(**source, split=asked.split, streaming=stream)
    except (FileNotFoundError, ValueError) as error:  # DatasetNotFoundError is the first; an unknown split or configuration the second
        raise UserError(f"{printable(asked.shown)}: {hub_cache.reason(error)}") from None
    except OSError as error:
        raise MachineError(f"{printable(asked.shown)}: could not be loaded: {hub_cache.reason(error)}") from None
    except datasets.exceptions.DatasetGenerationError as error:  # files whose rows don't have the same columns
        raise UserError(f"{printable(asked.shown)}: {hub_cache.reason(error.__cause__ or error)}") from None


def _set_offline() -> bool:
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))


def _host() -> tuple[str, int]:
    """The host a download would connect to first: the proxy where one is set, else the hub's."""
    from urllib.request import getproxies

    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    proxy = getproxies().get(endpoint.scheme)
    target = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else endpoint
    return target.hostname or "huggingface.co", target.port or (443 if target.scheme == "https" else 80)


def _reachable() -> bool:
    """Whether the host accepts a connection; in a thread, since looking up a name has no time limit of its own."""
    import socket

    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(_host(), timeout=_PROBE_SECONDS).close()
        except OSError:
            return
        connected.set()

    probe = threading.Thread(target=connect, daemon=True)
    probe.start()
    probe.join(_PROBE_SECONDS + 0.2)
    return connected.is_set()
