"""Tools and tool calls in the form that chat templates take, and whether a template shows them at all.

The form is the one that transformers documents for `apply_chat_template`; no family's way to write a call is known here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from jinja2 import TemplateError

from unsloth_ft.data.calls import canonical_json
from unsloth_ft.data.conversation import Conversation, Message
from unsloth_ft.errors import UserError

# What a template raises: its own refusals and undefined names (TemplateError), wrong types, numbers and keys, too deep a recursion.
TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError)

_MARK = "\U000f0000"  # of a private use area: no template writes it
_NINE = re.compile("[a-zA-Z0-9]{9}")


def plain(messages: Sequence[Message], *, nine: bool = False) -> list[dict[str, Any]]:
    """The messages as a template gets them: a call's arguments as an object, a result with the name of the function beside its id.

    `nine`: ids of calls are exchanged for ids of nine letters and digits, which is all that Mistral's template takes.
    """
    shown = _nine_characters if nine else str
    names: dict[str, str] = {}
    written = []
    for message in messages:
        one: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls is not None:
            one["tool_calls"] = [{**call, "id": shown(call["id"])} if "id" in call else call for call in json.loads(message.tool_calls)]
            names |= {call["id"]: call["function"]["name"] for call in one["tool_calls"] if "id" in call}
        if message.tool_call_id is not None:
            one["tool_call_id"] = shown(message.tool_call_id)
            one |= {"name": names[one["tool_call_id"]]} if one["tool_call_id"] in names else {}
        written.append(one)
    return written


def marked(message: Message, mark: str) -> Message:
    """The message with `mark` in place of all that is its own: its content, and of each call name and arguments."""
    if message.tool_calls is None:
        return replace(message, content=mark)
    calls = [{**call, "function": {"name": mark, "arguments": {mark: mark}}} for call in json.loads(message.tool_calls)]
    return replace(message, content=mark if message.content else "", tool_calls=canonical_json(calls))


def has_calls(messages: Iterable[Message]) -> bool:
    """Whether what a template writes depends on more than roles and contents."""
    return any(message.tool_calls is not None or message.tool_call_id is not None for message in messages)


def own_texts(message: Message) -> list[str]:
    """The texts that a template has to show of a message with calls: the last line said beside them, and the names called.

    Of what is said an earlier line may stay away, as Qwen3 drops the thoughts of earlier turns.
    """
    calls = json.loads(message.tool_calls or "[]")
    return [*message.content.strip().splitlines()[-1:], *(call["function"]["name"] for call in calls)]


class ToolSupport:
    """What a template does with tools and calls, asked of it with small examples.

    `render(messages, tools)` gives the template's text for messages as `plain` writes them, or raises one of TEMPLATE_ERRORS.
    """

    def __init__(self, render: Callable[[list[dict[str, Any]], str | None], str]) -> None:
        self._render = render

    def nine(self, messages: Sequence[Message]) -> bool:
        """Whether these messages have ids of calls, and the template takes none but those of nine letters and digits."""
        return has_calls(messages) and self._takes_nine

    def refuse_hidden(self, conversation: Conversation) -> None:
        """Raises UserError where the template leaves out tools or calls, as those of models without tools do.

        Where a template refuses them itself, its own words are better.
        """
        if conversation.tools is not None and self._hides_tools:
            raise UserError("the model's chat template leaves out the row's tools. Take a model whose template has tools, or remove them.")
        if any(message.tool_calls for message in conversation.messages) and self._hides_calls:
            way_out = "Take a model whose template has them, or remove the row."
            raise UserError(f"the model's chat template leaves out the assistant's tool calls. {way_out}")

    @cached_property
    def _takes_nine(self) -> bool:
        long = self._shown(_example(_MARK, "call_of_an_example"), nine=False)
        return long is None and self._shown(_example(_MARK, "call_of_an_example"), nine=True) is not None

    @cached_property
    def _hides_calls(self) -> bool:
        shown = self._shown(_example(_MARK, "call00001"), nine=True)
        return shown is not None and shown.count(_MARK) < 2  # the name and the argument

    @cached_property
    def _hides_tools(self) -> bool:
        parameters = {"type": "object", "properties": {"x": {"type": "string", "description": "d"}}, "required": ["x"]}
        tool = {"type": "function", "function": {"name": _MARK, "description": "d", "parameters": parameters}}
        shown = self._shown((Message("user", "a"),), nine=False, tools=canonical_json([tool]))
        return shown is not None and _MARK not in shown

    def _shown(self, messages: Sequence[Message], *, nine: bool, tools: str | None = None) -> str | None:
        """What the template writes for an example; None where it refuses it."""
        try:
            return self._render(plain(messages, nine=nine), tools)
        except TEMPLATE_ERRORS:
            return None


def _example(name: str, identity: str) -> tuple[Message, ...]:
    """A question, a call of `name`, and its result."""
    call = {"id": identity, "type": "function", "function": {"name": name, "arguments": {name: name}}}
    return Message("user", "a"), Message("assistant", "", canonical_json([call])), Message("tool", "b", tool_call_id=identity)


def _nine_characters(identity: str) -> str:
    return identity if _NINE.fullmatch(identity) else hashlib.sha256(identity.encode()).hexdigest()[:9]
