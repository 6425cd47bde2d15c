"""Many conversations lie in a file and come back as they were."""

from __future__ import annotations

import json
import resource
import tempfile
from pathlib import Path

import pytest

from unsloth_ft import data
from unsloth_ft.data import Conversation, Joined, Message, shelf
from unsloth_ft.data.shelf import Shelf
from unsloth_ft.errors import MachineError

ASKED = Message("user", "Wie heißt „é“? \U0001f1eb\u2028")
CALL = Message("assistant", "", tool_calls='[{"id":"a1"}]')
CONVERSATIONS = [
    Conversation((ASKED, Message("assistant", "a\n\x00b")), "one.jsonl", 3),
    Conversation((ASKED, CALL, Message("tool", "{}", tool_call_id="a1"), Message("assistant", "x", learned=False)), "one.jsonl", 9, tools="[]"),
    Conversation((), "two.csv", 1, text="Once upon"),
    Conversation((ASKED, Message("assistant", "z")), "one.jsonl", 2**40),
]


@pytest.fixture
def full() -> Shelf:
    found = Shelf()
    for conversation in CONVERSATIONS:
        found.append(conversation)
    return found


def test_conversations_come_back_as_they_were(full: Shelf):
    assert list(full) == CONVERSATIONS
    assert (len(full), full[-1], full[1]) == (4, CONVERSATIONS[3], CONVERSATIONS[1])
    with pytest.raises(IndexError):
        full[4]


def test_a_part_of_a_part_is_found_without_copying(full: Shelf):
    odd = full[::-1].chosen([0, 2, 3])
    assert list(odd) == [CONVERSATIONS[3], CONVERSATIONS[1], CONVERSATIONS[0]]
    assert list(odd[1:]) == [CONVERSATIONS[1], CONVERSATIONS[0]]
    assert list(full) == CONVERSATIONS


def test_several_one_behind_the_other_are_one_sequence(full: Shelf):
    joined = Joined(full, (), tuple(CONVERSATIONS[:2]), full.chosen([3]))
    expected = [*CONVERSATIONS, *CONVERSATIONS[:2], CONVERSATIONS[3]]
    assert (len(joined), list(joined), [joined[at] for at in range(len(joined))]) == (7, expected, expected)
    assert (joined[-1], joined[-7], joined[2:6:2]) == (expected[-1], expected[0], tuple(expected[2:6:2]))
    with pytest.raises(IndexError):
        joined[7]
    assert (len(Joined()), list(Joined())) == (0, [])


def test_a_disk_that_is_full_when_a_row_is_looked_at_is_the_machines():
    found = Shelf()
    found.append(Conversation((), "one.csv", 1, text="a" * 2000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(MachineError) as refused:
            found[0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    says = f"the rows don't fit into {tempfile.gettempdir()}: File too large. Free some space, or set TMPDIR to another folder."
    assert str(refused.value) == says


def test_the_hash_is_that_of_the_conversations(full: Shelf):
    assert data.conversations_sha256(full) == data.conversations_sha256(CONVERSATIONS)


def test_many_rows_of_a_file_are_split_as_few_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "rows.jsonl"
    rows = [{"question": f"{number * 7919 % 1000} of what?", "answer": f"of {number * 31}"} for number in range(40)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    few = data.load(file)
    monkeypatch.setattr(shelf, "HELD", 10)
    many = data.load(file)
    assert (type(few.conversations), type(many.conversations)) == (tuple, Shelf)
    assert tuple(many.conversations) == few.conversations
    assert many.sha256 == few.sha256
    expected, found = data.split(few.conversations, seed=1), data.split(many.conversations, seed=1)
    assert (tuple(found.train), tuple(found.held_out)) == (expected.train, expected.held_out)
    assert type(found.train) is Shelf
