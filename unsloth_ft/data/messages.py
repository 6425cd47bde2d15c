"""Lists of messages: OpenAI's `{"role", "content"}` with tool calls and weights, and ShareGPT's `{"from", "value"}`."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .calls import calls_in_text, calls_of, linked
from .content import Problem, optional_text, required_text, strange_word
from .conversation import ROLES, Message
from .turns import turn_problem
from .wording import kind, listed, quote

# ShareGPT's names, OpenAI's newer one for the system and its older one for a tool's result
ALIASES = {
    "human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool", "developer": "system", "function": "tool",
}  # fmt: skip
_NEAR_ROLES = {
    "bot": "assistant", "model": "assistant", "ai": "assistant", "chatbot": "assistant", "chatgpt": "assistant", "agent": "assistant",
    "claude": "assistant", "llm": "assistant", "answer": "assistant", "customer": "user", "prompter": "user", "question": "user",
    "client": "user", "context": "system", "ipython": "tool",
}  # fmt: skip
_CALL_KEYS = ("tool_calls", "function_call")
# Keys of a message that other trainers act on and this one does not: said, never silent.
_UNUSED_KEYS = ("train", "loss", "reasoning_content", "thinking", "name", "refusal", "audio")

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
    reader = _Reader(columns, roles, count)
    read = [reader.message(item, place) for place, item in enumerate(value, start=1)]
    problems = [found for found in read if isinstance(found, Problem)]
    messages = tuple(found for found in read if isinstance(found, Message))
    system = optional_text(row.get("system"), '"system"')
    if isinstance(system, Problem):
        problems.append(system)
    if not problems:
        messages, wrong = _in_order(system, messages, first=1 + len(read) - len(messages))
        problems += [wrong] if wrong else []
    problems += _strange(read)
    return (Message("system", system), *messages) if isinstance(system, str) else messages, problems


def _in_order(system: str | None, messages: tuple[Message, ...], *, first: int) -> tuple[tuple[Message, ...], Problem | None]:
    """The messages with their tool calls linked, and the first thing wrong with their order."""
    if system is not None and messages and messages[0].role == "system":
        wrong = 'a "system" key and a system message in one row; expected one of them. Join the two, or remove one.'
    else:
        wrong = turn_problem(messages, first=first)
    if wrong:
        return messages, Problem("turns", wrong)
    if not any(message.role == "assistant" and message.learned for message in messages):
        way_out = "Give one of them weight 1, or remove the row."
        return messages, Problem("nothing-learned", f"every assistant message has weight 0, so nothing to learn. {way_out}")
    return linked(messages, first=first)


def _strange(read: Sequence[Message | Problem | None]) -> Iterator[Problem]:
    for place, message in enumerate(read, start=1):
        strange = strange_word(message.content, _content_name(place, message.role)) if isinstance(message, Message) else None
        if strange is not None:
            yield strange


def _content_name(place: int, role: str) -> str:
    return f"the content of message {place} ({role})"


@dataclass(frozen=True)
class _Reader:
    """One object after the other becomes a message."""

    columns: Mapping[str, str]
    roles: Mapping[str, str]
    count: Count

    def message(self, item: object, place: int) -> Message | Problem | None:
        """None is a system message without text, which is left out."""
        if not isinstance(item, dict):
            return Problem("not-a-message", f"message {place} is {kind(item)}; expected an object with role and content.")
        role_key = _key(item, self.columns.get("role"), "role", "from")
        content_key = _key(item, self.columns.get("content"), "content", "value")
        call_key = next((key for key in _CALL_KEYS if item.get(key)), None)
        absent = "role" if role_key is None else "content" if content_key is None and call_key is None else None
        if absent is not None:
            found = f'message {place} has no "{absent}"; it has {listed(item) or "no keys"}.'
            return Problem("missing-key", f"{found} Add it, or pass --set data.columns.{absent}=NAME.")
        role = self._role(item[role_key], role_key)
        if isinstance(role, Problem):
            return role
        self._say_unused(item, role, role_key, content_key)
        learned = _learned(item.get("weight"), role, place)
        if isinstance(learned, Problem):
            return learned
        if call_key is not None:
            return _calling(item, call_key, role, place, item.get(content_key), learned=learned)
        content = item[content_key]
        calls = calls_in_text(content, place) if item[role_key] == "function_call" else None
        return Message(role, "", calls, learned) if calls else self._plain(item, role, place, content, learned=learned)

    def _plain(self, item: Mapping[str, object], role: str, place: int, content: object, *, learned: bool) -> Message | Problem | None:
        name = _content_name(place, role)
        if role == "system" and place == 1 and optional_text(content, name) is None:
            self.count("empty-system", "system")
            return None
        text = required_text(content, name, trained=role not in ("user", "tool"))
        if isinstance(text, Problem):
            return text
        answered = item.get("tool_call_id") if role == "tool" else None
        if answered is not None and not isinstance(answered, str):
            return Problem("bad-call", f"the tool_call_id of message {place} is {kind(answered)}; expected the id of a call. Correct it.")
        return Message(role, text, learned=learned, tool_call_id=answered or None)

    def _role(self, role: object, key: str) -> str | Problem:
        if not isinstance(role, str):
            return Problem("unknown-role", f"{key} is {kind(role)}; expected system, user, assistant or tool.")
        if role in self.roles:
            return self.roles[role]
        if role in ROLES:
            return role
        if role in ALIASES:
            return ALIASES[role]
        near = nearest_role(role)
        setting = shlex.quote(f"data.roles.{role[:40]}={near}")
        found = f"{key} is {quote(role, limit=40)}; expected system, user, assistant or tool."
        if not role.strip() or not role.isprintable() or len(role) > 40:
            return Problem("unknown-role", f"{found} Rename it.")
        return Problem("unknown-role", f"{found} Rename it, or pass --set {setting}.")

    def _say_unused(self, item: Mapping[str, object], role: str, role_key: str, content_key: str | None) -> None:
        for key in _UNUSED_KEYS:
            used = key in (role_key, content_key) or (key == "name" and role != "assistant")  # who speaks, or the function that was called
            if item.get(key) is not None and not used:
                self.count("unused-key", key)


def _key(item: Mapping[str, object], mapped: str | None, *names: str) -> str | None:
    if mapped is not None:
        return mapped if mapped in item else None
    return next((name for name in names if name in item), None)


def _learned(weight: object, role: str, place: int) -> bool | Problem:
    """OpenAI's weight: 0 or 1, on the assistant's messages."""
    if weight is None:
        return True
    if role != "assistant":
        return Problem("bad-weight", f"message {place} ({role}) has a weight; expected one on assistant messages only. Remove it.")
    if isinstance(weight, bool) or weight not in (0, 1):
        return Problem("bad-weight", f"the weight of message {place} is {kind(weight)}; expected 0 (not learned) or 1. Correct it.")
    return weight == 1


def _calling(item: Mapping[str, object], key: str, role: str, place: int, content: object, *, learned: bool) -> Message | Problem:
    """An assistant's message with calls; beside them it may have text, null or nothing."""
    if role != "assistant":
        return Problem("bad-call", f'message {place} ({role}) has "{key}"; expected it on assistant messages only. Remove it.')
    calls = calls_of(item[key], place)
    if isinstance(calls, Problem):
        return calls
    text = optional_text(content, _content_name(place, role))
    return text if isinstance(text, Problem) else Message(role, text or "", calls, learned)


def standard_role(role: str) -> str | None:
    """The standard role that an alias can only mean, whatever its case; None for any other name."""
    folded = role.strip().casefold()
    if folded == "function_call":  # its text is the call, which is told by this name alone
        return None
    return folded if folded in ROLES else ALIASES.get(folded) or _NEAR_ROLES.get(folded)


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
