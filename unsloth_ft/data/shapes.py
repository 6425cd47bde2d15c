"""The row shapes, which of them a row has, and how columns under other names are mapped to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import UserError, nearest
from .conversation import ROLES
from .foreign import PREFERENCE, foreign
from .proposal import proposed, source
from .wording import listed, printable, quote


@dataclass(frozen=True)
class Shape:
    """A row shape: the keys it must have and those it may have."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


# In order: where a row has several whole shapes, the first is taken. (The Alpaca data carry `text` beside
# instruction/input/output, UltraChat `prompt` beside `messages`.)
SHAPES = (
    Shape("messages", ("messages",), ("system",)),
    Shape("conversations", ("conversations",), ("system",)),
    Shape("instruction/input/output", ("instruction", "output"), ("input", "system")),
    Shape("prompt/completion", ("prompt", "completion"), ("system",)),
    Shape("question/answer", ("question", "answer"), ("system",)),
    Shape("text", ("text",)),
)
KNOWN = "messages; conversations; instruction, output (input, system); prompt, completion; question, answer; text"
MESSAGE_KEYS = ("role", "content")
NAMES = tuple(dict.fromkeys(name for shape in SHAPES for name in (*shape.required, *shape.optional))) + MESSAGE_KEYS


class NoShape(Exception):
    """The row has no known shape; `code` and `message` are for a Finding."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def check_columns(columns: Mapping[str, str]) -> None:
    """Raise UserError for a mapping that can't be meant: an unknown name, the two sides swapped, names of different shapes."""
    for name, column in columns.items():
        setting = f"data.columns.{name}={column}"
        if name not in NAMES and column in NAMES:
            raise UserError(f"{setting}: the known name comes first. Write data.columns.{column}={name}.")
        if name not in NAMES:
            raise UserError(f"data.columns.{name}: no such name; expected one of {', '.join(NAMES)}.{nearest(name, NAMES)}")
        if not isinstance(column, str) or not column:
            raise UserError(f"data.columns.{name}: expected the name of a column in the file.")
    twice = next((column for column in columns.values() if list(columns.values()).count(column) > 1), None)
    if twice is not None:
        raise UserError(f"data.columns: {listed(name for name in columns if columns[name] == twice)} are both {quote(twice)}. Map it once.")
    if not _candidates(columns):
        raise UserError(f"data.columns: {listed(columns)} belong to different shapes; known shapes: {KNOWN}.")


def check_roles(roles: Mapping[str, str]) -> None:
    """Raise UserError for a role mapped to something that is no role."""
    for role, standard in roles.items():
        if standard not in ROLES:
            near = nearest(str(standard), ROLES)
            raise UserError(f"data.roles.{role}={standard}: expected system, user, assistant or tool.{near}")


def _candidates(columns: Mapping[str, str]) -> tuple[Shape, ...]:
    asked = set(columns) - set(MESSAGE_KEYS)
    return tuple(shape for shape in SHAPES if asked <= {*shape.required, *shape.optional})


