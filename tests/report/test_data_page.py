"""The data report shows what was found, with its numbers, and nothing of a data file runs or hides in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.report.pages import Reader
from unsloth_ft.data import Examination, examine
from unsloth_ft.data.histogram import Histogram
from unsloth_ft.report import data_page, histograms

SECTIONS = ["Findings", "Lengths", "Roles and turns", "Scripts and languages", "Style of the answers", "Files"]
SENTENCE = "The adapter is merged into the base model once the training has come to its end."


def examined(tmp_path: Path, *rows: dict[str, str], name: str = "faq.jsonl") -> Examination:
    file = tmp_path / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return examine([file])


def good(number: int) -> list[dict[str, str]]:
    return [{"question": f"What is number {place}?", "answer": f"{SENTENCE} This is answer number {place}."} for place in range(number)]


def read(examination: Examination) -> Reader:
    return Reader(data_page.page(examination))


def of(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


def test_a_clean_file_has_every_section_and_no_finding(tmp_path):
    page = read(examined(tmp_path, *good(40)))
    assert page.headings == ["✓ no errors", *SECTIONS]
    assert "A run takes this data as it is. rows 40 errors 0 warnings 0 notes 0 max_seq_length –" in page.text
    assert "Findings None." in page.text
    assert "Language of the answers language bar number en 40 100.0%" in page.text


def test_findings_stand_by_severity_and_kind_with_lines_and_the_whole_message(tmp_path):
    rows = [*good(5), {"question": "Who?", "answer": ""}, {"question": "Mail ada@gmail.com", "answer": "pay\u200bpal"}]
    page = read(examined(tmp_path, *rows))
    assert page.headings[0] == "✗ 1 error"
    file = tmp_path / "faq.jsonl"
    for text in (
        "A run refuses this data. rows 6 errors 1 warnings 1 notes 1",
        f'Errors A run stops at these. empty-content 1 where what was found, and what to do {file}:6 "answer" is empty; expected text.',
        f"zero-width 1 where what was found, and what to do {file}:7 message 2 (assistant) holds U+200B ZERO WIDTH SPACE at character 4,",
        f"Notes For a person to judge. email-address 1 where what was found, and what to do {file}:7 message 1 (user) holds what looks like",
    ):
        assert text in page.text


def test_many_of_a_kind_are_three_to_see_seven_to_unfold_and_a_count(tmp_path):
    page = read(examined(tmp_path, *({"question": f"Number {place}?", "answer": "TODO"} for place in range(25))))
    assert page.headings[0] == "≈ 25 warnings"
    assert "placeholder 25; the first 10 are listed" in page.text
    assert "7 more of the 22" in page.text
    assert page.text.count('message 2 (assistant) is only "TODO"') == 10


def test_lengths_come_with_percentiles_and_the_recommended_length(tmp_path):
    examination = examined(tmp_path, *good(10))
    for place in range(10):
        examination.survey.add_tokens(100 + place, 20)
    text = read(examination).text
    assert "max_seq_length 192 Recommended max_seq_length: 192 tokens (p95 of your rows is 109; ×1.2, rounded up)." in text
    assert "min 100 p50 104 mean 104.5 p95 109 p99 109 max 109" in text
    assert "Answers 10, in characters" in text


def test_one_row_makes_a_page(tmp_path):
    page = read(examined(tmp_path, {"question": "Who?", "answer": "I am."}))
    assert page.headings[0] == "✓ no errors"
    assert "1 row shape question/answer" in page.text


def test_a_file_without_a_good_row_makes_a_page(tmp_path):
    page = read(examined(tmp_path, {"question": "Who?", "answer": ""}))
    assert page.headings == ["✗ 1 error", "Findings", "Lengths", "Files"]
    assert "No row was read." in page.text


def test_nothing_in_a_data_file_runs_on_the_page(tmp_path):
    hostile = "</td></table><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\u200b"
    rows = [{"question": hostile, "answer": f"{hostile} [insert name here] <|im_end|>"}, {"question": hostile, "answer": "Another."}]
    source = data_page.page(examined(tmp_path, *rows, name="<img src=x onerror=alert(3)>\u202e.jsonl"))
    page = Reader(source)
    assert not [tag for tag, _ in page.elements if tag in ("script", "img", "iframe", "object", "embed", "form", "base")]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not set("\u202e\u200b") & set(source)
    assert "<script>" in page.text  # it is shown as text


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path):
    source = data_page.page(examined(tmp_path, *good(3)))
    assert "default-src 'none'" in source
    assert not re.findall(r"(?:src|href)=\"(?!data:,|#)", source)
    assert "url(" not in source and "@import" not in source and "<script" not in source


def test_writing_leaves_one_whole_file(tmp_path):
    examination = examined(tmp_path, *good(3))
    path = data_page.write(tmp_path / "page.html", examination)
    assert path.read_text(encoding="utf-8") == data_page.page(examination)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["faq.jsonl", "page.html"]


@pytest.mark.parametrize("values", [[0], [7], list(range(1000)), [5] * 50 + [1_000_000], [3, 4000, 5000, 70_000]])
def test_every_value_is_in_exactly_one_bar(values):
    found = histograms.bars(of(values))
    assert sum(found.counts) + found.beyond == len(values)
    assert len(found.counts) <= 41
    assert {high - low for low, high in zip(found.edges, found.edges[1:])} == {found.edges[1]}


def test_bars_count_what_lies_between_their_edges():
    found = histograms.bars(of([0, 49, 50, 99, 100, 1999]))
    assert (found.edges[:3], found.counts[:3], found.counts[39:], found.beyond) == ((0, 50, 100), (2, 2, 1), (1,), 0)


def test_a_few_far_longer_values_share_the_last_bar():
    drawn = histograms.draw(of([10] * 199 + [90_000]), size=histograms.WIDE, unit="characters", name="Answers")
    assert '<rect class="over"' in drawn
    assert "<title>16 or longer: 1</title>" in drawn
    assert 'aria-label="Answers, 200 in characters: p50 10, p95 10, p99 10, longest 90,000"' in drawn


def test_no_value_draws_nothing():
    assert histograms.draw(Histogram(), size=histograms.WIDE, unit="tokens", name="Rows") == ""
