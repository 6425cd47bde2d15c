"""Formats of others that hold what can be learned, but not as this reader takes it: what they are, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping

_MESSAGES = '{"messages": [{"role": …, "content": …}, …]}'
_ASKING = ("user", "human", "system")
PREFERENCE = "the row has chosen and rejected answers (preference data); expected one answer"


def foreign(row: Mapping[str, object]) -> str | None:
    """What to do with a row of a known format that no option can map; None for any other row."""
    if isinstance(row.get("mapping"), dict):
        return f'the row is a conversation of a ChatGPT export, whose turns are in "mapping"; expected messages. Write them as {_MESSAGES}.'
    if "preferred_output" in row and "non_preferred_output" in row:
        found = "the row has preferred and non-preferred answers (OpenAI's preference data); expected one answer"
        return f'{found}. Write the messages of "input" and of "preferred_output" as one {_MESSAGES}.'
    contents = row.get("contents")
    if isinstance(contents, list) and contents and isinstance(contents[0], dict) and "parts" in contents[0]:
        return f'the row has Google\'s "contents" with "parts"; expected messages. Write them as {_MESSAGES}, "model" as "assistant".'
    return _pairs(row) if "chosen" in row and "rejected" in row else None


def _pairs(row: Mapping[str, object]) -> str | None:
    """Of preference data those whose chosen answer alone is no conversation, or whose turns are in one text."""
    chosen = row["chosen"]
    asked = next((key for key in ("messages", "conversations", "prompt", "conversation") if isinstance(row.get(key), list) and row[key]), None)
    if isinstance(chosen, str):
        if chosen.lstrip().startswith("Human:"):
            return f'{PREFERENCE}. Write the turns of "chosen" as {_MESSAGES}.'
        return None if asked is None or not _asks(row[asked][-1]) else _joined(asked)
    first = chosen[0] if isinstance(chosen, list) and chosen else chosen
    if not isinstance(first, dict) or _asks(first):
        return None
    return _joined(asked or "prompt") if asked is None or _asks(row[asked][-1]) else None


def _joined(asked: str) -> str:
    return f'{PREFERENCE}. Write the messages of "{asked}" and "chosen" as one {_MESSAGES}.'


def _asks(message: object) -> bool:
    return isinstance(message, dict) and message.get("role", message.get("from")) in _ASKING
