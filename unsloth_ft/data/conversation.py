"""The one conversation type that every row shape becomes."""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is one of ROLES, `content` is never empty for the assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """One row of the data. Either `messages`, or `text` for a row that its author rendered already, never both.

    `file` is the path as the user gave it, `line` counts from 1 (for arrays, CSV and Parquet: the record's number).
    """

    messages: tuple[Message, ...]
    file: str
    line: int
    text: str | None = None

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def question(self) -> str:
        """The first user message, or the text's beginning: what makes two rows 'the same question'."""
        if self.text is not None:
            return self.text
        return next((message.content for message in self.messages if message.role == "user"), "")

    @property
    def answer(self) -> str:
        """The last assistant message, or ''."""
        return next((message.content for message in reversed(self.messages) if message.role == "assistant"), "")
