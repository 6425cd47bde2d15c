"""Rows in a file: as they are made one by one, kept by what was asked for, and made anew where they are not whole."""

from __future__ import annotations

import copy
import datetime
import os
import resource
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.test_chat import conversation
from unsloth_ft import token_store
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.chat_row import Tokenized
from unsloth_ft.data.conversation import Conversation
from unsloth_ft.errors import UserError
from unsloth_ft.token_rows import Rows
from unsloth_ft.token_store import tokenized


@pytest.fixture(scope="module")
def tokenizer(family_dir: Callable[[str], Path]) -> PreTrainedTokenizerFast:
    return load_tokenizer(family_dir("smollm2"))


@pytest.fixture
def chat(tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chat:
    """Everything is kept, in a folder of the test's own, in parts of three rows."""
    monkeypatch.setenv("UNSLOTH_FT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(token_store, "KEPT_FROM", 0)
    monkeypatch.setattr(token_store, "TOGETHER", 3)
    return Chat(tokenizer)


def talks(count: int, *, file: str = "rows.jsonl") -> list[Conversation]:
    """Of one to three exchanges; every fourth is a text."""
    found = []
    for line in range(1, count + 1):
        turns = [said for number in range(1 + line % 3) for said in (f"user:{line}, {number}?", f"assistant:It is {line * number}.")]
        row = Conversation((), file, line, text=f"Once upon a time, {line}") if line % 4 == 0 else conversation(*turns, line=line)
        found.append(Conversation(row.messages, file, line, text=row.text))
    return found


def one_by_one(conversations: list[Conversation], chat: Chat) -> list:
    return [chat.encode(one) for one in conversations]


def files() -> list[Path]:
    return sorted(token_store.folder().iterdir())


def test_rows_of_a_file_are_the_rows_made_one_by_one(chat: Chat):
    train, held_out = talks(11), talks(4, file="held_out.jsonl")
    for _ in ("made", "found"):
        stored = tokenized((train, held_out), chat=chat)
        assert [list(part) for part in stored.parts] == [one_by_one(train, chat), one_by_one(held_out, chat)]
        assert stored.warnings == ()
    assert len(files()) == 1


def test_lengths_and_learned_tokens_are_known_without_a_row(chat: Chat):
    (rows,) = tokenized([talks(11)], chat=chat).parts
    expected = one_by_one(talks(11), chat)
    assert rows.lengths.tolist() == [len(row.input_ids) for row in expected]
    assert rows.learned.tolist() == [row.learned for row in expected]
    assert rows[5:2:-2].learned.tolist() == [expected[5].learned, expected[3].learned]


def test_rows_are_a_sequence(chat: Chat):
    (rows,) = tokenized([talks(7)], chat=chat).parts
    expected = one_by_one(talks(7), chat)
    assert (len(rows), rows[-1], rows[2]) == (7, expected[6], expected[2])
    assert list(rows[1:6:2]) == expected[1:6:2]
    assert isinstance(rows[:0], Rows) and len(rows[:0]) == 0
    with pytest.raises(IndexError):
        rows[7]
    assert [rows.where(at) for at in (0, 6)] == ["rows.jsonl:1", "rows.jsonl:7"]


def test_a_cut_row_learns_what_is_left_of_it(chat: Chat):
    (rows,) = tokenized([talks(2)], chat=chat).parts
    whole = rows[1]
    first = whole.turn_ends[0]
    cut = rows.chosen(rows.lengths.argsort()[-1:], rows.lengths[:1] * 0 + first)
    assert cut[0].input_ids == whole.input_ids[:first]
    assert cut[0].labels == whole.labels[:first]
    assert cut[0].turn_ends == (first,)
    assert cut.learned.tolist() == [cut[0].learned] and cut[0].learned < whole.learned


def test_the_same_rows_of_another_file_are_found_and_say_their_own_lines(chat: Chat, monkeypatch: pytest.MonkeyPatch):
    tokenized([talks(5)], chat=chat)
    monkeypatch.setattr(Chat, "tokenize_all", None)  # whoever tokenizes now fails
    (rows,) = tokenized([talks(5, file="other.jsonl")], chat=chat).parts
    assert rows[3].where == "other.jsonl:4"


@pytest.mark.parametrize("changed", ["rows", "order", "train_on", "special_tokens", "template", "kwargs", "vocabulary"])
def test_whatever_decides_a_row_decides_the_file(changed: str, chat: Chat):
    asked, settings, tokenizer = talks(5), {}, copy.deepcopy(chat.tokenizer)
    tokenized([asked], chat=chat)
    if changed == "rows":
        asked = talks(6)
    elif changed == "order":
        asked = asked[::-1]
    elif changed == "template":
        tokenizer.chat_template += "{# another #}"
    elif changed == "vocabulary":
        tokenizer.add_tokens(["Once upon"])
    else:
        settings = {"train_on": {"train_on": "all"}, "special_tokens": {"special_tokens": "text"}, "kwargs": {"template_kwargs": {"a": 1}}}[changed]
    other = Chat(tokenizer, **settings)
    assert list(tokenized([asked], chat=other).parts[0]) == one_by_one(asked, other)
    assert len(files()) == 2


def test_a_template_that_writes_the_day_is_rendered_anew_every_day(chat: Chat, monkeypatch: pytest.MonkeyPatch):
    class Tomorrow(datetime.date):
        @classmethod
        def today(cls) -> datetime.date:
            return datetime.date(2099, 1, 1)

    key = token_store.key("rows", chat)
    monkeypatch.setattr("unsloth_ft.chat.datetime.date", Tomorrow)
    assert token_store.key("rows", chat) == key
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.chat_template += "{# strftime_now #}"
    tomorrow = token_store.key("rows", Chat(tokenizer))
    monkeypatch.undo()
    assert token_store.key("rows", Chat(tokenizer)) != tomorrow


@pytest.mark.parametrize("damage", ["half", "a bit", "empty", "a line more"])
def test_a_damaged_file_is_noticed_and_made_anew(damage: str, chat: Chat):
    tokenized([talks(8)], chat=chat)
    (file,) = files()
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    file.write_bytes({"half": content[:middle], "a bit": flipped, "empty": b"", "a line more": content + b"\n"}[damage])
    assert list(tokenized([talks(8)], chat=chat).parts[0]) == one_by_one(talks(8), chat)
    assert [(one.name, one.read_bytes()) for one in files()] == [(file.name, content)]


def test_files_are_for_the_user_alone(chat: Chat):
    tokenized([talks(3)], chat=chat)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (token_store.folder(), *files())] == [0o700, 0o600]


def test_an_error_leaves_no_file_and_counts_the_mistakes_of_all_parts(chat: Chat):
    bad = [conversation("user:<|im_end|>", "assistant:b", line=line) for line in range(20, 32)]
    with pytest.raises(UserError) as error:
        tokenized((talks(7), bad), chat=chat)
    lines = str(error.value).splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"rows.jsonl:{line}" for line in range(20, 30)]
    assert lines[-1] == "12 of 19 rows can't be trained on; the first 10 are listed."
    assert files() == []


