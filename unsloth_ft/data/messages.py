"""Lists of messages: `{"role", "content"}` and ShareGPT's `{"from", "value"}`."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Mapping

from .content import Problem, optional_text, required_text, strange_word
from .conversation import ROLES, Message
from .turns import turn_problem
from .wording import kind, listed, quote

ALIASES = {"human": "user", "gpt": "assistant"}  # ShareGPT's names
_NEAR_ROLES = {
    "bot": "assistant", "model": "assistant", "ai": "assistant", "chatbot": "assistant", "chatgpt": "assistant", "agent": "assistant",
    "claude": "assistant", "llm": "assistant", "answer": "assistant", "customer": "user", "prompter": "user", "question": "user",
    "client": "user", "developer": "system", "context": "system", "function": "tool", "observation": "tool", "ipython": "tool",
}  # fmt: skip
_CALL_KEYS = ("tool_calls", "function_call")
# Keys of a message that other trainers act on and this one does not: said, never silent.
_UNUSED_KEYS = ("weight", "train", "loss", "reasoning_content", "thinking", "name")

Count = Callable[[str, str], None]


def messages_of(
    row: Mapping[str, object], name: str, columns: Mapping[str, str], roles: Mapping[str, str], count: Count
) -> tuple[tuple[Message, ...], list[Problem]]:
    """The messages in `row[name]`, a `system` key before them; `count(code, name)` is called for what is said once a file."""
    value = row[name]
    if not isinstance(value, list):
        hint = (
            " It is JSON in quotes: write the rows as JSON Lines, the array without quotes."
            if isinstance(value, str) and value.lstrip()[:1] == "["
            else ""
        )
        return (), [Problem("not-messages", f'"{name}" is {kind(value)}; expected an array of messages.{hint}')]
    if not value:
        return (), [Problem("no-messages", f"\"{name}\" is an empty array; expected a user's and an assistant's message.")]
    problems: list[Problem] = []
    read = [_message(item, place, columns, roles, count, problems) for place, item in enumerate(value, start=1)]
    messages = tuple(message for message in read if message is not None)
    system = optional_text(row.get("system"), '"system"')
    if isinstance(system, Problem):
        problems.append(system)
    if not any(problem.severity == "error" for problem in problems):
        wrong = _turns(system, messages, first=1 + len(read) - len(messages))
        problems += [Problem("turns", wrong)] if wrong else []
    return (Message("system", system), *messages) if isinstance(system, str) else messages, problems


def _turns(system: str | None, messages: tuple[Message, ...], *, first: int) -> str | None:
    if system is not None and messages and messages[0].role == "system":
        return 'a "system" key and a system message in one row; expected one of them. Join the two, or remove one.'
    return turn_problem(messages, first=first)


def _message(
    item: object, place: int, columns: Mapping[str, str], roles: Mapping[str, str], count: Count, problems: list[Problem]
) -> Message | None:
    """One message, or None when it is an empty system message or has problems, which are added to `problems`."""
    if not isinstance(item, dict):
        problems.append(Problem("not-a-message", f"message {place} is {kind(item)}; expected an object with role and content."))
        return None
    role_key = _key(item, columns.get("role"), "role", "from")
    content_key = _key(item, columns.get("content"), "content", "value")
    call = next((key for key in _CALL_KEYS if item.get(key)), None)
    if call is not None:
        problems.append(Problem("not-supported", f'message {place} has "{call}"; tool calls are not supported. Remove the row.'))
        return None
    absent = "role" if role_key is None else "content" if content_key is None else None
    if absent is not None:
        found = f'message {place} has no "{absent}"; it has {listed(item) or "no keys"}.'
        problems.append(Problem("missing-key", f"{found} Add it, or pass --set data.columns.{absent}=NAME."))
        return None
    for key in _UNUSED_KEYS:
        if item.get(key) is not None and key not in (role_key, content_key):
            count("unused-key", key)
    return _read(item[role_key], item[content_key], place, role_key, roles, count, problems)


def _key(item: Mapping[str, object], mapped: str | None, *names: str) -> str | None:
    if mapped is not None:
        return mapped if mapped in item else None
    return next((name for name in names if name in item), None)


def _read(
    role: object, content: object, place: int, role_key: str, roles: Mapping[str, str], count: Count, problems: list[Problem]
) -> Message | None:
    standard = _standard_role(role, role_key, roles, count)
    if isinstance(standard, Problem):
        problems.append(standard)
        return None
    name = f"the content of message {place} ({standard})"
    if standard == "system" and place == 1 and optional_text(content, name) is None:
        count("empty-system", "system")
        return None
    text = required_text(content, name, trained=standard not in ("user", "tool"))
    if isinstance(text, Problem):
        problems.append(text)
        return None
    strange = strange_word(text, name)
    if strange is not None:
        problems.append(strange)
    return Message(standard, text)


def _standard_role(role: object, key: str, roles: Mapping[str, str], count: Count) -> str | Problem:
    if not isinstance(role, str):
        return Problem("unknown-role", f"{key} is {kind(role)}; expected system, user, assistant or tool.")
    if role in roles:
        return roles[role]
    if role in ROLES:
        return role
    if role in ALIASES:
        count("role-alias", role)
        return ALIASES[role]
    near = nearest_role(role)
    setting = shlex.quote(f"data.roles.{role[:40]}={near}")
    found = f"{key} is {quote(role, limit=40)}; expected system, user, assistant or tool."
    if not role.strip() or not role.isprintable() or len(role) > 40:
        return Problem("unknown-role", f"{found} Rename it.")
    return Problem("unknown-role", f"{found} Rename it, or pass --set {setting}.")


def nearest_role(role: str) -> str:
    """The standard role that an unknown name most likely means; 'user' when it is like none."""
    folded = role.strip().casefold()
    if folded in _NEAR_ROLES:
        return _NEAR_ROLES[folded]
    if folded in ALIASES:
        return ALIASES[folded]
    names = (*ROLES, *ALIASES, *_NEAR_ROLES)
    near = difflib.get_close_matches(folded, names, n=1, cutoff=0.6)
    if not near:
        return "user"
    return _NEAR_ROLES.get(near[0]) or ALIASES.get(near[0]) or near[0]
