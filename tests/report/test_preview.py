"""The preview's rows in the terminal and on its page: signs, colours, borders, and nothing that a data file could make them do."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from unsloth_ft.report import preview
from unsloth_ft.report.preview import Shown
from unsloth_ft.xray_tokens import Piece

PIECES = (
    Piece("<|im_start|>", (1,), False, True), Piece("user\n", (2,), False, False), Piece("a  b \n", (3,), False, False),
    Piece("<b>\x1b[31m\u202e\tx", (4, 5), True, False), Piece("<|im_end|>", (6,), True, True), Piece("\n", (7,), False, False),
)  # fmt: skip
ROW = Shown("faq.jsonl:1", 7, 3, PIECES)


def written(*, colour: bool, borders: bool = False) -> str:
    console = Console(file=io.StringIO(), force_terminal=colour, color_system="standard" if colour else None, width=200, highlight=False)
    console.print(preview.in_terminal(ROW, colour=colour, borders=borders))
    return console.file.getvalue()


def test_without_colour_what_is_learned_stands_between_brackets():
    assert written(colour=False) == (
        "  <|im_start|>user⏎\n  a··b·⏎\n  ⟦<b>\\u001b[31m\\u202e→ x<|im_end|>⟧⏎\n"
    )


def test_borders_stand_between_tokens():
    assert written(colour=False, borders=True).splitlines() == [
        "  <|im_start|>│user⏎", "  │a··b·⏎", "  ⟦<b>\\u001b[31m\\u202e→ x│<|im_end|>⟧⏎",
    ]  # fmt: skip


def test_with_colour_green_is_learned_and_control_tokens_stand_out():
    answer = written(colour=True)
    assert "\x1b[36m<|im_start|>\x1b[0m\x1b[90muser⏎\x1b[0m" in answer
    assert "\x1b[1;32m<b>\\u001b[31m" in answer
    assert "\x1b[1;97;42m<|im_end|>\x1b[0m" in answer
    assert "⟦" not in answer


@pytest.mark.parametrize(
    ("console", "colour"),
    [
        (Console(file=io.StringIO(), force_terminal=True, color_system="standard"), True),
        (Console(file=io.StringIO(), force_terminal=True, color_system="standard", no_color=True), False),
        (Console(file=io.StringIO()), False),
    ],
    ids=["a terminal", "NO_COLOR", "a file"],
)
def test_colour_is_for_terminals_that_want_it(console: Console, colour: bool, monkeypatch: pytest.MonkeyPatch):
    assert preview.has_colour(console) is colour


def test_the_page_holds_the_text_and_runs_nothing(tmp_path: Path):
    preview.write_page(tmp_path / "p.html", [ROW], file="<script>.jsonl", model="m", borders=True)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<title>&lt;script&gt;.jsonl as m sees it</title>" in page
    assert '<span class="piece learned" title="token 4, 5">&lt;b&gt;\\u001b[31m\\u202e→\tx</span>' in page
    assert '<span class="piece learned control" title="token 6">&lt;|im_end|&gt;</span>' in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert [word for word in ("<script", "http:", "https:", "<b>", "\x1b") if word in page] == []
