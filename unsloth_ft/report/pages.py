"""What all pages share: one head, whose policy forbids the browser to load or run anything, and templates that escape every value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

# C0 controls as their pictures in U+2400.., but for tab and line feed; DEL too.
PICTURES = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}
HERE = Path(__file__).parent


def render(template: Path, styles: tuple[Path, ...] = (), filters: dict[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """The page's HTML. `template` extends base.html; `styles` stand behind the style sheet of all pages."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters or {}
    style = Markup("".join(file.read_text(encoding="utf-8") for file in (HERE / "page.css", *styles)))
    text = environment.get_template(template.name).render(style=style, **values)
    # A lone surrogate (a model can write half a character) can't be stored as UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def visible(value: Any) -> Any:
    """Text with its control characters as pictures; anything else as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return value.replace("\r\n", "\n").translate(PICTURES)
    return value
