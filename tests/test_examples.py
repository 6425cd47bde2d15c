"""The example FAQ: enough phrasings of each fact to learn it, and held-out questions that were never seen in training.

Its facts follow the LoRA (arXiv 2106.09685), QLoRA (2305.14314), rsLoRA (2312.03732), DoRA (2402.09353) and "LoRA Learns Less and
Forgets Less" (2405.09673) papers, Thinking Machines' "LoRA Without Regret", and the documentation of Unsloth, PEFT, llama.cpp and Ollama.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TRAIN = EXAMPLES / "faq.jsonl"
EVAL = EXAMPLES / "faq_eval.jsonl"
FILES = pytest.mark.parametrize("path", [TRAIN, EVAL], ids=["train", "eval"])

FACTS = 50
PHRASINGS = 4
SHARED_RUN_WORDS = 4  # the shortest run of words that counts as shared wording

# A hyphen joins or separates ("fine-tuning" is "finetuning" or "fine tuning"): wording that overlaps under either reading overlaps.
READINGS = pytest.mark.parametrize("punctuation", ["", " "], ids=["removed", "spaced"])


def read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def normalize(text: str, *, punctuation: str = "") -> str:
    """Lower case, punctuation replaced by `punctuation`, runs of spaces collapsed."""
    return " ".join(re.sub(r"[^a-z0-9\s]", punctuation, text.lower()).split())


def word_runs(text: str, length: int = SHARED_RUN_WORDS) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def questions_by_answer(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        grouped[row["answer"]].append(row["question"])
    return grouped


def test_normalizing_drops_case_punctuation_and_extra_spaces():
    assert normalize("  What's  q4_k_m,\tfine-tuned? ") == "whats q4km finetuned"
    assert normalize("fine-tuned q4_k_m?", punctuation=" ") == "fine tuned q4 k m"


def test_word_runs_are_all_the_runs_of_that_length():
    assert word_runs("a b c d e") == {("a", "b", "c", "d"), ("b", "c", "d", "e")}
    assert word_runs("a b c") == set()


@FILES
def test_file_is_plain_jsonl_with_one_question_and_answer_a_line(path):
    content = path.read_bytes()
    assert content.isascii()
    assert b"\r" not in content
    assert content.endswith(b"}\n") and b"\n\n" not in content
    for row in read_rows(path):
        assert list(row) == ["question", "answer"]
        for text in row.values():
            assert isinstance(text, str) and text and text == text.strip()


def test_training_file_has_every_fact_in_four_phrasings():
    grouped = questions_by_answer(read_rows(TRAIN))
    assert len(grouped) == FACTS
    assert {answer: len(questions) for answer, questions in grouped.items() if len(questions) != PHRASINGS} == {}


def test_eval_file_asks_each_fact_of_the_training_file_once():
    train, held_out = read_rows(TRAIN), read_rows(EVAL)
    assert Counter(row["answer"] for row in held_out) == Counter({row["answer"] for row in train})
    assert len(held_out) == FACTS


@READINGS
def test_no_question_is_asked_twice(punctuation):
    counts = Counter(normalize(row["question"], punctuation=punctuation) for row in read_rows(TRAIN) + read_rows(EVAL))
    assert [question for question, count in counts.items() if count > 1] == []


@READINGS
def test_no_eval_question_equals_contains_or_lies_in_a_training_question(punctuation):
    trained = [normalize(row["question"], punctuation=punctuation) for row in read_rows(TRAIN)]
    asked = [normalize(row["question"], punctuation=punctuation) for row in read_rows(EVAL)]
    assert [(one, other) for one in asked for other in trained if one in other or other in one] == []


@READINGS
def test_no_eval_question_shares_four_words_in_a_row_with_a_training_question(punctuation):
    trained = set().union(*(word_runs(normalize(row["question"], punctuation=punctuation)) for row in read_rows(TRAIN)))
    asked = {row["question"]: word_runs(normalize(row["question"], punctuation=punctuation)) for row in read_rows(EVAL)}
    assert {question: runs & trained for question, runs in asked.items() if runs & trained} == {}


@FILES
def test_questions_are_short(path):
    lengths = {row["question"]: len(row["question"].split()) for row in read_rows(path)}
    assert {question: length for question, length in lengths.items() if not 5 <= length <= 14} == {}


def test_answers_are_one_plain_sentence_of_12_to_22_words():
    for answer in questions_by_answer(read_rows(TRAIN)):
        assert 12 <= len(answer.split()) <= 22, answer
        assert answer.endswith("."), answer
        assert not re.search(r"[.!?]\s|[`*#\[\]\n]", answer), answer


def test_answers_differ_in_their_first_three_words():
    counts = Counter(tuple(normalize(answer).split()[:3]) for answer in questions_by_answer(read_rows(TRAIN)))
    assert [words for words, count in counts.items() if count > 1] == []


def test_phrasings_of_a_fact_are_spread_over_the_training_file():
    last_seen: dict[str, int] = {}
    gaps = []
    for position, row in enumerate(read_rows(TRAIN)):
        if row["answer"] in last_seen:
            gaps.append(position - last_seen[row["answer"]])
        last_seen[row["answer"]] = position
    assert min(gaps) > 8, "two phrasings of one fact would fall into one batch of 8"
