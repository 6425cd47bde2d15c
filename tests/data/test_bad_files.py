"""Every bad file gives a UserError with one line a mistake: where, what, and what to do."""

from __future__ import annotations

import time

import pytest

from tests.data.building import GOOD, lines, qa
from tests.data.errors_page import PAGE, SECTIONS, page
from unsloth_ft.data import examine, load
from unsloth_ft.errors import UserError

CASES = [case for _, cases in SECTIONS for case in cases]


@pytest.mark.parametrize(("file", "content", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_file_is_refused_with_its_line(tmp_path, monkeypatch, file, content, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_bytes(content)
    began = time.process_time()
    with pytest.raises(UserError) as refused:
        load(file)
    assert str(refused.value) == expected
    assert time.process_time() - began < 2  # of the processor's time, which other work on the machine doesn't lengthen
    assert "Traceback" not in str(refused.value)
    assert all(line.isprintable() for line in str(refused.value).splitlines())
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_table_of_bad_files_has_distinct_names():
    names = [case[0] for case in CASES]
    assert len(names) == len(set(names)) >= 500


def test_first_ten_of_each_kind_are_listed_with_the_total(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [qa(f"q{number}", "") for number in range(12)] + [{"question": "x"}]
    (tmp_path / "faq.jsonl").write_bytes(lines(*rows))
    with pytest.raises(UserError) as refused:
        load("faq.jsonl")
    empty = '"answer" is empty; expected text. Fill it in, or remove the row.'
    missing = '"answer" is missing; the row has "question". Add it, or pass --set data.columns.answer=NAME.'
    assert str(refused.value).splitlines() == [
        *(f"faq.jsonl:{number}: {empty}" for number in range(1, 11)),
        "  and 2 more of this kind, 12 in all",
        f"faq.jsonl:13: {missing}",
        "13 errors; nothing was written.",
    ]


def test_errors_of_all_files_are_told_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_bytes(b"3\n")
    (tmp_path / "b.jsonl").write_text(GOOD)
    with pytest.raises(UserError) as refused:
        load(["a.jsonl", "b.jsonl", "b.json"])
    assert str(refused.value).splitlines() == [
        "a.jsonl:1: the row is the number 3; expected one JSON object a line.",
        "b.json: no such file. Did you mean b.jsonl or a.jsonl?",
        "2 errors; nothing was written.",
    ]


def test_pretty_printed_objects_are_named_once_and_later_lines_keep_their_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_text('{\n  "question": "a"\n}\n' * 50 + GOOD + "\n3\n")
    assert [str(finding) for finding in examine("faq.jsonl").findings] == [
        "faq.jsonl:1: a row is spread over several lines (pretty-printed); expected one object a line. "
        "Rewrite the file: jq -c . faq.jsonl > faq.clean.jsonl",
        "faq.jsonl:152: the row is the number 3; expected one JSON object a line.",
    ]


def test_control_characters_of_the_file_never_reach_the_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_bytes(lines({"\x1b[31mred\u202e": "a", "b\n": "c"}))
    with pytest.raises(UserError) as refused:
        load("faq.jsonl")
    assert r'no known shape in the keys "\u001b[31mred\u202e" and "b\n";' in str(refused.value)


def test_paths_with_spaces_are_quoted_in_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my faq.v2.jsonl").write_bytes(b"\0")
    with pytest.raises(UserError) as refused:
        load("my faq.v2.jsonl")
    assert str(refused.value) == (
        "my faq.v2.jsonl:1: 1 NUL byte from byte 0 of the file, as an interrupted copy leaves them. "
        "Remove it: tr -d '\\000' < 'my faq.v2.jsonl' > 'my faq.clean.v2.jsonl'"
    )


@pytest.mark.parametrize("packed", ["gzip", "zstd"])
def test_a_file_that_unpacks_without_end_is_stopped(tmp_path, monkeypatch, packed):
    import gzip

    import zstandard

    from unsloth_ft.data import streams

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(streams, "FREE_BYTES", 2**20)
    zeros = b"\n" * 2 * 2**20
    (tmp_path / "faq.jsonl").write_bytes(gzip.compress(zeros) if packed == "gzip" else zstandard.compress(zeros))
    with pytest.raises(UserError) as refused:
        load("faq.jsonl")
    message = "it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."
    assert str(refused.value) == f"faq.jsonl: {message}"


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("faq.jsonl", (GOOD + '\n  {"a": "é", }\n').encode(), (2, 12, 50)),
        ("faq.jsonl", b'\xef\xbb\xbf{"a": 1} x\n', (1, 10, 12)),
        ("faq.jsonl", (GOOD + "\n").encode() + b'{"question": "\xe9"}', (2, None, 52)),
        ("faq.jsonl", (GOOD + "\n").encode() + b'{"question": "\0"}', (2, None, 52)),
        ("faq.json", b'[\n{"a": "\xc3\xa9", },\n{}]', (1, None, 12)),
        ("faq.csv", b"question,answer\na,\xe9\n", (None, None, 18)),
        ("faq.jsonl", b"3\n", (1, None, None)),
    ],
)
def test_findings_say_column_and_offset_where_they_are_known(tmp_path, monkeypatch, name, content, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    first = next(iter(examine(name).findings))
    assert (first.line, first.column, first.offset) == place


def test_findings_of_one_kind_are_kept_to_ten_whatever_their_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.jsonl").write_bytes(lines(*[qa(f"q{number}", "") for number in range(25)], qa()))
    found = examine("faq.jsonl")
    (kind,) = found.findings.kinds
    assert (found.rows, kind.code, kind.count, [finding.line for finding in kind.first]) == (1, "empty-content", 25, list(range(1, 11)))
    assert kind.lines[-1] == "  and 15 more of this kind, 25 in all"


def test_the_page_of_all_messages_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == page()  # `make data-errors` writes it


def test_names_of_tools_never_reach_the_terminal_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = {"id": "1", "type": "function", "function": {"name": "rain", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "no"},
        {"role": "assistant", "content": "No."},
    ]
    tools = [{"type": "function", "function": {"name": "rain\u2028", "parameters": {"type": "object", "properties": {}}}}]
    (tmp_path / "faq.jsonl").write_bytes(lines({"messages": messages, "tools": tools}))
    assert r"Did you mean rain\u2028?" in "\n".join(str(finding) for finding in examine("faq.jsonl").findings)
