"""`data check` and the page that it writes."""

from __future__ import annotations

from pathlib import Path

from tests.cli.calling import call
from tests.data.building import lines, qa
from tests.report.pages import Reader


def test_the_page_is_written_beside_the_answer(work: Path):
    answer = call("data", "check", "faq.jsonl", "--report", "pages/faq.html")
    assert (answer.code, answer.err.splitlines()[-1]) == (0, "report: pages/faq.html")
    page = Reader((work / "pages" / "faq.html").read_text(encoding="utf-8"))
    assert "faq.jsonl 12 rows shape question/answer" in page.text


def test_the_page_of_a_refused_file_shows_its_errors(work: Path):
    (work / "faq.jsonl").write_text('{"question": "Who?", "answer": ""}\n', encoding="utf-8")
    answer = call("data", "check", "faq.jsonl", "--report", "page.html")
    assert answer.code == 2
    page = Reader((work / "page.html").read_text(encoding="utf-8"))
    assert page.headings[0] == "✗ 1 error"


def test_the_page_never_takes_a_data_files_place(work: Path):
    before = (work / "faq.jsonl").read_bytes()
    answer = call("data", "check", "faq.jsonl", "--report", "./faq.jsonl")
    assert (answer.code, answer.err) == (2, "error: --report is faq.jsonl, one of the data files. Name another file.\n")
    assert call("data", "check", "f*.jsonl", "--report", "faq.jsonl") == answer
    assert (work / "faq.jsonl").read_bytes() == before


def test_a_single_question_is_enough_to_check_and_not_to_run(work: Path):
    (work / "one.jsonl").write_bytes(b'{"question": "Who?", "answer": "Me."}\n')
    answer = call("data", "check", "one.jsonl")
    assert (answer.code, answer.err) == (
        0,
        "warning: one.jsonl: 1 row; a held-out split needs at least 2 rows with different questions. "
        "Add rows, or pass --eval-data FILE with questions to measure on.\n",
    )
    assert call("data", "check", "one.jsonl", "--eval-data", "faq.jsonl").err == ""


def test_a_report_never_takes_the_place_of_what_is_no_page(work: Path):
    Path("notes.txt").write_text("mine", encoding="utf-8")
    Path("faq.jsonl").write_bytes(lines(qa()))
    answer = call("data", "check", "faq.jsonl", "--report", "notes.txt")
    assert answer.code == 2
    assert "--report is notes.txt; expected a name that ends in .html. Write --report notes.html." in answer.err
    assert Path("notes.txt").read_text(encoding="utf-8") == "mine"


def test_control_tokens_that_are_meant_as_text_need_no_word(work: Path):
    Path("faq.jsonl").write_bytes(lines(qa("What is <|im_end|>?", "A token that ends a turn."), qa()))
    assert "a control token of" in call("data", "check", "faq.jsonl").err
    assert call("data", "check", "faq.jsonl", "--set", "data.special_tokens=text").err == ""
