"""Files that look odd and are right: each loads without an error, with exactly the content that is in it."""

from __future__ import annotations

import gzip
import json

import pyarrow
import pytest
import zstandard

from tests.data.building import GOOD, chat, lines, parquet, qa
from unsloth_ft.data import load

WHO = [("user", "Who?"), ("assistant", "Me.")]
LONG = "a sentence of some length, " * 100_000
CODE = 'def f(x):\n\treturn {"a": [x, {1: "}"}]}  # \\n "quoted" {{ }} </s>'


def asked(question: str, answer: str = "Me.") -> list[tuple[str, str]]:
    return [("user", question), ("assistant", answer)]


GOOD_FILES: list[tuple[str, str, bytes, list[list[tuple[str, str]]]]] = [
    ("JSON Lines", "faq.jsonl", lines(qa(), qa("b", "c")), [WHO, asked("b", "c")]),
    ("byte order mark", "faq.jsonl", b"\xef\xbb\xbf" + lines(qa()), [WHO]),
    ("CRLF", "faq.jsonl", lines(qa(), qa("b", "c")).replace(b"\n", b"\r\n"), [WHO, asked("b", "c")]),
    ("no line break at the end", "faq.jsonl", lines(qa())[:-1], [WHO]),
    ("blank last lines", "faq.jsonl", lines(qa()) + b"\n  \n\r\n", [WHO]),
    ("blank lines between", "faq.jsonl", b"\n" + lines(qa()) + b"\n" + lines(qa("b")), [WHO, asked("b")]),
    ("space around the object", "faq.jsonl", b" \t" + lines(qa())[:-1] + b"  \n", [WHO]),
    ("an array in .jsonl", "faq.jsonl", json.dumps([qa(), qa("b")]).encode(), [WHO, asked("b")]),
    ("a pretty-printed array", "faq.json", json.dumps([qa(), qa("b")], indent=4).encode(), [WHO, asked("b")]),
    ("an array with a byte order mark", "faq.json", b"\xef\xbb\xbf\r\n [" + lines(qa()) + b"]\r\n", [WHO]),
    ("JSON Lines in .json", "faq.json", lines(qa(), qa("b")), [WHO, asked("b")]),
    ("JSON Lines in .txt", "faq.txt", lines(qa()), [WHO]),
    ("upper-case ending", "FAQ.JSONL", lines(qa()), [WHO]),
    ("brackets in an array's text", "faq.json", json.dumps([qa("]}],", '"}, {\\')] * 2).encode(), [asked("]}],", '"}, {\\')] * 2),
    ("emoji", "faq.jsonl", '{"question": "👩‍👩‍👧 🇩🇪?", "answer": "\\ud83d\\ude00 ✅"}'.encode(), [asked("👩‍👩‍👧 🇩🇪?", "😀 ✅")]),
    ("right to left", "faq.jsonl", lines(qa("ما هو؟", "שלום \u200f(1)")), [asked("ما هو؟", "שלום \u200f(1)")]),
    (
        "raw Unicode line separators",
        "faq.jsonl",
        json.dumps(qa("a\u2028b\u2029c\x85d"), ensure_ascii=False).encode(),
        [asked("a\u2028b\u2029c\x85d")],
    ),
    ("combining and wide characters", "faq.jsonl", lines(qa("e\u0301 Ｗｉｄｅ ﬁ")), [asked("e\u0301 Ｗｉｄｅ ﬁ")]),
    ("code with braces", "faq.jsonl", lines(qa("code", CODE)), [asked("code", CODE)]),
    ("numbers in text", "faq.jsonl", lines(qa("2+2", "4"), qa("1e999", "-0.0")), [asked("2+2", "4"), asked("1e999", "-0.0")]),
    (
        "words like literals",
        "faq.jsonl",
        lines(qa("null", "None of them."), qa("NaN?", "true")),
        [asked("null", "None of them."), asked("NaN?", "true")],
    ),
    ("white space around text", "faq.jsonl", lines(qa(" a\n", "\n\n b ")), [asked(" a\n", "\n\n b ")]),
    ("a very long row", "faq.jsonl", lines(qa("long", LONG)), [asked("long", LONG)]),
    ("depth 64", "faq.jsonl", lines({**qa(), "x": json.loads("[" * 63 + "]" * 63)}), [WHO]),
    ("100 brackets in text", "faq.jsonl", lines(qa("[" * 100, "{" * 100)), [asked("[" * 100, "{" * 100)]),
    ("extra keys", "faq.jsonl", lines({"id": 1, "meta": {"a": [None, 1.5]}, **qa(), "lang": None, "tags": ["x"]}), [WHO]),
    ("empty tools and history", "faq.jsonl", lines({**qa(), "tools": [], "history": None}), [WHO]),
    ("system beside a pair", "faq.jsonl", lines({**qa(), "system": "Be brief."}), [[("system", "Be brief."), *WHO]]),
    ("null system", "faq.jsonl", lines({**qa(), "system": None}, {**qa("b"), "system": ""}), [WHO, asked("b")]),
    ("prompt and completion", "faq.jsonl", lines({"prompt": "Who?", "completion": "Me."}), [WHO]),
    ("instruction without input", "faq.jsonl", lines({"instruction": "Who?", "input": "", "output": "Me."}), [WHO]),
    ("instruction with null input", "faq.jsonl", lines({"instruction": "Who?", "input": None, "output": "Me."}), [WHO]),
    ("instruction with input", "faq.jsonl", lines({"instruction": "Add.", "input": "2 2", "output": "4"}), [asked("Add.\n\n2 2", "4")]),
    ("Alpaca's text beside it", "faq.jsonl", lines({"instruction": "Who?", "output": "Me.", "text": "### Who?"}), [WHO]),
    ("messages", "faq.jsonl", chat(*WHO), [WHO]),
    ("several turns", "faq.jsonl", chat(("system", "s"), *WHO, *WHO), [[("system", "s"), *WHO, *WHO]]),
    (
        "tool messages",
        "faq.jsonl",
        chat(*WHO, ("tool", "t"), ("tool", "u"), ("assistant", "b")),
        [[*WHO, ("tool", "t"), ("tool", "u"), ("assistant", "b")]],
    ),
    ("empty system message", "faq.jsonl", chat(("system", ""), *WHO), [WHO]),
    (
        "null tool calls",
        "faq.jsonl",
        lines({"messages": [{"role": role, "content": text, "tool_calls": None} for role, text in WHO]}),
        [WHO],
    ),
    ("text parts", "faq.jsonl", chat(("user", [{"type": "text", "text": "Wh"}, {"type": "text", "text": "o?"}]), WHO[1]), [WHO]),
    ("a user who says None", "faq.jsonl", chat(*WHO, ("user", "None"), ("assistant", "b")), [[*WHO, ("user", "None"), ("assistant", "b")]]),
    ("ShareGPT", "faq.jsonl", lines({"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]}), [WHO]),
    (
        "ShareGPT with a system key",
        "faq.jsonl",
        lines({"system": "s", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]}),
        [[("system", "s"), *WHO]],
    ),
    (
        "role and content in conversations",
        "faq.jsonl",
        lines({"conversations": [{"role": role, "content": text} for role, text in WHO]}),
        [WHO],
    ),
    (
        "prompt beside messages",
        "faq.jsonl",
        lines({"prompt": "Who?", "messages": [{"role": role, "content": text} for role, text in WHO]}),
        [WHO],
    ),
    ("gzip", "faq.jsonl.gz", gzip.compress(lines(qa())), [WHO]),
    ("gzip without its ending", "faq.jsonl", gzip.compress(lines(qa())), [WHO]),
    ("two gzip members", "faq.jsonl.gz", gzip.compress(lines(qa())) + gzip.compress(lines(qa("b"))), [WHO, asked("b")]),
    ("zstd", "faq.jsonl.zst", zstandard.compress(lines(qa())), [WHO]),
    ("two zstd frames", "faq.jsonl.zst", zstandard.compress(lines(qa())) + zstandard.compress(lines(qa("b"))), [WHO, asked("b")]),
    ("zstd of a long row", "faq.json.zst", zstandard.compress(json.dumps([qa("long", LONG)]).encode()), [asked("long", LONG)]),
    ("CSV", "faq.csv", b"question,answer\nWho?,Me.\n", [WHO]),
    ("CSV from a spreadsheet", "faq.csv", b"\xef\xbb\xbfquestion;answer\r\nWho?;Me.\r\n", [WHO]),
    ("CSV with quotes and line breaks", "faq.csv", b'id,question,answer\n1,"a ""b"", c","d\ne"\n', [asked('a "b", c', "d\ne")]),
    ("CSV with an empty column", "faq.csv", b"instruction,input,output\nWho?,,Me.\n", [WHO]),
    ("CSV with a long cell", "faq.csv", b"question,answer\nlong," + b"x" * 300_000 + b"\n", [asked("long", "x" * 300_000)]),
    ("CSV of numbers", "faq.csv", b"question,answer\n1,007\n", [asked("1", "007")]),
    ("CSV packed", "faq.csv.gz", gzip.compress(b"question,answer\nWho?,Me.\n"), [WHO]),
    ("tabs", "faq.tsv", b"question\tanswer\nWho?, you\tMe.\n", [asked("Who?, you")]),
    ("Parquet", "faq.parquet", parquet({"question": ["Who?", "b"], "answer": ["Me.", "c"]}), [WHO, asked("b", "c")]),
    ("Parquet of messages", "faq.parquet", parquet({"messages": [[{"role": role, "content": text} for role, text in WHO]]}), [WHO]),
    ("Parquet with nulls", "faq.parquet", parquet({"instruction": ["Who?"], "input": [None], "output": ["Me."], "text": [None]}), [WHO]),
    (
        "Parquet with nanoseconds",
        "faq.parquet",
        parquet({"question": ["Who?"], "answer": ["Me."], "at": pyarrow.array([1], pyarrow.timestamp("ns"))}),
        [WHO],
    ),
]


@pytest.mark.parametrize(("file", "content", "expected"), [case[1:] for case in GOOD_FILES], ids=[case[0] for case in GOOD_FILES])
def test_good_file_gives_exactly_its_content(tmp_path, monkeypatch, file, content, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_bytes(content)
    dataset = load(file)
    assert [[(message.role, message.content) for message in row.messages] for row in dataset.conversations] == expected
    assert [row.text for row in dataset.conversations] == [None] * len(expected)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_table_of_good_files_has_distinct_names():
    names = [case[0] for case in GOOD_FILES]
    assert len(names) == len(set(names)) >= 30


def test_rendered_text_is_kept_as_it_is(tmp_path):
    rendered = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nMe.<|im_end|>\n"
    (tmp_path / "faq.jsonl").write_bytes(lines({"text": rendered, "id": 7}))
    dataset = load(tmp_path / "faq.jsonl")
    assert [(row.text, row.messages) for row in dataset.conversations] == [(rendered, ())]
    assert dataset.shape == "text"


def test_lines_are_those_of_the_file_and_records_are_counted_in_arrays_and_tables(tmp_path):
    contents = {
        "a.jsonl": b"\n" + lines(qa()) + b"\n" + lines(qa("b")),
        "a.json": json.dumps([qa(), qa("b")], indent=2).encode(),
        "a.csv": b'question,answer\n"Who\n?",Me.\nb,c\n',
        "a.parquet": parquet({"question": ["Who?", "b"], "answer": ["Me.", "c"]}),
    }
    found = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        found[name] = [row.line for row in load(tmp_path / name).conversations]
    assert found == {"a.jsonl": [2, 4], "a.json": [1, 2], "a.csv": [1, 2], "a.parquet": [1, 2]}


def test_same_rows_have_the_same_hash_in_every_format(tmp_path):
    contents = {
        "a.jsonl": lines(qa(), qa("b", "c")),
        "b.json": json.dumps([qa(), qa("b", "c")], indent=2).encode(),
        "c.csv": b"question,answer\nWho?,Me.\nb,c\n",
        "d.parquet": parquet({"question": ["Who?", "b"], "answer": ["Me.", "c"]}),
        "e.jsonl.gz": gzip.compress(chat(*WHO) + chat(("user", "b"), ("assistant", "c"))),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    hashes = {load(tmp_path / name).sha256 for name in contents}
    assert hashes == {"08fdbe211e258128537f6891bf3cf1015319dcb503fbee24970fe745029f98a1"}


def test_files_are_named_by_path_hash_bytes_and_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text(GOOD)
    (tmp_path / "b.csv").write_bytes(b"question,answer\nb,c\nd,e\n")
    dataset = load(["a.jsonl", "b.csv"])
    assert [(fact.path, fact.bytes, fact.rows) for fact in dataset.files] == [("a.jsonl", 37, 1), ("b.csv", 24, 2)]
    assert dataset.files[1].sha256 == "9225419b7bc3623adbc7a1c07ce7dfb5b6f86e7c4be924fa4702c2ee6611837d"
    assert [row.where for row in dataset.conversations] == ["a.jsonl:1", "b.csv:1", "b.csv:2"]
    assert dataset.shape == "question/answer"


def test_files_of_different_shapes_can_be_given_together(tmp_path):
    (tmp_path / "a.jsonl").write_text(GOOD)
    (tmp_path / "b.jsonl").write_bytes(chat(("user", "b"), ("assistant", "c")))
    assert load([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]).shape == "question/answer + messages"
