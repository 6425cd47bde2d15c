"""What holds for every file: texts arrive as they were written, in whatever format; what isn't right is refused in sentences."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import string
import unicodedata
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.building import qa
from tests.fuzz.survival import survive
from unsloth_ft.data import examine, load

LEAN = settings(max_examples=100, deadline=None, database=None, derandomize="CI" in os.environ)

CHARACTERS = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")
# what has nothing to see, and the word that Python writes for a missing value, are refused, and have tests of their own
TEXTS = st.text(CHARACTERS, min_size=1, max_size=30).filter(
    lambda text: text.strip() not in ("", "None") and any(unicodedata.category(character)[0] in "LNS" for character in text)
)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(("user", "assistant", "gpt", "None", "")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("role", "content", "from", "value", "type", "text", "tool_calls", "weight", "name", "function")),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
ROWS = st.dictionaries(
    st.sampled_from(("messages", "conversations", "question", "answer", "text", "system", "tools", "input", "instruction", "output", "x")),
    VALUES,
    max_size=4,
)
NAMES = st.sampled_from(("f.jsonl", "f.json", "f.csv", "f.tsv", "f.jsonl.gz", "f.jsonl.zst", "f.parquet", "f.txt", "f"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


def texts(path: Path) -> list[tuple[str, str]]:
    """Question and answer of each row."""
    return [tuple(message.content for message in row.messages) for row in load(path).conversations]


def json_rows(pairs: list[tuple[str, str]], *, ascii_only: bool, ending: str = "\n") -> bytes:
    return "".join(json.dumps(qa(*pair), ensure_ascii=ascii_only) + ending for pair in pairs).encode()


@LEAN
@given(pairs=PAIRS, ascii_only=st.booleans(), mark=st.booleans(), ending=st.sampled_from(("\n", "\r\n", "\n\n", " \t\n")))
def test_texts_arrive_from_json_lines_as_they_were_written(folder, pairs, ascii_only, mark, ending):
    path = folder / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" * mark + json_rows(pairs, ascii_only=ascii_only, ending=ending))
    assert texts(path) == pairs


@LEAN
@given(pairs=PAIRS, indent=st.sampled_from((None, 0, 1, 4)), ascii_only=st.booleans(), packed=st.sampled_from((None, gzip, zstandard)))
def test_texts_arrive_from_an_array_as_they_were_written(folder, pairs, indent, ascii_only, packed):
    content = json.dumps([qa(*pair) for pair in pairs], indent=indent, ensure_ascii=ascii_only).encode()
    path = folder / "rows.json"
    path.write_bytes(packed.compress(content) if packed else content)
    assert texts(path) == pairs


@LEAN
@given(pairs=PAIRS, delimiter=st.sampled_from(",;\t"), ending=st.sampled_from(("\n", "\r\n")))
def test_texts_arrive_from_csv_as_they_were_written(folder, pairs, delimiter, ending):
    written = io.StringIO(newline="")
    # Python's writer leaves a lone carriage return without quotes, and no reader could tell it from a line's end
    quoting = csv.QUOTE_ALL if any("\r" in text for pair in pairs for text in pair) else csv.QUOTE_MINIMAL
    csv.writer(written, delimiter=delimiter, lineterminator=ending, quoting=quoting).writerows([("question", "answer"), *pairs])
    path = folder / "rows.csv"
    path.write_bytes(written.getvalue().encode())
    assert texts(path) == pairs


@LEAN
@given(pairs=PAIRS)
def test_texts_arrive_from_parquet_as_they_were_written(folder, pairs):
    import pyarrow
    import pyarrow.parquet

    questions, answers = zip(*pairs, strict=True)
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"question": questions, "answer": answers}), path)
    assert texts(path) == pairs


@LEAN
@given(pairs=PAIRS, share=st.floats(0, 1))
def test_a_file_cut_anywhere_keeps_the_rows_before_the_cut_and_has_one_mistake_at_most(folder, pairs, share):
    whole = json_rows(pairs, ascii_only=False)
    cut = whole[: int(share * len(whole))]
    path = folder / "cut.jsonl"
    path.write_bytes(cut)
    taken = []
    found = examine(path, take=taken.append).findings.of("error")
    ends_with_a_row = not cut or cut.endswith((b"\n", b"}"))
    assert [tuple(message.content for message in row.messages) for row in taken] == pairs[: len(taken)]
    assert len(taken) == cut.count(b"\n") + (not cut.endswith(b"\n") and cut.endswith(b'"}') and json_is_whole(cut.rsplit(b"\n", 1)[-1]))
    assert found.count <= 1
    assert found.count == 1 or (cut and ends_with_a_row)


def json_is_whole(line: bytes) -> bool:
    """Whether Python's own parser takes the line."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@LEAN
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_rows_of_any_json_are_taken_or_refused(folder, rows):
    survive(folder / "any.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


@LEAN
@given(name=NAMES, content=st.binary(max_size=80))
def test_any_bytes_under_any_name_are_taken_or_refused(folder, name, content):
    survive(folder / name, content)


@LEAN
@given(text=st.text(string.ascii_letters[:4] + string.digits[:2] + " {}[]\",:\\/.-+eE\n\t'#\x00\x1b\ufeff\u2028é😀\ud800", max_size=40))
def test_text_that_looks_like_json_is_taken_or_refused(folder, text):
    survive(folder / "like.jsonl", text.encode("utf-8", "surrogatepass"))
