"""What training sees of the data: rows that fit, rows that are cut or dropped, and the row that is shown."""

from __future__ import annotations

import pytest

from tests.stored import stored
from tests.test_chat import conversation
from unsloth_ft.chat import IGNORE, Chat, Row, load_tokenizer
from unsloth_ft.data.conversation import Conversation
from unsloth_ft.errors import UserError
from unsloth_ft.xray import XRay, encode_all, fit, look, measure, pieces


@pytest.fixture(scope="session")
def smollm2_chat(family_dir):
    return Chat(load_tokenizer(family_dir("smollm2")))


def row(length: int, *turn_ends: int, line: int = 1) -> Row:
    """Ids 10, 11, …; two learned tokens before each turn end."""
    ids = tuple(range(10, 10 + length))
    learned = {at for end in turn_ends for at in (end - 2, end - 1)}
    return Row(ids, tuple(index if at in learned else IGNORE for at, index in enumerate(ids)), f"rows.jsonl:{line}", turn_ends)


def test_a_row_that_fits_is_kept_as_it_is():
    rows = (row(8, 8), row(7, 6))
    kept, *others = fit(stored(*rows), 8)
    assert (tuple(kept), *others) == (rows, (), (), 0)


def test_a_long_row_is_cut_behind_its_last_whole_answer_and_counted():
    kept, cut, dropped, lost = fit(stored(row(20, 6, 12, 19, line=4)), 18)
    assert tuple(kept) == (Row(tuple(range(10, 22)), (*[-100] * 4, 14, 15, *[-100] * 4, 20, 21), "rows.jsonl:4", (6, 12)),)
    assert (cut, dropped, lost) == (("rows.jsonl:4",), (), 8)


@pytest.mark.parametrize(("length", "tokens"), [(19, 19), (18, 12), (12, 12), (11, 6), (6, 6)])
def test_the_cut_is_never_inside_an_answer(length, tokens):
    ((kept,), cut, dropped, lost) = fit(stored(row(20, 6, 12, 19)), length)
    assert len(kept.input_ids) == len(kept.labels) == tokens == 20 - lost
    assert kept.labels[-2:] == kept.input_ids[-2:]
    assert (len(cut), dropped) == (1, ())


def test_a_row_whose_first_answer_does_not_fit_is_dropped_and_counted():
    rows = (row(20, 6, 19, line=1), row(5, 5, line=2), row(9, 9, line=3))
    kept, *others = fit(stored(*rows), 5)
    assert (tuple(kept), *others) == ((rows[1],), (), ("rows.jsonl:1", "rows.jsonl:3"), 29)


def test_no_row_left_is_refused_with_the_length_that_would_do():
    with pytest.raises(UserError) as error:
        look(stored(row(20, 6, 19), row(9, 9)), 5, None)
    assert str(error.value) == "no row fits into max_seq_length 5; the shortest has 9 tokens. Pass --set max_seq_length=9 or more."


def test_the_xray_counts_rows_tokens_and_what_is_lost(smollm2_chat):
    talk = [turn for number in range(3) for turn in (f"user:question {number}", f"assistant:answer {number}")]
    long_question = (f"user:{'a ' * 60}", talk[1])
    asked = [conversation(*said, line=line) for line, said in enumerate((talk[:2], talk, long_question), start=1)]
    rows = encode_all(asked, smollm2_chat)
    lengths = [len(row.input_ids) for row in rows]
    kept, seen = look(rows, rows[1].turn_ends[1] + 1, smollm2_chat.tokenizer)
    assert [len(row.input_ids) for row in kept] == [lengths[0], rows[1].turn_ends[1]]
    assert (seen.rows, seen.tokens) == (2, lengths[0] + rows[1].turn_ends[1])
    assert seen.tokens_lost == lengths[1] - rows[1].turn_ends[1] + lengths[2]
    assert (seen.cut, seen.dropped, seen.example_where) == (("rows.jsonl:2",), ("rows.jsonl:3",), "rows.jsonl:2")
    assert seen.learned_tokens == sum(row.learned for row in kept) == 12  # "answer", " ", digit, <|im_end|>, three times
    assert seen.learned_share == 12 / seen.tokens
    assert [text for text, learned in seen.example if learned] == ["answer 0<|im_end|>", "answer 1<|im_end|>"]