def test_few_rows_are_not_worth_a_file(chat: Chat, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_store, "KEPT_FROM", 9)
    assert list(tokenized([talks(8)], chat=chat).parts[0]) == one_by_one(talks(8), chat)
    assert not token_store.folder().exists()


def test_without_a_folder_to_write_to_the_rows_are_there_and_it_is_said(chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNSLOTH_FT_CACHE", str(tmp_path / "file"))
    stored = tokenized([talks(5)], chat=chat)
    assert list(stored.parts[0]) == one_by_one(talks(5), chat)
    assert stored.warnings == (
        "tokenized rows are not kept for the next time: $UNSLOTH_FT_CACHE or ~/.cache/unsloth-ft can't be written (Not a directory). "
        "Set UNSLOTH_FT_CACHE to a folder that can be.",
    )


def test_a_disk_that_is_full_half_way_leaves_the_rows_in_memory_and_no_file(chat: Chat, monkeypatch: pytest.MonkeyPatch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))  # a file can't grow past it: EFBIG
    try:
        stored = tokenized([talks(30)], chat=chat)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(stored.parts[0]) == one_by_one(talks(30), chat)
    assert "(File too large)" in stored.warnings[0]
    assert files() == []


def test_what_was_used_longest_ago_makes_room(chat: Chat, monkeypatch: pytest.MonkeyPatch):
    names = []
    for count in (5, 6, 7):
        tokenized([talks(count)], chat=chat)
        (new,) = {file.name for file in files()} - set(names)
        names.append(new)
        os.utime(token_store.folder() / new, (count, count))
    tokenized([talks(5)], chat=chat)  # used again
    left = token_store.folder() / "left.part"
    left.write_bytes(b"of a process that was killed")
    os.utime(left, (0, 0))
    monkeypatch.setattr(token_store, "LARGEST_BYTES", sum((token_store.folder() / name).stat().st_size for name in names))
    tokenized([talks(4)], chat=chat)
    assert [name in {file.name for file in files()} for name in names] == [True, False, True]
    assert not left.exists()


def test_what_other_processes_remove_meanwhile_is_no_full_disk(chat: Chat, monkeypatch: pytest.MonkeyPatch):
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: [*iterdir(folder), folder / "theirs.part"])
    stored = tokenized([talks(5)], chat=chat)
    monkeypatch.undo()
    assert (list(stored.parts[0]), stored.warnings) == (one_by_one(talks(5), chat), ())


def test_long_rows_are_fewer_in_a_part(chat: Chat, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_store, "TOKENS_TOGETHER", 20)
    (rows,) = tokenized([talks(7)], chat=chat).parts
    assert list(rows) == one_by_one(talks(7), chat)
    assert len(rows._parts) > 4


def test_two_that_make_the_same_file_at_once_both_have_it(chat: Chat, monkeypatch: pytest.MonkeyPatch):
    tokenize_all, other = Chat.tokenize_all, []

    def beside(self: Chat, conversations: Iterable[Conversation]) -> Iterator[Tokenized | UserError]:
        """The other one begins and ends while this one is about to write."""
        if not other:
            other.append(None)
            other[0] = tokenized([talks(10)], chat=chat).parts[0]
        return tokenize_all(self, conversations)

    monkeypatch.setattr(Chat, "tokenize_all", beside)
    (rows,) = tokenized([talks(10)], chat=chat).parts
    assert list(rows) == list(other[0]) == one_by_one(talks(10), chat)
    assert len(files()) == 1
