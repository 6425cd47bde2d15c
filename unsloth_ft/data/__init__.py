"""Files become conversations: `load` for a run, `examine` for a look at what is in them. Nothing here writes a file."""

from __future__ import annotations

from collections.abc import Mapping

from .checks import leaks, normalise
from .conversation import ROLES, Conversation, Message
from .dataset import Dataset, FileFacts, conversations_sha256
from .examination import NOTHING, Examination, Paths, examine, names
from .findings import Finding, Findings, collected, raise_errors
from .shelf import Collected, Joined, chosen
from .split import Split, split

__all__ = [
    "ROLES",
    "Conversation",
    "Dataset",
    "Examination",
    "FileFacts",
    "Finding",
    "Findings",
    "Joined",
    "Message",
    "Split",
    "chosen",
    "collected",
    "conversations_sha256",
    "examine",
    "leaks",
    "load",
    "names",
    "normalise",
    "raise_errors",
    "split",
]


def load(
    paths: Paths,
    *,
    columns: Mapping[str, str] = NOTHING,
    roles: Mapping[str, str] = NOTHING,
    offline: bool = False,
    eval_paths: Paths = (),
    allow_leak: bool = False,
) -> Dataset:
    """The conversations of one or more files (or `hf://` datasets), all of them good; the files are examined on the way.

    Everything is as `examine` has it. Raises: UserError with the first mistakes of every kind and their lines, MachineError when the
    machine can't read it.
    """
    conversations, held_out = Collected(), Collected()
    examination = examine(
        paths,
        columns=columns,
        roles=roles,
        offline=offline,
        eval_paths=eval_paths,
        allow_leak=allow_leak,
        take=conversations.take,
        take_held_out=held_out.take,
    )
    found = examination.findings
    found.raise_errors()
    return Dataset(conversations.all(), found, examination.shape, examination.files, held_out.all(), examination.eval_files)
