"""The loaded data: conversations, what was found in them, and the hashes that name them in the record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from .conversation import Conversation, Message
from .findings import Findings


@dataclass(frozen=True)
class FileFacts:
    """What identifies one file that was read.

    `path` is as the user gave it; `sha256` and `bytes` are of the file as it lies on the disk (for a dataset of the hub: of its
    rows, each written as one line of JSON); `rows` counts the conversations taken from it.
    """

    path: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Dataset:
    """Conversations in the files' order, without errors; `findings` keeps the warnings and notes.

    `shape` names the row shape ('messages', 'question/answer' …), several joined by ' + ' when files differ. `held_out` are the rows of
    `eval_files`, where such are given.
    """

    conversations: Sequence[Conversation]
    findings: Findings
    shape: str
    files: tuple[FileFacts, ...]
    held_out: Sequence[Conversation] = ()
    eval_files: tuple[FileFacts, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Of the conversations alone: the same rows from another file or format have the same hash."""
        return conversations_sha256(self.conversations)


def canonical(conversation: Conversation) -> str:
    """One line of JSON that two conversations share exactly when they train the same; file and line are not in it.

    What few rows have (tools, calls, an answer that is not learned) is written only where it is, so that the others' hashes stay.
    """
    if conversation.text is not None:
        return json.dumps({"text": conversation.text}, ensure_ascii=False, separators=(",", ":"))
    row: dict[str, object] = {"messages": [_parts(message) for message in conversation.messages]}
    if conversation.tools is not None:
        row["tools"] = conversation.tools
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _parts(message: Message) -> list[object]:
    parts: list[object] = [message.role, message.content]
    if message.tool_calls is None and message.tool_call_id is None and message.learned:
        return parts
    said = {"tool_calls": message.tool_calls, "tool_call_id": message.tool_call_id, "learned": None if message.learned else False}
    return [*parts, {name: value for name, value in said.items() if value is not None}]


def conversations_sha256(conversations: Iterable[Conversation]) -> str:
    """Hex SHA-256 over the canonical lines, in order: also names one side of a split."""
    digest = hashlib.sha256()
    for conversation in conversations:
        digest.update(canonical(conversation).encode("utf-8"))
        digest.update(b"\n")
    return digest.hexdigest()
