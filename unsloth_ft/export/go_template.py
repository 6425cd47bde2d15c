"""The part of Go's text/template that chat templates use, read and evaluated, so that a TEMPLATE can be shown right without Ollama.

Sources: https://pkg.go.dev/text/template (syntax, truth, `slice`, `len` in bytes) and ollama's template/template.go (`collate`, the
values a template is given, `missingkey=zero`). What is outside this part (pipes, `with`, `printf`, Ollama's own functions) is refused
by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from unsloth_ft.errors import UserError

_GO_SPACE = " \t\r\n"  # what `{{-` and `-}}` take away
_ACTION = re.compile(
    r"""\{\{(-(?=[ \t\r\n]))?((?:"(?:\\.|[^"\\\n])*"|`[^`]*`|/\*.*?\*/|[^"`}]|\}(?!\}))*?)((?<=[ \t\r\n])-)?\}\}""", re.DOTALL
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\\n])*")|(?P<raw>`[^`]*`)|(?P<number>-?\d+)|(?P<variable>\$\w*)(?P<path>(?:\.\w+)*)"""
    r"""|(?P<field>(?:\.\w+)+)|(?P<dot>\.)|(?P<word>\w+)|(?P<sign>:=|=|,|\(|\)))"""
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"'}
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-7][0-9A-Fa-f])|([nrtabfv\\\"]))")


def quote(text: str) -> str:
    """A Go string literal of printable characters only, without two quotes side by side: `"` is written \\x22."""
    parts = []
    for char in text:
        if char == '"':
            parts.append("\\x22")
        elif char == "\\":
            parts.append("\\\\")
        elif char.isprintable():
            parts.append(char)
        else:
            parts.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return '"' + "".join(parts) + '"'


def unquote(literal: str) -> str:
    """The text of a Go string literal, quoted or raw."""
    if literal.startswith("`"):
        return literal[1:-1].replace("\r", "")
    return _ESCAPE.sub(lambda found: _ESCAPES[found[4]] if found[4] else chr(int(found[1] or found[2] or found[3], 16)), literal[1:-1])


def collate(messages: Sequence[Mapping[str, str]]) -> tuple[str, list[dict[str, str]]]:
    """What Ollama gives a template as `.System` and `.Messages`.

    All system texts joined by an empty line; neighbours of one role (tool results excepted) merged by an empty line.
    """
    merged: list[dict[str, str]] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"] != "tool":
            merged[-1]["content"] += "\n\n" + message["content"]
        else:
            merged.append({"role": message["role"], "content": message["content"]})
    return "\n\n".join(message["content"] for message in messages if message["role"] == "system"), merged


def evaluate(source: str, messages: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """What Ollama would send to the model for these messages, as the pieces the template writes one after the other.

    Raises:
        UserError: the template uses what this module does not know, or has no `.Messages` (the old one-prompt form).
    """
    if ".Messages" not in source:
        raise UserError("TEMPLATE: has no .Messages; expected a loop over the whole conversation. The old .Prompt form is not checked.")
    system, merged = collate(messages)
    rows = [{"Role": row["role"], "Content": row["content"], "Thinking": "", "ToolCalls": [], "Images": []} for row in merged]
    data = {"System": system, "Messages": rows, "Tools": [], "Response": "", "Think": False, "ThinkLevel": "", "IsThinkSet": False}
    return tuple(_run(source, data))


@dataclass(frozen=True)
class _Action:
    """One `{{ … }}`: its line, its first word, and its tokens."""

    line: int
    source: str
    tokens: tuple[tuple[str, str], ...]

    def refuse(self, reason: str) -> UserError:
        return UserError(f"TEMPLATE:{self.line}: {{{{ {self.source} }}}}: {reason}.")


@dataclass(frozen=True)
class _Node:
    """`kind` is text, output, assign, if or range; the other fields as that kind needs them."""

    kind: str
    text: str = ""
    action: _Action | None = None
    names: tuple[str, ...] = ()
    declares: bool = False
    expression: tuple = ()
    body: tuple[_Node, ...] = ()
    otherwise: tuple[_Node, ...] = ()


def _split(source: str) -> Iterator[str | _Action]:
    """Text and actions in order, trim marks applied, comments left out."""
    position, trims_next = 0, False
    for found in _ACTION.finditer(source):
        text = source[position : found.start()]
        if "{{" in text:
            break
        text = text.lstrip(_GO_SPACE) if trims_next else text
        text = text.rstrip(_GO_SPACE) if found[1] else text
        if text:
            yield text
        body = found[2].strip()
        if not body.startswith("/*"):
            action = _Action(source.count("\n", 0, found.start()) + 1, body, ())
            yield _Action(action.line, body, tuple(_tokens(action)))
        position, trims_next = found.end(), bool(found[3])
    rest = source[position:]
    if "{{" in rest:
        line = source.count("\n", 0, position + rest.index("{{")) + 1
        raise UserError(f"TEMPLATE:{line}: {{{{ is not closed; expected }}}} after it.")
    if trims_next:
        rest = rest.lstrip(_GO_SPACE)
    if rest:
        yield rest


def _tokens(action: _Action) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(action.source):
        found = _TOKEN.match(action.source, position)
        if found is None:
            raise action.refuse(
                f"{action.source[position:].strip()[:20]!r} is not known here; known are if, range, else, end, := and function calls"
            )
        kind = found.lastgroup or ""
        if found["variable"] is not None:
            yield "variable", found["variable"] + (found["path"] or "")
        else:
            yield kind, found[kind]
        position = found.end()


class _Parser:
    """Actions in, a tree of nodes out."""

    def __init__(self, source: str):
        self._items = list(_split(source))
        self._next = 0

    def parse(self) -> tuple[_Node, ...]:
        nodes, ended_by = self._block(())
        assert ended_by is None
        return nodes

    def _block(self, ends: tuple[str, ...]) -> tuple[tuple[_Node, ...], _Action | None]:
        nodes: list[_Node] = []
        while self._next < len(self._items):
            item = self._items[self._next]
            self._next += 1
            if isinstance(item, str):
                nodes.append(_Node("text", text=item))
                continue
            first = item.tokens[0][1] if item.tokens else ""
            if first in ("else", "end"):
                if first not in ends:
                    raise item.refuse("nothing is open here")
                return tuple(nodes), item
            nodes.append(self._node(item, first))
        if ends:
            raise UserError("TEMPLATE: an if or range is not closed; expected {{ end }}.")
        return tuple(nodes), None

    def _node(self, action: _Action, first: str) -> _Node:
        if first == "if":
            return self._condition(action, action.tokens[1:])
        if first == "range":
            names, tokens = _range_names(action)
            body, _ = self._block(("end",))
            return _Node("range", action=action, names=names, expression=_expression(action, tokens), body=body)
        if len(action.tokens) > 1 and action.tokens[0][0] == "variable" and action.tokens[1][1] in (":=", "="):
            expression = _expression(action, action.tokens[2:])
            return _Node("assign", action=action, names=(first,), declares=action.tokens[1][1] == ":=", expression=expression)
        return _Node("output", action=action, expression=_expression(action, action.tokens))

    def _condition(self, action: _Action, tokens: Sequence[tuple[str, str]]) -> _Node:
        expression = _expression(action, tokens)
        body, ended_by = self._block(("else", "end"))
        otherwise: tuple[_Node, ...] = ()
        if ended_by is not None and ended_by.tokens[0][1] == "else":
            if len(ended_by.tokens) > 1 and ended_by.tokens[1][1] == "if":
                otherwise = (self._condition(ended_by, ended_by.tokens[2:]),)
            else:
                otherwise, _ = self._block(("end",))
        return _Node("if", action=action, expression=expression, body=body, otherwise=otherwise)


def _range_names(action: _Action) -> tuple[tuple[str, ...], Sequence[tuple[str, str]]]:
    texts = [text for _, text in action.tokens]
    if ":=" not in texts:
        return (), action.tokens[1:]
    at = texts.index(":=")
    return tuple(text for text in texts[1:at] if text != ","), action.tokens[at + 1 :]


def _expression(action: _Action, tokens: Sequence[tuple[str, str]]) -> tuple:
    """A call `("call", name, arguments)` or a single operand `(kind, text)`."""
    terms, rest = _terms(action, list(tokens))
    if rest or not terms:
        raise action.refuse("the parentheses do not match" if rest else "nothing to evaluate")
    return _call(action, terms)


def _terms(action: _Action, tokens: list[tuple[str, str]]) -> tuple[list[tuple], list[tuple[str, str]]]:
    terms: list[tuple] = []
    while tokens and tokens[0] != ("sign", ")"):
        token, tokens = tokens[0], tokens[1:]
        if token == ("sign", "("):
            inner, tokens = _terms(action, tokens)
            if not tokens or not inner:
                raise action.refuse("the parentheses do not match")
            terms.append(_call(action, inner))
            tokens = tokens[1:]
        else:
            terms.append(token)
    return terms, tokens


def _call(action: _Action, terms: list[tuple]) -> tuple:
    if terms[0][0] == "word" and terms[0][1] not in ("true", "false"):
        if terms[0][1] not in _FUNCTIONS:
            raise action.refuse(f"{terms[0][1]!r} is not known here; known are {', '.join(sorted(_FUNCTIONS))}")
        return "call", terms[0][1], tuple(terms[1:])
    if len(terms) > 1:
        raise action.refuse("two values without a function")
    return terms[0]


def _slice(value: object, start: int = 0, stop: int | None = None) -> object:
    if isinstance(value, str):
        return value.encode()[start:stop].decode(errors="surrogateescape")
    return value[start:stop]  # type: ignore[index]


def _same(first: object, *others: object) -> bool:
    if any(type(other) is not type(first) for other in others):
        raise TypeError("incompatible types for comparison")
    return first in others


_FUNCTIONS: dict[str, Callable] = {
    "eq": _same,
    "ne": lambda first, second: not _same(first, second),
    "lt": lambda first, second: first < second,
    "le": lambda first, second: first <= second,
    "gt": lambda first, second: first > second,
    "ge": lambda first, second: first >= second,
    "len": lambda value: len(value.encode() if isinstance(value, str) else value),
    "slice": _slice,
    "index": lambda value, key: value[key],
    "not": lambda value: not value,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
}


def _run(source: str, data: dict) -> Iterator[str]:
    yield from _execute(_Parser(source).parse(), data, [{"$": data}])


def _execute(nodes: Sequence[_Node], dot: object, scopes: list[dict]) -> Iterator[str]:
    """Variables live in `scopes`, innermost last; a block has its own, as in Go."""
    for node in nodes:
        if node.kind == "text":
            yield node.text
            continue
        value = _value(node.action, node.expression, dot, scopes)  # type: ignore[arg-type]
        if node.kind == "output":
            yield _written(value)
        elif node.kind == "assign":
            scope = scopes[-1] if node.declares else next((scope for scope in reversed(scopes) if node.names[0] in scope), None)
            if scope is None:
                raise node.action.refuse(f"{node.names[0]} was not declared with :=")  # type: ignore[union-attr]
            scope[node.names[0]] = value
        elif node.kind == "if":
            yield from _execute(node.body if value else node.otherwise, dot, [*scopes, {}])
        else:
            for index, item in enumerate(value):  # type: ignore[arg-type, var-annotated]
                names = {1: (item,), 2: (index, item)}.get(len(node.names), ())
                yield from _execute(node.body, item, [*scopes, dict(zip(node.names, names, strict=True))])


def _written(value: object) -> str:
    if value is None:
        return "<no value>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(action: _Action, expression: tuple, dot: object, scopes: list[dict]) -> object:
    kind, text = expression[0], expression[1]
    if kind == "call":
        arguments = [_value(action, argument, dot, scopes) for argument in expression[2]]
        try:
            return _FUNCTIONS[text](*arguments)
        except (TypeError, IndexError, KeyError) as error:
            raise action.refuse(f"{text} fails: {error}") from error
    if kind in ("string", "raw"):
        return unquote(text)
    if kind == "number":
        return int(text)
    if kind == "word":
        return text == "true"
    if kind == "dot":
        return dot
    start, *path = text.split(".")
    value = dot
    if kind == "variable":
        value = next((scope[start] for scope in reversed(scopes) if start in scope), action)
        if value is action:
            raise action.refuse(f"{start} was not declared")
    for name in path:
        if not isinstance(value, dict):
            raise action.refuse(f".{name} of a value without fields")
        value = value.get(name)
    return value
