"""What a file is like as a whole: exact where it is exact, the same however the rows are cut, and silent about what is alike."""

from __future__ import annotations

import pickle
import random

import pytest

from tests.data.building import row
from unsloth_ft.data.histogram import Histogram
from unsloth_ft.data.scripts import script
from unsloth_ft.data.survey import Survey

ENGLISH = "The adapter is merged into the base model once the training has come to its end, and the result is written."
GERMAN = "Der Adapter wird mit dem Grundmodell verschmolzen, sobald das Training beendet ist, und das Ergebnis wird geschrieben."
RUSSIAN = "Адаптер объединяется с базовой моделью, как только обучение завершено, и результат записывается на диск."


def surveyed(*answers: str) -> Survey:
    survey = Survey()
    for line, answer in enumerate(answers, start=1):
        survey.add(row("Why?", answer, line))
    return survey


def told(survey: Survey) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.code, str(finding)) for finding in survey.findings()]


def alike(number: int) -> list[str]:
    """Answers in one style, no two the same."""
    return [f"{ENGLISH} This is answer {place}." for place in range(number)]


def of(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


def test_one_value_is_every_percentile():
    assert of([37]).as_json() == {"number": 1, "min": 37, "mean": 37.0, "p50": 37, "p95": 37, "p99": 37, "max": 37}


def test_no_value_is_nothing():
    assert Histogram().as_json() == {"number": 0, "min": 0, "mean": 0, "p50": 0, "p95": 0, "p99": 0, "max": 0}


def test_a_percentile_is_the_smallest_length_that_so_many_do_not_exceed():
    histogram = of(list(range(1, 201)))
    assert [histogram.percentile(percent) for percent in (1, 50, 95, 99, 100)] == [2, 100, 190, 198, 200]


def test_percentiles_of_many_are_exact_below_4096_and_within_a_2048th_above():
    generator = random.Random(7)
    values = [int(generator.lognormvariate(7, 1.5)) for _ in range(20_000)]
    histogram, ordered = of(values), sorted(values)
    for percent in (1, 25, 50, 75, 90, 95, 99):
        exact = ordered[-(-len(ordered) * percent // 100) - 1]
        found = histogram.percentile(percent)
        assert found == exact if exact < 4096 else exact <= found <= exact * (1 + 1 / 2048)
    assert (histogram.least, histogram.most, histogram.total) == (ordered[0], ordered[-1], sum(ordered))


def test_a_histogram_stays_small_whatever_the_values():
    histogram = of([1 << shift for shift in range(40)] + list(range(0, 3_000_000, 7)))
    assert len(histogram.counts) < 30_000


def test_lengths_are_of_characters_and_tokens_where_they_are_given():
    survey = Survey()
    survey.add(row("Why?", "Because it is.", 1, system="Be brief."))
    survey.add(row("Why?", "No.", 2))
    survey.add_tokens(402, 9)
    facts = survey.as_json()
    assert facts["rows"] == 2
    assert (facts["question_characters"]["max"], facts["answer_characters"]["max"], facts["row_characters"]["max"]) == (4, 14, 27)
    assert facts["roles"] == {"system": 1, "user": 2, "assistant": 2}
    assert (facts["messages"]["min"], facts["messages"]["max"]) == (2, 3)
    assert facts["recommended_max_seq_length"] == {"value": 512, "reason": "p95 of your rows is 402; ×1.2, rounded up"}


def test_no_longer_rows_are_recommended_than_the_model_has_positions():
    survey = Survey()
    survey.add_tokens(402, 9)
    survey.positions = 256
    assert survey.recommended_max_seq_length() == (256, "the model's limit; p95 of your rows is 402")


def test_without_tokens_no_length_is_guessed():
    assert surveyed("Because.").recommended_max_seq_length() == (
        None,
        "tokens are not counted without a tokenizer; name a recipe or a model",
    )


def test_chunks_add_up_to_the_whole():
    generator = random.Random(1)
    answers = [generator.choice((ENGLISH, GERMAN, RUSSIAN, "yes it does so", "42")) * generator.randint(1, 30) for _ in range(3_000)]

    def part(begin: int, end: int) -> Survey:
        survey = Survey()
        for place in range(begin, end):
            survey.add(row("Why?", answers[place], place + 1))
            survey.add_tokens(len(answers[place]) // 4, 3)
        return pickle.loads(pickle.dumps(survey))

    cut = Survey()
    for begin, end in ((0, 1), (1, 1500), (1500, 1600), (1600, 3000)):
        cut.merge(part(begin, end))
    whole = part(0, 3000)
    assert cut.as_json() == whole.as_json()
    assert cut.findings() == whole.findings()


def test_merging_is_associative():
    parts = [surveyed(*alike(40)), surveyed("short", *alike(30), RUSSIAN), surveyed(*alike(60), GERMAN * 90)]

    def joined(*surveys: Survey) -> Survey:
        first = pickle.loads(pickle.dumps(surveys[0]))
        for survey in surveys[1:]:
            first.merge(pickle.loads(pickle.dumps(survey)))
        return first

    one, other = joined(joined(parts[0], parts[1]), parts[2]), joined(parts[0], joined(parts[1], parts[2]))
    assert one.as_json() == other.as_json()


def test_memory_does_not_grow_with_the_rows():
    assert all(len(pickle.dumps(surveyed(*alike(number)))) < 400_000 for number in (3_000, 30_000))


def test_an_answer_far_longer_than_the_others_is_noted():
    answers = alike(99) + [f"{ENGLISH} " * 40]
    assert ("note", "long-answer", "faq.jsonl:100: 1 answer is far longer than the others (line 100; 4,320 characters); expected about 126 characters, the median of the answers. Cut them, or leave them.") in told(surveyed(*answers))  # fmt: skip


def test_answers_far_shorter_than_the_others_are_noted():
    answers = ["It is so.", *alike(99), "Right."]
    assert ("note", "short-answer", "faq.jsonl:101: 2 answers are far shorter than the others (lines 101 and 1; 6 to 9 characters); expected about 126 characters, the median of the answers. Fill them in, or leave them.") in told(surveyed(*answers))  # fmt: skip


def test_answers_of_a_word_beside_answers_of_a_page_are_a_style():
    generator = random.Random(3)
    assert told(surveyed(*("Yes." if generator.random() < 0.5 else f"{ENGLISH} " * 30 + "End." for _ in range(100)))) == []


def test_answers_in_another_script_and_language_are_noted():
    assert told(surveyed(*alike(80), RUSSIAN)) == [
        ("note", "script", "faq.jsonl:81: 1 of 81 answers is in the script Cyrillic (line 81); expected Latin, as the others. Translate or remove them, or leave them."),
        ("note", "language", "faq.jsonl:81: 1 of 81 answers looked at seem to be in another language (ru; line 81); expected en, as the others. Translate or remove them, or leave them."),
    ]  # fmt: skip


def test_german_among_english_is_noted_though_the_script_is_one():
    assert told(surveyed(*alike(40), GERMAN, *alike(60), f"{GERMAN} Ende.")) == [
        ("note", "language", "faq.jsonl:41: 2 of 102 answers looked at seem to be in another language (de; lines 41 and 102); expected en, as the others. Translate or remove them, or leave them.")
    ]  # fmt: skip


def test_a_file_in_several_languages_is_no_mistake():
    assert (
        told(surveyed(*alike(50), *(f"{GERMAN} Nummer {place}." for place in range(50)), *(f"{RUSSIAN} {place}." for place in range(50))))
        == []
    )


def test_answers_in_another_style_are_noted():
    answers = [*alike(60), f"{ENGLISH[:-1]}", f"the {ENGLISH[4:]}", f"{ENGLISH}\n"]
    assert told(surveyed(*answers)) == [
        ("note", "answer-style", "faq.jsonl:61: 1 of 63 answers end without punctuation (line 61); expected that they end with punctuation, as the others do. Write them alike, or leave them."),
        ("note", "answer-style", "faq.jsonl:62: 1 of 63 answers begin with a small letter (line 62); expected that they begin with a capital letter, as the others do. Write them alike, or leave them."),
        ("note", "answer-style", "faq.jsonl:63: 1 of 63 answers begin or end with white space (line 63); expected that they begin and end without white space, as the others do. Write them alike, or leave them."),
    ]  # fmt: skip


def test_code_numbers_links_and_names_are_no_exception_of_style():
    answers = [
        *alike(60),
        "```python\nprint(1)\n```",
        "42",
        "q8_0 takes 8.5 bits a weight.",
        "iPhone is a name of it.",
        "See https://example.com/a",
        "- one\n- two",
        "Yes 👍",
    ]
    assert [code for _, code, _ in told(surveyed(*answers)) if code == "answer-style"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello", "Latin"), ("Über – „Spaß“", "Latin"), ("Привет, USB", "Cyrillic"), ("こんにちは世界", "Japanese"), ("我不知道。", "Han"),
        ("안녕하세요", "Hangul"), ("שלום", "Hebrew"), ("مرحبا", "Arabic"), ("नमस्ते", "Devanagari"), ("Ελλάδα", "Greek"), ("ไทย", "Thai"),
        ("42 = 6·7", "no letters"), ("", "no letters"), ("A µ is 10⁻⁶; Δx", "Latin"),
    ],
)  # fmt: skip
def test_a_text_is_in_the_script_of_most_of_its_letters(text, expected):
    assert script(text) == expected
