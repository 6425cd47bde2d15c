"""The one conversation type that every row shape becomes."""

from __future__ import annotations

import json
from dataclasses import dataclass

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is one of ROLES.

    An assistant's `content` is empty only beside `tool_calls`: canonical JSON of OpenAI's list (`arguments` as an object).
    `learned` is False for an assistant message that the row's author gave weight 0. `tool_call_id` names the call that a tool
    message answers, where the row says so.
    """

    role: str
    content: str
    tool_calls: str | None = None
    learned: bool = True
    tool_call_id: str | None = None


@dataclass(frozen=True)
class Conversation:
    """One row of the data. Either `messages`, or `text` for a row that its author rendered already, never both.

    `file` is the path as the user gave it, `line` counts from 1 (for arrays, CSV and Parquet: the record's number). `tools` is
    canonical JSON of OpenAI's list of the functions that the model may call.
    """

    messages: tuple[Message, ...]
    file: str
    line: int
    text: str | None = None
    tools: str | None = None

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def characters(self) -> int:
        """Of all that a template may write of it."""
        said = sum(len(message.content) + len(message.tool_calls or "") for message in self.messages)
        return said + len(self.text or "") + len(self.tools or "")

    @property
    def question(self) -> str:
        """All that the user says, or the text: what makes two rows 'the same question'. Many conversations open with the same "Hello!"."""
        if self.text is not None:
            return self.text
        return "\n".join(message.content for message in self.messages if message.role == "user")

    @property
    def answer(self) -> str:
        """The last assistant message, or ''."""
        return next((message.content for message in reversed(self.messages) if message.role == "assistant"), "")


def said(message: Message) -> str:
    """The message's text and its calls, in one spelling: what makes two answers the same. A call's id says nothing."""
    if message.tool_calls is None:
        return message.content
    functions = [call["function"] for call in json.loads(message.tool_calls)]
    return f"{message.content}\n{json.dumps(functions, ensure_ascii=False, sort_keys=True)}"
