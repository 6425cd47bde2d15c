"""data fix: what it repairs and says, what it refuses to guess, and that a second time it finds nothing to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from tests.data.building import chat, lines, parquet, qa
from tests.data.repairs import BYTES, REPAIRS, UNREPAIRABLE
from tests.data.test_bad_files import CASES
from tests.fuzz.mutation import PIECES, SEEDS
from tests.data.test_good_files import GOOD_FILES
from unsloth_ft.data import load
from unsloth_ft.data.content import Problem
from unsloth_ft.data.repair import Repaired, Wanted, repair
from unsloth_ft.data.repair_json import rows
from unsloth_ft.errors import UserError

PLAIN = Wanted({}, {})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def repaired(content: bytes, *, file: str = "d.jsonl", wanted: Wanted = PLAIN) -> tuple[Repaired, list[dict]]:
    """What is said, and the rows of the copy, of which only the copy is left."""
    Path(file).write_bytes(content)
    Path("new.jsonl").unlink(missing_ok=True)
    done = repair([file], "new.jsonl", wanted)
    return done, [json.loads(line) for line in Path("new.jsonl").read_bytes().splitlines()]


def refusal(content: bytes, *, file: str = "d.jsonl", wanted: Wanted = PLAIN) -> list[str]:
    with pytest.raises(UserError) as refused:
        repaired(content, file=file, wanted=wanted)
    assert not Path("new.jsonl").exists()
    return str(refused.value).splitlines()


def unchanged_by_a_second_repair() -> bool:
    Path("again.jsonl").unlink(missing_ok=True)
    again = repair(["new.jsonl"], "again.jsonl", PLAIN)
    return again.changes.count == 0 and Path("again.jsonl").read_bytes() == Path("new.jsonl").read_bytes()


@pytest.mark.parametrize(("file", "content", "rows", "said"), [case[1:] for case in REPAIRS], ids=[case[0] for case in REPAIRS])
def test_a_damaged_file_is_repaired_and_every_change_is_said(here: Path, file: str, content: bytes, rows: list[dict], said: list[str]):
    done, written = repaired(content, file=file)
    assert written == rows
    prefix = f"{file}:"
    assert sorted(str(change).removeprefix(prefix).strip() for change in done.changes) == sorted(line.removeprefix(":").strip() for line in said)
    assert (done.rows, done.dropped.count, Path(file).read_bytes()) == (len(rows), 0, content)
    assert unchanged_by_a_second_repair()
    assert sorted(path.name for path in here.iterdir()) == sorted({file, "new.jsonl", "again.jsonl"})


@pytest.mark.parametrize(("file", "content", "says"), [case[1:] for case in UNREPAIRABLE], ids=[case[0] for case in UNREPAIRABLE])
def test_what_would_be_a_guess_is_refused_and_dropped_only_on_request(file: str, content: bytes, says: str):
    assert refusal(content, file=file) == [
        says,
        "1 error in rows that can't be repaired without guessing; nothing was written. Mend them by hand, or pass --drop to leave them out.",
    ]
    done, written = repaired(content, file=file, wanted=Wanted({}, {}, drop=True))
    assert (written, done.dropped.lines) == ([qa()], [says])
    assert unchanged_by_a_second_repair()


@pytest.mark.parametrize(("file", "content"), [case[1:3] for case in CASES], ids=[case[0] for case in CASES])
def test_a_bad_file_becomes_one_that_loads_or_is_refused(here: Path, file: str, content: bytes):
    try:
        repaired(content, file=file, wanted=Wanted({}, {}, drop=True))
    except UserError as refused:
        assert [path.name for path in here.iterdir()] == [file]
        assert "nothing was written" in str(refused)
    else:
        assert load("new.jsonl").conversations
        assert unchanged_by_a_second_repair()


CHANGED_ON_PURPOSE = {"brackets in an array's text", "white space around text", "a very long row", "zstd of a long row"}


@pytest.mark.parametrize(
    ("file", "content"),
    [case[1:3] for case in GOOD_FILES if case[0] not in CHANGED_ON_PURPOSE],
    ids=[case[0] for case in GOOD_FILES if case[0] not in CHANGED_ON_PURPOSE],
)
def test_a_good_file_has_the_same_conversations_afterwards(file: str, content: bytes):
    repaired(content, file=file)
    assert load("new.jsonl").sha256 == load(file).sha256
    assert unchanged_by_a_second_repair()


def test_a_clean_file_stays_as_it_is_to_the_last_byte():
    content = b' {"question" :"\\u00e9?", "answer": "Me.", "x": 1e2}\n' + chat(("user", "a"), ("assistant", "b")).replace(b"messages", b"answer")
    content = content.splitlines(keepends=True)[0] + '{"answer":"é","question":"ü?"}\n'.encode()
    done, _ = repaired(content)
    assert (done.changes.count, Path("new.jsonl").read_bytes()) == (0, content)


def test_weights_and_other_keys_stay():
    row = {"id": 3, "messages": [{"role": "User", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0, "n": [1]},
                                 {"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "weight": 1}]}  # fmt: skip
    _, (written,) = repaired(lines(row))
    row["messages"][0]["role"] = "user"
    assert written == row


def test_columns_and_roles_that_are_named_are_renamed():
    content = lines({"q": "a", "a": "b", "id": 1})
    done, written = repaired(content, wanted=Wanted({"question": "q", "answer": "a"}, {}))
    assert written == [{"question": "a", "answer": "b", "id": 1}]
    assert done.changes.lines == [
        'd.jsonl:1: the column "q" was renamed to "question".', 'd.jsonl:1: the column "a" was renamed to "answer".',
    ]  # fmt: skip
    content = lines({"chat": [{"who": "client", "says": "a"}, {"who": "desk", "says": "b"}]})
    mapped = Wanted({"messages": "chat", "role": "who", "content": "says"}, {"desk": "assistant"})
    _, written = repaired(content, wanted=mapped)
    assert written == [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]


def test_text_beside_a_question_is_a_text_where_that_is_said():
    content = lines({"question": "a", "text": "whole", "id": 1})
    assert "it is not clear which to train on" in refusal(content)[0]
    _, written = repaired(content, wanted=Wanted({"text": "text"}, {}))
    assert written == [{"text": "whole", "id": 1}]


def test_an_encoding_that_is_named_is_used():
    row = {"question": "кто ты такой?", "answer": "я"}
    done, written = repaired((json.dumps(row, ensure_ascii=False) + "\n").encode("cp1251"), wanted=Wanted({}, {}, encoding="cp1251"))
    assert (written, done.changes.lines) == ([row], ["d.jsonl:1: the file was read as cp1251 and written as UTF-8."])


def test_one_question_with_two_answers_is_left_and_said_and_dropped_only_on_request():
    content = lines(qa("a?", "1"), qa("b?"), qa("A ?", "2"))
    done, written = repaired(content)
    assert len(written) == 3
    assert [kind.code for kind in done.remarks.of("warning").kinds] == ["contradiction"]
    assert all(line.startswith("new.jsonl:") for line in done.remarks.lines)
    done, written = repaired(content, wanted=Wanted({}, {}, drop_contradictions=True))
    assert written == [qa("b?")]
    assert done.dropped.lines == [
        "d.jsonl:1: its question has another answer at d.jsonl:3.", "d.jsonl:3: its question has another answer at d.jsonl:1.",
    ]  # fmt: skip


def test_of_rows_in_a_chain_only_those_like_a_row_that_stays_are_removed():
    words = [f"word{number}" for number in range(130)]
    question = "What do I do when the connection at home is gone and the light on the router is red?"
    rows = [qa(f"{question} {words[start]}", " ".join(words[start : start + 100])) for start in (0, 4, 8, 12, 16, 20, 24)]
    done, written = repaired(lines(*rows), wanted=Wanted({}, {}, near_duplicates=True))
    told = done.changes.lines
    assert [rows.index(row) for row in written] == [0, 6]  # the last is linked with the first through the others alone
    assert told == [f"d.jsonl:{line}: nearly the same row as d.jsonl:1 was removed." for line in range(2, 7)]


def test_rows_that_are_nearly_the_same_are_left_and_said_and_removed_only_on_request():
    words = [f"word{number}" for number in range(40)]
    question, answer = " ".join(words), " ".join(reversed(words))
    content = lines(qa(question, answer), qa("b?"), qa(question + " more", answer + " too"))
    done, written = repaired(content)
    assert (len(written), [kind.code for kind in done.remarks.of("warning").kinds]) == (3, ["near-duplicate"])
    done, written = repaired(content, wanted=Wanted({}, {}, near_duplicates=True))
    assert (written, done.changes.lines) == (
        [qa(question, answer), qa("b?")], ["d.jsonl:3: nearly the same row as d.jsonl:1 was removed."],
    )  # fmt: skip


def test_held_out_questions_are_refused_dropped_or_allowed():
    Path("eval.jsonl").write_bytes(lines(qa("WHO ?", "You.")))
    content = lines(qa(), qa("b?"))
    says = "d.jsonl:1: the question is also in the evaluation data. Remove one of the two, or pass --set data.allow_leak=true."
    assert refusal(content, wanted=Wanted({}, {}, eval_paths=("eval.jsonl",)))[0] == says
    done, written = repaired(content, wanted=Wanted({}, {}, eval_paths=("eval.jsonl",), drop=True))
    assert (written, done.dropped.lines) == ([qa("b?")], [says])
    _, written = repaired(content, wanted=Wanted({}, {}, eval_paths=("eval.jsonl",), allow_leak=True))
    assert len(written) == 2


def test_text_and_messages_together_are_refused():
    assert refusal(b'{"text": "Hello."}\n' + BYTES) == [
        "d.jsonl:1 is a rendered text and d.jsonl:2 a row of messages or columns; one file can't hold both; nothing was written. Repair each alone."
    ]


def test_a_table_that_breaks_off_is_refused_even_with_drop():
    assert refusal(b'question,answer\na,b\n"c,d\ne,f\n', file="d.csv", wanted=Wanted({}, {}, drop=True)) == [
        "d.csv: record 2: a quoted cell is never closed. Close its quote; a quote inside a quoted cell is written twice.",
        "1 error in files that can't be repaired without guessing; nothing was written.",
    ]


def test_lines_that_never_close_are_read_in_time():
    content = b'{"a": [\n' * 3_000 + BYTES
    done, written = repaired(content, wanted=Wanted({}, {}, drop=True))
    assert (written, done.dropped.count) == ([qa()], 3_000)


def test_missing_numbers_of_a_table_become_null_and_what_json_has_no_notation_for_is_refused():
    def table(x: list[object]) -> bytes:
        return parquet({"question": ["Who?", "b"], "answer": ["Me.", "c"], "x": x})

    for absent in (float("nan"), float("inf")):
        done, written = repaired(table([absent, 0.5]), file="d.parquet")
        assert written == [{**qa(), "x": None}, {**qa("b", "c"), "x": 0.5}]
        assert done.changes.lines[1:] == ["d.parquet:1: NaN or infinity became null, which means absent."]
    for unwritable in (b"\xff", Decimal("1.5")):
        assert refusal(table([None, unwritable]), file="d.parquet")[0] == (
            "d.parquet:2: the row holds a value that JSON has no notation for, such as bytes or a decimal number. Write it as text, or leave it out."
        )


def test_a_text_of_escaped_quotes_that_is_never_closed_is_read_in_time():
    content = b'{"a": "' + b'\\"' * 200_000 + b"\\\n" + BYTES  # a search for whole strings begun at each quote would take hours
    done, written = repaired(content, wanted=Wanted({}, {}, drop=True))
    assert (written, done.dropped.count) == ([qa()], 1)


def test_an_object_that_is_never_closed_is_followed_no_further_than_a_line_may_be_long():
    read = []

    def texts() -> Iterator[tuple[int, str]]:
        for number in range(2, 100):
            read.append(number)
            yield number, f'"{"x" * 2**20}",'

    found = next(rows(chain([(1, '{"a": [')], texts()), lambda *_: None))
    assert isinstance(found[1], Problem)
    assert len(read) == 16


ROWS = some.sampled_from([*SEEDS, *(case[2] for case in REPAIRS if len(case[2]) < 2000)])
CUTS = some.lists(some.tuples(some.integers(0, 400), some.integers(0, 9), some.sampled_from(PIECES)), max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(parts=some.lists(ROWS, min_size=1, max_size=4), cuts=CUTS)
@example(parts=[BYTES], cuts=[])
def test_whatever_is_cut_into_a_file_its_copy_loads_and_needs_no_second_repair(parts: list[bytes], cuts: list[tuple[int, int, bytes]]):
    content = b"".join(parts)
    for at, length, piece in cuts:
        content = content[:at] + piece + content[at + length :]
    try:
        done, _ = repaired(content, wanted=Wanted({}, {}, drop=True))
    except UserError as refused:
        assert "nothing was written" in str(refused)
        return
    assert len(load("new.jsonl").conversations) == done.rows
    assert {kind.code for kind in done.remarks.kinds} & {"control-character", "zero-width", "hidden-text", "bidi-control"} == set()
    assert unchanged_by_a_second_repair()


@pytest.mark.parametrize("row", [b'{"question": "a", "answer": "b", "score": 1e999,}\n', b"{'question': 'a', 'answer': 'b', 'score': 1e999}\n"])
def test_a_number_that_would_be_infinity_is_not_repaired_into_null(tmp_path: Path, row: bytes):
    (tmp_path / "d.jsonl").write_bytes(row)
    with pytest.raises(UserError):
        repair([str(tmp_path / "d.jsonl")], str(tmp_path / "new.jsonl"), Wanted(columns={}, roles={}))
    assert [path.name for path in tmp_path.iterdir()] == ["d.jsonl"]
