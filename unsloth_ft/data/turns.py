"""The order of turns, checked without a template: what every chat template of the supported families can render."""

from __future__ import annotations

from collections.abc import Sequence

from .conversation import Message


def turn_problem(messages: Sequence[Message], *, first: int = 1) -> str | None:
    """The first thing wrong with the order of roles, with what to do; None when it is right. `first` numbers the first message.

    Right is: at most one system message, first; then user and assistant in turn, from a user to an assistant. Tool messages
    come after an assistant's, and an assistant's after them.
    """
    roles = [message.role for message in messages]
    start = 1 if roles[:1] == ["system"] else 0
    if "system" in roles[start:]:
        place = roles.index("system", start) + first
        if start:
            return f"message {place} is a second system message; expected one, at the start. Join the two, or remove one."
        return f"message {place} is a system message; expected it at the start. Move or remove it."
    if not roles[start:]:
        return "there is only a system message; expected a user's question and an assistant's answer after it."
    if roles[start] != "user":
        return f"the conversation starts with {_a(roles[start])} message; expected a user message first. Add or remove one."
    if "assistant" not in roles:
        return "there is no assistant message, so nothing to learn. Add the answer, or remove the row."
    return _order(roles, start, first) or _end(roles)


def _order(roles: Sequence[str], start: int, first: int) -> str | None:
    for place in range(start + 1, len(roles)):
        before, role = roles[place - 1], roles[place]
        number = place + first
        if role == "tool" and before == "user":
            return f"message {number} is a tool message after a user's; expected it after an assistant's. Move or remove it."
        if role == "user" and before == "tool":
            return f"message {number} is a user message after a tool's; expected the assistant's answer to the tool first. Add it."
        if role == before and role != "tool":
            found = f"messages {number - 1} and {number} are both from the {role}"
            return f"{found}; expected user and assistant in turn. Join them, or add what is between."
    return None


def _end(roles: Sequence[str]) -> str | None:
    if roles[-1] == "assistant":
        return None
    return f"the conversation ends with {_a(roles[-1])} message; expected an assistant message last. Add the answer, or remove it."


def _a(role: str) -> str:
    return f"an {role}" if role == "assistant" else f"a {role}"