def test_the_xray_as_json_lists_twenty_lines_and_counts_all():
    seen = XRay(5, 40, 10, 7, tuple(f"a:{n}" for n in range(30)), ("b:1",), "a:1", (("Hi", False), ("Ho", True)))
    assert seen.as_json() == {
        "rows_kept": 5,
        "rows_cut": 30,
        "rows_dropped": 1,
        "cut": [f"a:{n}" for n in range(20)],
        "dropped": ["b:1"],
        "tokens": 40,
        "learned_tokens": 10,
        "learned_share": 0.25,
        "tokens_lost": 7,
        "example": {"where": "a:1", "pieces": [{"text": "Hi", "learned": False}, {"text": "Ho", "learned": True}]},
    }


def test_the_pieces_of_a_row_are_its_whole_text_with_the_learned_runs_marked(family_dir):
    chat = Chat(load_tokenizer(family_dir("mistral-v03")))
    found = pieces(chat.encode(conversation("user:Capital?", "assistant:Paris.", "user: 巴黎?", "assistant:🙂")), chat.tokenizer)
    assert found == [("<s>[INST] Capital?[/INST]", False), (" Paris.</s>", True), ("[INST]  巴黎?[/INST]", False), (" 🙂</s>", True)]


def test_pieces_of_a_row_that_is_learned_whole(smollm2_chat):
    found = smollm2_chat.encode(Conversation((), "rows.jsonl", 1, text="Hi"))
    assert pieces(found, smollm2_chat.tokenizer) == [("Hi<|im_end|>", True)]


def test_every_row_is_checked_and_the_first_ten_mistakes_are_told_with_their_number(smollm2_chat):
    rows = [conversation("user:a <|im_end|>" if line % 3 == 0 else "user:a", "assistant:b", line=line) for line in range(1, 61)]
    with pytest.raises(UserError) as error:
        encode_all(rows, smollm2_chat)
    lines = str(error.value).splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"rows.jsonl:{line}" for line in range(3, 31, 3)]
    assert lines[-1] == "20 of 60 rows can't be trained on; the first 10 are listed."


def test_a_few_mistakes_are_all_told(smollm2_chat):
    bad = [conversation("user:<|im_end|>", "assistant:b", line=line) for line in (1, 2)]
    with pytest.raises(UserError, match=r"^rows\.jsonl:1: .*\nrows\.jsonl:2: .*\n2 of 3 rows can't be trained on\.$"):
        encode_all([*bad, conversation("user:a", "assistant:b")], smollm2_chat)
    with pytest.raises(UserError) as error:
        encode_all([bad[0], conversation("user:a", "assistant:b")], smollm2_chat)
    assert str(error.value).startswith("rows.jsonl:1: the user's text contains") and "\n" not in str(error.value)


def test_rows_keep_the_order_of_the_conversations(smollm2_chat):
    found = encode_all([conversation("user:a", f"assistant:{line}", line=line) for line in range(1, 6)], smollm2_chat)
    assert [row.where for row in found] == [f"rows.jsonl:{line}" for line in range(1, 6)]


def test_lengths_are_measured_before_any_row_is_cut():
    facts = measure(stored(*(row(length, length) for length in range(2, 102))), [row(5, 5), row(6, 6)])
    assert (facts.train_rows, facts.held_out_rows) == (100, 2)
    assert (facts.length_p50, facts.length_p95, facts.length_max) == (51, 96, 101)
    one = measure(stored(row(7, 7)), [])
    assert (one.length_p50, one.length_p95, one.length_max, one.held_out_rows) == (7, 7, 7, 0)
