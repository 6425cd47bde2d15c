"""What is wrong inside the texts of one row, though it can be read: characters nobody sees, and what should not be learned."""

from __future__ import annotations

from collections.abc import Iterator

from .characters import strange_characters
from .conversation import Conversation
from .findings import Finding


def inspect(conversation: Conversation) -> Iterator[Finding]:
    """Everything found in the texts of one row; a clean row has nothing."""
    for name, text in _texts(conversation):
        for problem in strange_characters(text, name):
            yield Finding(conversation.file, conversation.line, problem.severity, problem.code, problem.message)


def _texts(conversation: Conversation) -> Iterator[tuple[str, str]]:
    """(what messages call it, text) of each text in the row."""
    if conversation.text is not None:
        yield '"text"', conversation.text
    for place, message in enumerate(conversation.messages, start=1):
        yield f"message {place} ({message.role})", message.content
