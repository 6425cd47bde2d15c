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
from typing import Any, NamedTuple

from jinja2 import TemplateError

from unsloth_ft.data.calls import canonical_json
from unsloth_ft.data.conversation import Conversation, Message
from unsloth_ft.errors import UserError

# What a template raises: its own refusals and undefined names (TemplateError), wrong types, numbers and keys, too deep a recursion.
TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError)

_NAME = "quxample_1"  # of the functions in examples: no template says it, and Python's repr leaves it as it is
_NINE = re.compile("[a-zA-Z0-9]{9}")


class Form(NamedTuple):
    """How a template takes calls: with ids of nine letters and digits (Mistral's), with arguments as text (functionary's)."""

    nine: bool = False
    text: bool = False


FORMS = (Form(), Form(nine=True), Form(text=True), Form(nine=True, text=True))


def plain(messages: Sequence[Message], form: Form = FORMS[0]) -> list[dict[str, Any]]:
    """The messages as a template gets them; a result has the name of the function beside the id of the call."""
    names: dict[str, str] = {}
    written = []
    for message in messages:
        one: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls is not None:
            one["tool_calls"] = [_call(call, form) for call in json.loads(message.tool_calls)]
            names |= {call["id"]: call["function"]["name"] for call in one["tool_calls"] if "id" in call}
        if message.tool_call_id is not None:
            one["tool_call_id"] = _identity(message.tool_call_id, form)
            one |= {"name": names[one["tool_call_id"]]} if one["tool_call_id"] in names else {}
        written.append(one)
    return written


def _call(call: dict[str, Any], form: Form) -> dict[str, Any]:
    function = call["function"]
    if form.text:
        function = {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}
    return {**call, "function": function, **({"id": _identity(call["id"], form)} if "id" in call else {})}


def _identity(identity: str, form: Form) -> str:
    return identity if not form.nine or _NINE.fullmatch(identity) else hashlib.sha256(identity.encode()).hexdigest()[:9]


def marked(message: Message, mark: str) -> Message:
    """The message with `mark` in place of all that is its own: its content, and of each call name and arguments."""
    if message.tool_calls is None:
        return replace(message, content=mark)
    return replace(_with_functions(message, {"name": mark, "arguments": {mark: mark}}), content=mark if message.content else "")


def with_marked_arguments(message: Message, mark: str) -> Message:
    """The message with `mark` as the arguments of each call."""
    return _with_functions(message, {"arguments": {mark: mark}})


def _with_functions(message: Message, changed: dict[str, Any]) -> Message:
    calls = [{**call, "function": {**call["function"], **changed}} for call in json.loads(message.tool_calls or "[]")]
    return replace(message, tool_calls=canonical_json(calls))


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

    def form(self, messages: Sequence[Message]) -> Form:
        """How the template takes the calls of these messages."""
        return self._form if has_calls(messages) else FORMS[0]

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
    def _form(self) -> Form:
        """The first that the template does not refuse."""
        example = _example("call_of_an_example")
        return next((form for form in FORMS if self._shown(example, form) is not None), FORMS[0])

    @cached_property
    def _hides_calls(self) -> bool:
        shown = self._shown(_example("call00001"), self._form)
        return shown is not None and shown.count(_NAME) < 2  # the function and its argument

    @cached_property
    def _hides_tools(self) -> bool:
        parameters = {"type": "object", "properties": {"x": {"type": "string", "description": "d"}}, "required": ["x"]}
        tool = {"type": "function", "function": {"name": _NAME, "description": "d", "parameters": parameters}}
        shown = self._shown((Message("user", "a"),), FORMS[0], tools=canonical_json([tool]))
        return shown is not None and _NAME not in shown

    def _shown(self, messages: Sequence[Message], form: Form, *, tools: str | None = None) -> str | None:
        """What the template writes for an example; None where it refuses it."""
        try:
            return self._render(plain(messages, form), tools)
        except TEMPLATE_ERRORS:
            return None


def _example(identity: str) -> tuple[Message, ...]:
    """A question, a call, and its result."""
    call = {"id": identity, "type": "function", "function": {"name": _NAME, "arguments": {"of": _NAME}}}
    return Message("user", "a"), Message("assistant", "", canonical_json([call])), Message("tool", "b", tool_call_id=identity)
