"""One row repaired: names, roles and texts, where only one meaning is possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .cleaning import cleaned, trimmed
from .conversation import ROLES
from .messages import standard_role
from .shapes import MESSAGE_KEYS, NAMES, renamed
from .wording import quote

_LISTS = ("messages", "conversations")
_TEXTS = tuple(name for name in NAMES if name not in (*_LISTS, *MESSAGE_KEYS))


@dataclass(frozen=True)
class RowRepair:
    """Repairs rows of one file; `columns` and `roles` as `examine` has them."""

    columns: Mapping[str, str]
    roles: Mapping[str, str]

    def repaired(self, row: dict[str, object]) -> tuple[dict[str, object], list[tuple[str, str]]]:
        """The row, and what was done as (kind, words)."""
        work = _Work(self.columns, self.roles)
        changed = work.row(row)
        return changed, work.done


def is_blank(value: object) -> bool:
    """Whether nothing is in the row: no key, or no value that says anything."""
    if isinstance(value, dict):
        return all(is_blank(part) for part in value.values())
    return not value.strip() if isinstance(value, str) else value is None


@dataclass
class _Work:
    columns: Mapping[str, str]
    roles: Mapping[str, str]
    done: list[tuple[str, str]] = field(default_factory=list)

    def row(self, row: dict[str, object]) -> dict[str, object]:
        changed = self._named(row)
        for name in _TEXTS:
            if name in changed:
                changed[name] = self._text(changed[name], quote(name), trim=name != "text")
        for name in _LISTS:
            if isinstance(changed.get(name), list):
                changed[name] = self._messages(changed[name])
        return changed

    def _named(self, row: dict[str, object]) -> dict[str, object]:
        if "text" in self.columns:
            row = self._text_alone(row)
        used = {name: column for name, column in self.columns.items() if name not in MESSAGE_KEYS and column in row and column != name}
        if not used:
            return dict(row)
        for name, column in used.items():
            self.done.append(("column", f"the column {quote(column, limit=40)} was renamed to {quote(name)}"))
        return renamed(row, {name: self.columns[name] for name in self.columns if name not in MESSAGE_KEYS})

    def _text_alone(self, row: dict[str, object]) -> dict[str, object]:
        """Without what would make a row something else than a text, where `data.columns.text` says that it is one."""
        others = [key for key in row if key in NAMES and key not in ("text", self.columns["text"])]
        self.done += [("column", f"{quote(key)} was removed: data.columns.text says to train on the text alone") for key in others]
        return {key: value for key, value in row.items() if key not in others}

    def _messages(self, messages: list[object]) -> list[object]:
        read = [self._message(item, place) for place, item in enumerate(messages, start=1)]
        first = read[0] if read else None
        if isinstance(first, dict) and first.get("role", first.get("from")) == "system" and len(read) > 1:
            content = first.get("content", first.get("value"))
            if content is None or (isinstance(content, str) and not content.strip()):
                self.done.append(("empty-system", "the system message without text was removed"))
                return read[1:]
        return read

    def _message(self, item: object, place: int) -> object:
        if not isinstance(item, dict):
            return item
        message = self._named_message(item, place)
        for key in ("role", "from"):
            if key in message:
                message[key] = self._role(message[key], place)
                break
        for key in ("content", "value"):
            if key in message:
                message[key] = self._text(message[key], f"message {place}", trim=True)
                break
        return message

    def _named_message(self, item: dict[str, object], place: int) -> dict[str, object]:
        names = {self.columns[name]: name for name in MESSAGE_KEYS if self.columns.get(name, name) in item and name in self.columns}
        renamed_here = {column: name for column, name in names.items() if column != name and name not in item}
        for column, name in renamed_here.items():
            self.done.append(("column", f"{quote(column, limit=40)} of message {place} was renamed to {quote(name)}"))
        return {renamed_here.get(key, key): value for key, value in item.items()}

    def _role(self, role: object, place: int) -> object:
        if not isinstance(role, str) or role in ROLES and role not in self.roles:
            return role
        standard = self.roles.get(role) or standard_role(role)
        if standard is None or standard == role:
            return role
        self.done.append(("role", f"the role {quote(role, limit=40)} of message {place} became {standard}"))
        return standard

    def _text(self, value: object, name: str, *, trim: bool) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            self.done.append(("number", f"the number {str(value)[:30]} of {name} was put in quotes"))
            return str(value)
        if not isinstance(value, str):
            return self._parts(value, name) if isinstance(value, list) else value
        text, done = cleaned(value)
        self.done += [(code, f"{said} in {name}") for code, said in done]
        inner = trimmed(text) if trim else text
        if inner == text or not inner:  # a text of white space alone stays as it is: it is as empty as before
            return text
        self.done.append(("white-space", f"white space around {name} was removed"))
        return inner

    def _parts(self, parts: list[object], name: str) -> list[object]:
        """Text parts keep the white space between them."""
        return [
            {**part, "text": self._text(part["text"], name, trim=False)}
            if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
            else part
            for part in parts
        ]
