"""What must hold for every file, however broken: it is read, or it is refused in sentences; nothing else comes out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unsloth_ft.data import Conversation, examine
from unsloth_ft.errors import UserError


class Died(AssertionError):
    """The reader raised what a user must not see, or let something through that it must not."""


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    rows: int
    errors: int

    @property
    def loaded(self) -> bool:
        return self.errors == 0


def survive(path: Path, content: bytes) -> Outcome:
    """Write `content` and examine it as `data check` and `run` do. Raises: Died."""
    path.write_bytes(content)
    taken: list[Conversation] = []
    try:
        examination = examine(path, take=taken.append)
        errors = examination.findings.of("error").count
        shown = "\n".join(examination.findings.lines)
    except UserError as refused:
        errors, shown = 1, str(refused)
    except Exception as error:  # whatever it is: a user would see a traceback
        raise Died(f"{type(error).__name__}: {error}") from error
    _check_sentences(shown)
    for conversation in taken:
        _check_row(conversation)
    return Outcome(len(taken), errors)


def _check_sentences(shown: str) -> None:
    for line in shown.split("\n"):
        if not line.isprintable():
            raise Died(f"a message with characters that a terminal obeys: {line!r}")
    if any(mark in shown for mark in ("Traceback", "Error(", "<class", " object at 0x")):
        raise Died(f"a message with the program's insides: {shown!r}")


def _check_row(conversation: Conversation) -> None:
    texts = [conversation.text] if conversation.text is not None else [message.content for message in conversation.messages]
    for message in conversation.messages:
        if message.role == "assistant" and not message.content.strip() and message.tool_calls is None:
            raise Died(f"an answer without text at {conversation.where}")
    try:
        json.dumps(texts, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Died(f"half a character at {conversation.where}") from None