def renamed(row: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    """The row under the standard names: mapped columns first, the file's other keys behind them."""
    if not columns:
        return dict(row)
    keys = {name: source(row, column) for name, column in columns.items() if name not in MESSAGE_KEYS}
    mapped = {name: row[key] for name, key in keys.items() if key is not None}
    taken = {*keys.values(), *columns.values(), *columns}
    return {**mapped, **{key: value for key, value in row.items() if key not in taken}}


def shape_of(row: Mapping[str, object], columns: Mapping[str, str], *, keys: Collection[str]) -> Shape:
    """The row's shape; `row` is already renamed, `keys` are those of the file. Raises: NoShape."""
    candidates = _candidates(columns)
    filled = _first(candidates, {key for key, value in row.items() if _filled(value)})
    if filled is None or (filled.name in ("messages", "conversations") and "chosen" in row):
        other = foreign(row)
        if other is not None:
            raise NoShape("unknown-shape", other)
    if filled is not None:
        if filled.name == "text" and "text" not in columns:
            _refuse_text_beside_others(row, candidates)
        return filled
    present = _first(candidates, set(row))
    if present is not None:
        return present
    if "chosen" in row and "rejected" in row:
        raise NoShape("unknown-shape", _preference(row, columns))
    partial = next((shape for shape in candidates if any(name in row for name in shape.required)), None)
    if columns or partial is not None:
        raise NoShape("missing-key", _missing(row, partial or candidates[0], columns, keys))
    raise NoShape("unknown-shape", _unknown(row))


def _filled(value: object) -> bool:
    """Whether a column says anything: tables have every column in every row, empty where it does not apply."""
    return bool(value.strip()) if isinstance(value, str) else value is not None


def _first(candidates: tuple[Shape, ...], keys: set[str]) -> Shape | None:
    return next((shape for shape in candidates if set(shape.required) <= keys), None)


def _refuse_text_beside_others(row: Mapping[str, object], candidates: tuple[Shape, ...]) -> None:
    """`text` with half of another shape beside it may be the answer: training on it alone would drop the question."""
    other = next((name for shape in candidates for name in shape.required if name != "text" and _filled(row.get(name))), None)
    if other is None:
        return
    raise NoShape(
        "unclear-shape",
        f'both "text" and {quote(other)}, and it is not clear which to train on. '
        f"If text is the answer, pass --set data.columns.answer=text --set data.columns.question={other}; "
        "to train on text alone, pass --set data.columns.text=text.",
    )


def _missing(row: Mapping[str, object], shape: Shape, columns: Mapping[str, str], keys: Collection[str]) -> str:
    shape = _partner_shape(row, shape, columns)
    absent = next(name for name in shape.required if name not in row)
    found = f"the row has {listed(keys)}" if keys else "the row has no keys"
    if absent in columns:
        column = quote(columns[absent], limit=40)
        return f"no {column}, which data.columns.{absent} names; {found}.{nearest(columns[absent], [printable(key) for key in keys])}"
    suggestion = _suggestion(row, columns)
    way_out = f"Add it, or pass {suggestion}." if suggestion else f"Add it, or pass --set data.columns.{absent}=NAME."
    return f'"{absent}" is missing; {found}. {way_out}'


def _partner_shape(row: Mapping[str, object], shape: Shape, columns: Mapping[str, str]) -> Shape:
    """Of the shapes that the row has a part of, the one whose first key it has: question with output lacks an answer."""
    partial = [other for other in _candidates(columns) if other.required[0] in row]
    return partial[0] if partial else shape


def _unknown(row: Mapping[str, object]) -> str:
    if not row:
        return f"the row has no keys; known shapes: {KNOWN}."
    if set(row) >= {"role", "content"} or set(row) >= {"from", "value"}:
        return 'the row is a single message; expected a whole conversation a row: {"messages": [{"role": …, "content": …}, …]}.'
    rows_key = next((key for key, value in row.items() if isinstance(value, list) and value and isinstance(value[0], dict)), None)
    suggestion = _suggestion(row, {})
    if rows_key is not None and not suggestion:
        found = f"no known shape in the keys {listed(row)}; the rows may be inside {quote(rows_key, limit=40)}"
        return f"{found}. Write that array alone to a file."
    way_out = f" Pass {suggestion}." if suggestion else " Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
    return f"no known shape in the keys {listed(row)}; known shapes: {KNOWN}.{way_out}"


def _preference(row: Mapping[str, object], columns: Mapping[str, str]) -> str:
    messages = isinstance(row["chosen"], list)  # a whole conversation, else `foreign` would have said so
    suggestion = _suggestion({key: value for key, value in row.items() if key == "chosen" or not (messages or key == "rejected")}, columns)
    return f"{PREFERENCE}. " + (f"To learn the chosen one, pass {suggestion}." if suggestion else 'Keep the chosen one, as "answer".')


def _suggestion(row: Mapping[str, object], columns: Mapping[str, str]) -> str:
    return proposed(row, columns, [shape.required for shape in _candidates(columns)])
