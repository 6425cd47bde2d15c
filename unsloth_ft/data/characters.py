"""Characters that no reader sees, or that are damage: control, zero-width and direction marks, replacement characters, mojibake."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .content import Problem

# C0 but for tab, line feed and a carriage return before a line feed; DEL; C1.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def strange_characters(text: str, name: str) -> Iterator[Problem]:
    """One problem a kind; `name` is what messages call the text."""
    found = _CONTROL.findall(text)
    if found:
        message = f"{name} holds the control character U+{ord(found[0]):04X}; expected none but tab and line feed. Remove it."
        yield Problem("control-character", message, "warning")
