"""Tools and tool calls as OpenAI writes them, and as others do, in one canonical JSON.

Keys keep the file's order: a chat template shows a function's parameters and a call's arguments to the model in it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from ..errors import nearest
from .content import Problem, bad_character
from .conversation import Message
from .findings import SHOWN_PER_CODE
from .jsontext import JsonProblem, parse
from .wording import given_twice, kind, printable, quote

TOOL_KEYS = ("tools", "functions")  # the second is OpenAI's older name
_WRITE_TOOL = 'expected {"type": "function", "function": {"name": …, "parameters": …}}'
_MOST_COMPARED = 100  # tools of a row whose names a mistyped one is compared with
_WRITE_CALL = 'expected {"id": …, "type": "function", "function": {"name": …, "arguments": …}}'


def tools_of(row: Mapping[str, object]) -> str | Problem | None:
    """The functions that the model may call, as canonical JSON; None where the row names none."""
    name = next((key for key in TOOL_KEYS if row.get(key) not in (None, [], "")), None)
    if name is None:
        return None
    value = _unpacked(row[name])
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return Problem("bad-tools", f'"{name}" is {kind(row[name])}; expected an array of tools. Write it as one.')
    tools = [_tool(item, place, name) for place, item in enumerate(value, start=1)]
    problem = next((tool for tool in tools if isinstance(tool, Problem)), None)
    if problem is not None:
        return problem
    twice = given_twice(tool["function"]["name"] for tool in tools)
    if twice is not None:
        return Problem("bad-tools", f'"{name}" has the function {quote(twice, limit=40)} twice. Remove one of them.')
    return _canonical(tools, f'"{name}"') if tools else None


def calls_of(value: object, place: int) -> str | Problem | None:
    """An assistant message's calls as canonical JSON, ids only where the row has them; None for an empty list."""
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list):
        return Problem("bad-call", f'"tool_calls" of message {place} is {kind(value)}; expected an array of calls. Write it as one.')
    calls = [_call(item, place) for item in value]
    problem = next((call for call in calls if isinstance(call, Problem)), None)
    return problem or (_canonical(calls, f"the tool call of message {place}") if calls else None)


def calls_in_text(text: object, place: int) -> str | None:
    """The calls in a text that is JSON of one call or of an array of calls (ShareGPT's `function_call`); None when it is none."""
    value = _unpacked(text)
    calls = calls_of(value, place) if isinstance(value, (dict, list)) and value else None
    return calls if isinstance(calls, str) else None


def linked(messages: Sequence[Message], *, first: int) -> tuple[tuple[Message, ...], Problem | None]:
    """Messages whose calls all have ids, each tool message with the id of the call that it answers; and the first mistake in that.

    Ids that the row lacks are given in order; `call00001` has the nine characters that Mistral's template asks for. In rows without
    calls (some write them as text) an id means nothing, and is left out. `first` numbers the first message.
    """
    if all(message.tool_calls is None for message in messages):
        return tuple(message if message.tool_call_id is None else replace(message, tool_call_id=None) for message in messages), None
    read: list[Message] = []
    open_calls: OrderedDict[str, int] = OrderedDict()  # whose first is found at once, however many are gone
    given = 0
    for place, message in enumerate(messages, start=first):
        if message.role == "tool":
            problem, message = _answering(message, place, open_calls)
        elif open_calls:
            problem = _unanswered(open_calls)
        else:
            problem = None
        if problem is not None:
            return tuple(messages), problem
        if message.tool_calls is not None:
            calls = json.loads(message.tool_calls)
            given, ids = _identified(calls, given)
            if len(set(ids)) < len(ids):
                return tuple(messages), Problem("bad-call", f"two calls of message {place} have the same id. Rename one of them.")
            open_calls = OrderedDict.fromkeys(ids, place)
            message = replace(message, tool_calls=canonical_json(calls))
        read.append(message)
    if open_calls and messages[-1].role == "tool":
        return tuple(messages), _unanswered(open_calls)
    return tuple(read), None


def unknown_functions(messages: Sequence[Message], tools: str | None) -> list[Problem]:
    """A warning for each function that is called and that the row's tools don't have."""
    if tools is None:
        return []
    known = [tool["function"]["name"] for tool in json.loads(tools)]
    shown = [printable(name[:40]) for name in known[:_MOST_COMPARED]]  # the file's own words: a terminal must not obey them
    called = dict.fromkeys(call["function"]["name"] for message in messages if message.tool_calls for call in json.loads(message.tool_calls))
    had = set(known)
    return [
        Problem(
            "unknown-function",
            f"{quote(name, limit=40)} is called, which the row's tools don't have.{nearest(name[:40], shown) if place < SHOWN_PER_CODE else ''} Add it to the tools.",
            "warning",
        )
        for place, name in enumerate(name for name in called if name not in had)
    ]


