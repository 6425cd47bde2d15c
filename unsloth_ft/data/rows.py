"""Records become conversations; every mistake becomes a Finding with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .calls import TOOL_KEYS, tools_of, unknown_functions
from .content import Problem, optional_text, required_text, strange_word
from .conversation import Conversation, Message
from .findings import Finding
from .jsonfiles import Record
from .messages import messages_of
from .once import SaidOnce
from .quick import Row, quick_row
from .shapes import NoShape, Shape, renamed, shape_of
from .unused_columns import unused

# Lists beside the conversation that other trainers put into the prompt; leaving them out in silence would train another thing.
_UNSUPPORTED_LISTS = ("history", "images", "videos", "audios")


def rows(
    file: str,
    records: Iterable[Record | Finding],
    *,
    columns: Mapping[str, str],
    roles: Mapping[str, str],
    once: SaidOnce | None = None,
) -> Iterator[Row | Finding]:
    """A Row for each good record, in order; findings as they come.

    What is said once a file goes to `once`, for who reads a file in parts; without it, it comes at the end.
    """
    whole, once = once is None, once or SaidOnce(file)
    plain = not columns and not roles
    for record in records:
        if isinstance(record, Finding):
            yield record
            continue
        quick = quick_row(record.value, file, record.line) if plain else None
        if quick is not None:
            once.shape(quick.shape, record.line)
            yield quick
            continue
        row = renamed(record.value, columns)
        try:
            shape = shape_of(row, columns, keys=record.value)
        except NoShape as problem:
            if problem.code == "unknown-shape":
                once.unknown_shape(tuple(record.value), record.line, problem.message)
            else:
                yield Finding(file, record.line, "error", problem.code, problem.message)
            continue
        once.shape(shape.name, record.line)
        yield from _row(file, record.line, row, shape, columns, roles, once)
    if whole:
        yield from once.findings()


def _row(
    file: str,
    line: int,
    row: Mapping[str, object],
    shape: Shape,
    columns: Mapping[str, str],
    roles: Mapping[str, str],
    once: SaidOnce,
) -> Iterator[Row | Finding]:
    chat = shape.name in ("messages", "conversations")
    problems = list(_unsupported(row, _UNSUPPORTED_LISTS if chat else (*TOOL_KEYS, *_UNSUPPORTED_LISTS)))
    text = tools = None
    messages: tuple[Message, ...] = ()
    if shape.name == "text":
        found = required_text(row["text"], '"text"')
        if isinstance(found, Problem):
            problems.append(found)
        else:
            text = found
    elif chat:
        messages, more = messages_of(row, shape.name, columns, roles, lambda code, name: once.counted(code, name, line))
        tools = tools_of(row)
        problems += [*more, tools] if isinstance(tools, Problem) else [*more, *unknown_functions(messages, tools)]
    else:
        messages, more = _pair(row, shape)
        problems += more
    if text is None:
        for code, column in unused(row, shape.name):
            once.counted(code, column, line)
    yield from (Finding(file, line, problem.severity, problem.code, problem.message) for problem in problems)
    if not any(problem.severity == "error" for problem in problems):
        yield Row(Conversation(messages, file, line, text, tools), shape.name)


def _unsupported(row: Mapping[str, object], keys: Iterable[str]) -> Iterator[Problem]:
    for key in keys:
        if isinstance(row.get(key), (list, tuple)) and row[key]:
            message = f'"{key}" is not supported, and leaving it out would change the row. Remove the key, or the row.'
            yield Problem("not-supported", message)


def _pair(row: Mapping[str, object], shape: Shape) -> tuple[tuple[Message, ...], list[Problem]]:
    """System (if any), one question, one answer."""
    asked, answered = shape.required
    found = {name: required_text(row[name], f'"{name}"') for name in shape.required}
    found |= {name: optional_text(row.get(name), f'"{name}"') for name in shape.optional}
    problems = [value for value in found.values() if isinstance(value, Problem)]
    if problems:
        return (), problems
    question = found[asked]
    if found.get("input"):
        question = f"{question}\n\n{found['input']}"
    strange = strange_word(found[answered], f'"{answered}"')
    turns = (("system", found["system"]), ("user", question), ("assistant", found[answered]))
    return tuple(Message(role, text) for role, text in turns if text is not None), [strange] if strange else []
