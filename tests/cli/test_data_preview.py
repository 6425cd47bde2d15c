"""data preview: which rows it shows, how quickly on a long file, and in which forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calling import call, rows

LEGEND = "learned between ⟦ ⟧   ⏎ line break  → tab  · space at a line's end, or one of several"


def preview(tiny: str, *words: str):
    return call("data", "preview", *words, "--recipe", "smollm2-135m", "--model", tiny)


def test_three_rows_are_shown_with_what_is_learned_marked(work: Path, tiny: str):
    answer = preview(tiny, "faq.jsonl")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == LEGEND
    assert [line for line in lines if line.startswith("faq.jsonl:")] == [
        f"faq.jsonl:{line}: {learned} of {tokens} tokens learned" for line, learned, tokens in ((1, 5, 48), (2, 5, 48), (3, 5, 49))
    ]
    assert "  ⟦At 1.<|im_end|>⟧⏎" in lines


def test_a_pattern_that_one_file_matches_is_that_file(work: Path, tiny: str):
    assert preview(tiny, "f*.jsonl", "--row", "faq.jsonl:2") == preview(tiny, "faq.jsonl", "--row", "2")


def test_a_row_is_found_by_its_line_and_no_other_line_is_read(work: Path, tiny: str):
    (work / "d.jsonl").write_text(rows(2) + "\n{broken\n" + rows(1, first=7) + "{broken too\n", encoding="utf-8")
    for where in ("5", "d.jsonl:5"):
        answer = preview(tiny, "d.jsonl", "--row", where, "--json")
        assert (answer.code, answer.err) == (0, "")
        (row,) = json.loads(answer.out)
        assert row["where"] == "d.jsonl:5"
    answer = preview(tiny, "d.jsonl", "--rows", "3")
    assert (answer.code, answer.out.count("tokens learned")) == (0, 3)
    assert answer.err == (
        "warning: d.jsonl:4:2: not valid JSON: found \"broken\" at column 2; expected a key in double quotes. (not shown)\n"
    )


def test_a_long_file_is_not_read_to_its_end(work: Path, tiny: str):
    with open(work / "long.jsonl", "w", encoding="utf-8") as file:
        file.write(rows(4))
        file.write("not a row\n" * 10_000)
    assert (preview(tiny, "long.jsonl").code, preview(tiny, "long.jsonl", "--statistics").code) == (0, 2)


def test_statistics_are_of_all_rows(work: Path, tiny: str):
    assert preview(tiny, "faq.jsonl", "--statistics", "--rows", "1").out.splitlines()[0] == "12 rows; tokens: p50 49, p95 50, max 50"


def test_token_borders_are_shown_and_listed(work: Path, tiny: str):
    assert "  ⟦At│ │1│.│<|im_end|>⟧⏎" in preview(tiny, "faq.jsonl", "--rows", "1", "--tokens").out.splitlines()
    (row,) = json.loads(preview(tiny, "faq.jsonl", "--rows", "1", "--tokens", "--json").out)
    assert [piece["text"] for piece in row["token_pieces"] if piece["learned"]] == ["At", " ", "1", ".", "<|im_end|>"]
    assert sum(len(piece["ids"]) for piece in row["token_pieces"]) == row["tokens"]


def test_a_terminal_gets_colours_and_no_color_gets_none(work: Path, tiny: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1;32mAt 1.\x1b[0m\x1b[1;97;42m<|im_end|>\x1b[0m" in preview(tiny, "faq.jsonl").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "⟦At 1.<|im_end|>⟧" in preview(tiny, "faq.jsonl").out


def test_the_page_is_written(work: Path, tiny: str):
    answer = preview(tiny, "faq.jsonl", "--html", "page.html")
    assert (answer.code, answer.out, answer.err) == (0, "page: page.html\n", "")
    assert (work / "page.html").read_text(encoding="utf-8").count("<section>") == 3
