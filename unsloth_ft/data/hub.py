"""Datasets of the Hugging Face hub, named `hf://owner/name`, `hf://owner/name@revision` or `hf://owner/name:split`."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from ..errors import MachineError, UserError
from .jsonfiles import Record
from .wording import printable

PREFIX = "hf://"
_NAME = re.compile(r"hf://(?:datasets/)?(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<split>[\w.\[\]:%-]+))?", re.ASCII)
_PROBE_SECONDS = 1.0  # with the rest of the command this stays under the two seconds an answer may take


def is_hub(path: str) -> bool:
    """Whether the path names a dataset of the hub."""
    return path.startswith(PREFIX)


def records(path: str, *, offline: bool = False) -> Iterator[Record]:
    """The rows of one split (`train` unless named), numbered from 1.

    Raises: UserError for a name that is none or isn't there; MachineError when offline or without network, before any library is loaded.
    """
    match = _NAME.fullmatch(path)
    if match is None:
        raise UserError(f"{printable(path)}: not a dataset's name; expected hf://owner/name, with @revision or :split if needed.")
    way_out = "Save it as a file where there is network, and pass that file."
    if offline or _set_offline():
        raise MachineError(f"{printable(path)}: a dataset of the hub needs the network, and this run is offline. {way_out}")
    if not _reachable():
        raise MachineError(f"{printable(path)}: {_host()[0]} can't be reached. {way_out}")
    return _loaded(path, match)


def _loaded(path: str, match: re.Match[str]) -> Iterator[Record]:
    try:
        import datasets
    except ImportError:
        raise MachineError(f"{printable(path)}: reading from the hub needs the package datasets. Run: pip install datasets") from None
    try:
        rows = datasets.load_dataset(match["name"], revision=match["revision"], split=match["split"] or "train")
    except (FileNotFoundError, ValueError) as error:  # DatasetNotFoundError is the first; an unknown split or configuration the second
        reason = printable(" ".join(str(error).split())[:300])
        raise UserError(f"{printable(path)}: {reason}") from None
    except OSError as error:
        reason = printable(" ".join(str(error).split())[:300])
        raise MachineError(f"{printable(path)}: could not be loaded: {reason}") from None
    return (Record(number, dict(row)) for number, row in enumerate(rows, start=1))


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
