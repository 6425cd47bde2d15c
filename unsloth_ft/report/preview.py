"""Rows as the model sees them, in the terminal or on a page: what is learned, control tokens, and the white space that matters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.text import Text

from unsloth_ft import __version__
from unsloth_ft.data.wording import printable
from unsloth_ft.record import write_atomically
from unsloth_ft.report import pages
from unsloth_ft.xray_tokens import Piece

# Spaces that would not be seen: several in a row, and those before a line break or at the end.
_UNSEEN_SPACES = re.compile(r"  +| +(?=\n)| +\Z")
_JOINERS = "\u200c\u200d"  # inside emoji and words of many scripts, which fall apart without them
_BREAK, _TAB, _SPACE, _BORDER = "⏎", "→", "·", "│"
STYLES = {
    (True, False): "bold green",
    (True, True): "bold bright_white on green",
    (False, False): "bright_black",
    (False, True): "cyan",
}
NAMES = {(True, False): "learned", (True, True): "control token, learned", (False, False): "read only", (False, True): "control token, read only"}
SIGNS = f"{_BREAK} line break  {_TAB} tab  {_SPACE} space at a line's end, or one of several"


@dataclass(frozen=True)
class Shown:
    """A row to show: where it stands, and its pieces (tokens, or runs of them)."""

    where: str
    tokens: int
    learned: int
    pieces: tuple[Piece, ...]

    @property
    def head(self) -> str:
        return f"{self.where}: {self.learned} of {self.tokens} tokens learned"


def has_colour(console: Console) -> bool:
    """Whether colours reach a reader: on a terminal, unless NO_COLOR asks for none."""
    return console.color_system is not None and not console.no_color


def legend(*, colour: bool, borders: bool) -> Text:
    """What colours and signs mean."""
    text = Text()
    if colour:
        for kind, style in STYLES.items():
            text.append(f" {NAMES[kind]} ", style=style).append(" ")
    else:
        text.append("learned between ⟦ ⟧  ")
    text.append(f" {SIGNS}")
    return text.append(f"  {_BORDER} token border") if borders else text


def in_terminal(row: Shown, *, colour: bool, borders: bool) -> Text:
    """The row's text with its styles, or with ⟦ ⟧ around what is learned."""
    text = Text("  ")
    for learned, group in groupby(seen(row.pieces), key=lambda part: part[0].learned):
        if borders and colour and len(text) > 2:
            text.append(_BORDER)
        text.append("⟦" if learned and not colour else "")
        for number, (piece, shown) in enumerate(group):
            text.append(_BORDER if borders and number else "")
            text.append(shown.replace("\n", "\n  "), style=STYLES[piece.learned, piece.control] if colour else "")
        text.append("⟧" if learned and not colour else "")
    text.rstrip()
    return text


def seen(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, str]]:
    """Each piece with its text as it is shown: signs for white space that isn't seen, escapes for what a terminal would obey."""
    whole = "".join(piece.text for piece in pieces)
    unseen = {place for match in _UNSEEN_SPACES.finditer(whole) for place in range(*match.span())}
    begin = 0
    for piece in pieces:
        places = range(begin, begin := begin + len(piece.text))
        yield piece, "".join(_SPACE if place in unseen else _sign(whole[place]) for place in places)


def _sign(character: str) -> str:
    if character in _JOINERS:
        return character
    return {"\n": f"{_BREAK}\n", "\t": f"{_TAB}\t"}.get(character) or printable(character)


def write_page(path: Path, rows: Sequence[Shown], *, file: str, model: str, borders: bool) -> None:
    """One page of its own, without script, font or network."""
    page = pages.render(
        pages.HERE / "preview.html",
        styles=(pages.HERE / "preview.css",),
        version=__version__,
        file=file,
        model=model,
        borders=borders,
        names=[(_classes(*kind), NAMES[kind]) for kind in STYLES],
        signs=SIGNS,
        rows=[
            (row.head, [(_classes(piece.learned, piece.control), piece.ids, shown) for piece, shown in seen(row.pieces)]) for row in rows
        ],
    )
    write_atomically(path, page)


def _classes(learned: bool, control: bool) -> str:
    return f"{'learned' if learned else 'read'}{' control' if control else ''}"