def canonical_json(value: object) -> str:
    """The one spelling of a value: no spaces, no escapes that JSON doesn't need, keys in their order. Raises ValueError for NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _canonical(value: object, name: str) -> str | Problem:
    try:
        text = canonical_json(value)
    except (TypeError, ValueError):  # a table's
        return Problem("not-a-number", f"{name} holds NaN, infinity or bytes, which JSON has no word for. Leave it out.")
    return bad_character(text.replace("\\u0000", "\0"), name) or text


def _unpacked(value: object) -> object:
    """The value in a text that is JSON, as columns of tables hold it; any other value as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return parse(value)
    except JsonProblem:
        return value


def _tool(item: object, place: int, key: str) -> dict | Problem:
    item = _unpacked(item)
    where = f'tool {place} of "{key}"'
    if not isinstance(item, dict):
        return Problem("bad-tools", f"{where} is {kind(item)}; {_WRITE_TOOL}.")
    if item.get("type") not in (None, "function") and "function" in item:
        return Problem("not-supported", f"{where} is of type {quote(str(item['type']), limit=20)}; only functions are supported.")
    function = item.get("function", item)
    if not _has_name(function):
        return Problem("bad-tools", f"{where} names no function; {_WRITE_TOOL}.")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        return Problem("bad-tools", f'the parameters of {where} are {kind(parameters)}; expected a JSON schema, as {{"type": "object", …}}.')
    return {"type": "function", "function": _without_nulls(function)}


def _has_name(function: object) -> TypeGuard[dict]:
    return isinstance(function, dict) and isinstance(function.get("name"), str) and bool(function["name"].strip())


def _without_nulls(value: object) -> object:
    """A schema without keys that are null: tables write every key into every row. A default may be null."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None or key == "default"}
    return value


def _call(item: object, place: int) -> dict | Problem:
    where = f"the tool call of message {place}"
    if not isinstance(item, dict):
        return Problem("bad-call", f"{where} is {kind(item)}; {_WRITE_CALL}.")
    if item.get("type") not in (None, "function"):
        return Problem("not-supported", f"{where} is of type {quote(str(item['type']), limit=20)}; only functions are supported.")
    function = item.get("function", item)
    if not _has_name(function):
        return Problem("bad-call", f"{where} names no function; {_WRITE_CALL}.")
    arguments = _arguments(function.get("arguments"), where)
    if isinstance(arguments, Problem):
        return arguments
    named = item.get("id")
    if named is not None and (not isinstance(named, str) or not named.strip()):
        return Problem("bad-call", f"the id of {where} is {kind(named)}; expected text. Write one, or leave it out.")
    return {**({} if named is None else {"id": named}), "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _arguments(value: object, where: str) -> dict | Problem:
    """A call's arguments as an object: OpenAI writes them as text, most templates want the object."""
    if isinstance(value, str) and value.strip():
        try:
            value = parse(value)
        except JsonProblem as problem:
            return Problem("bad-call", f"the arguments of {where}: {problem.message}")
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        return Problem("bad-call", f"the arguments of {where} are {kind(value)}; expected an object. Write them by name.")
    return value


def _identified(calls: list[dict], given: int) -> tuple[int, list[str]]:
    """Gives each call without an id one; (how many ids were given so far, the ids)."""
    for number, call in enumerate(calls):
        if "id" not in call:
            given += 1
            calls[number] = {"id": f"call{given:05}", **call}
    return given, [call["id"] for call in calls]


def _answering(message: Message, place: int, open_calls: dict[str, int]) -> tuple[Problem | None, Message]:
    """Takes the call that a tool message answers out of the open ones."""
    if not open_calls:
        return Problem("bad-call", f"message {place} is a tool message, and no call is left that it answers. Remove it, or add the call."), message
    answered = message.tool_call_id or next(iter(open_calls))
    if answered not in open_calls:
        expected = " or ".join(quote(name, limit=40) for name in list(open_calls)[:3])
        found = f"the tool_call_id of message {place} is {quote(answered, limit=40)}; expected {expected}"
        return Problem("bad-call", f"{found}, which the assistant called. Correct it."), message
    del open_calls[answered]
    return None, replace(message, tool_call_id=answered)


def _unanswered(open_calls: dict[str, int]) -> Problem:
    name, place = next(iter(open_calls.items()))
    found = f"the call {quote(name, limit=40)} of message {place} has no result; expected a tool message after it"
    return Problem("bad-call", f"{found}. Add it, or end the row with the call.")
