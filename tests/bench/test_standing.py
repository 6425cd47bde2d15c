from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.sample import CASE, GIB, WORK, commands, four_legs, leg, measurement, out_of_memory, self_check
from unsloth_ft.bench.standing import baseline, is_check, standings, worse_sentences, worst_sentences
from unsloth_ft.bench.trials import trials
from unsloth_ft.bench.validity import judge


def worse(*measurements) -> list[str]:
    return worse_sentences(standings(trials(measurements)))


def compared_with(*measurements) -> str | None:
    (trial,) = trials(measurements)
    found = baseline(trial, judge(trial))
    return found.name if found else None


def test_the_baseline_is_the_best_that_vanilla_can_do():
    assert compared_with(*four_legs()) == "peft-tuned"
    assert compared_with(*leg("peft-naive"), *leg("unsloth-plan")) == "peft-naive"
    assert compared_with(*leg("unsloth-notebook"), *leg("unsloth-plan")) == "unsloth-notebook"


def test_a_leg_that_is_invalid_or_not_finished_is_no_baseline():
    naive, plan = leg("peft-naive"), leg("unsloth-plan")
    assert compared_with(*naive, *leg("peft-tuned", work=replace(WORK, seed=1)), *plan) == "peft-naive"
    assert compared_with(*naive, out_of_memory("peft-tuned"), *plan) == "peft-naive"
    assert compared_with(out_of_memory("peft-tuned")) is None


def test_different_commands_are_compared_with_none():
    assert compared_with(*commands("export", "export", {"merge": 1.0, "gguf-q8_0": 2.0})) is None


def test_a_slower_leg_of_ours_is_said_with_its_interval():
    assert worse(*leg("peft-tuned", speed=200.0), *leg("unsloth-plan", speed=180.0)) == [
        "speed-faq: slower by 1.11 × [1.11, 1.11] against peft-tuned"
    ]


def test_a_leg_of_ours_that_is_faster_or_no_different_is_not():
    assert worse(*leg("peft-tuned", speed=100.0), *leg("unsloth-plan", speed=180.0)) == []
    assert worse(*leg("peft-tuned", speed=200.0), *leg("unsloth-plan", speed=199.0)) == []


def test_more_memory_is_said_of_the_device_where_there_is_one():
    used = {"peak_device_reserved_bytes": 2 * GIB}
    assert worse(*leg("peft-tuned", **used), *leg("unsloth-plan", peak_device_reserved_bytes=3 * GIB)) == [
        "speed-faq: more memory by 1.50 × [1.50, 1.50] against peft-tuned"
    ]


def test_too_few_repeats_hide_nothing_that_speaks_against_us():
    rival = leg("peft-tuned", repeats=2, speed=200.0)
    assert worse(*rival, *leg("unsloth-plan", repeats=2, speed=100.0)) == [
        "speed-faq: slower by 2.00 × (2 repeats, too few for a verdict) against peft-tuned"
    ]
    assert worse(*rival, *leg("unsloth-plan", repeats=2, speed=199.0)) == []
    assert worse(*rival, *leg("unsloth-plan", repeats=2, speed=300.0)) == []


def test_a_sweep_is_one_sentence_with_its_worst_point():
    found = []
    for length, speed in ((64, 250.0), (128, 180.0), (256, 100.0)):
        at = {"case": "scaling-length", "point": {"length": length}}
        found += [*leg("peft-tuned", speed=200.0, **at), *leg("unsloth-plan", speed=speed, **at)]
    assert worse(*found) == ["scaling-length: slower by 2.00 × [2.00, 2.00] against peft-tuned; at 2 of 3 points, most at 256 tokens a row"]


@pytest.mark.parametrize(("outcome", "told"), [
    ("out_of_memory", ["speed-faq: out of memory where peft-tuned finished"]),
    ("failed", ["speed-faq: failed where peft-tuned finished"]),
    ("no_time", []),
])  # fmt: skip
def test_not_to_finish_is_worse_but_to_have_no_time_is_not(outcome: str, told: list[str]):
    assert worse(*leg("peft-tuned"), out_of_memory("unsloth-plan", outcome=outcome)) == told


def test_an_invalid_rival_is_compared_with_nobody():
    rival = leg("peft-tuned", speed=900.0, work=replace(WORK, rows="ff" * 32))
    assert worse(*leg("peft-naive", speed=100.0), *rival, *leg("unsloth-plan", speed=180.0)) == []


def test_our_data_preparation_is_ours_too():
    slow = {"prepare-ours": 4.0, "prepare-datasets": 2.0}
    assert worse(*commands("data-preparation", "data", slow, amount={"rows": 1000.0})) == [
        "data-preparation: slower by 2.00 × [2.00, 2.00] against prepare-datasets"
    ]


def test_checks_of_the_bench_are_known_by_their_legs():
    (check,) = trials(self_check())
    (twice,) = trials([measurement("unsloth-plan", leg=name) for name in ("a", "b")])
    (ordinary,) = trials(four_legs())
    assert [is_check(check), is_check(twice), is_check(ordinary)] == [True, True, False]
    assert standings([check, twice]) == []


def test_work_of_commands_is_what_they_worked_on():
    rows = {"prepare-ours": 1.0, "prepare-datasets": 1.0}
    found = commands("data-preparation", "data", rows, amount={"rows": 1000.0, "tokens": 5000.0, "bytes": 7.0})
    other = {"tokens": 4999.0, "learned_tokens": 9.0, "bytes": 8.0}
    found = [replace(one, amount=one.amount | other) if one.leg == "prepare-ours" else one for one in found]
    (trial,) = trials(found)
    judged = judge(trial).legs["prepare-datasets"]
    assert judged.reasons == ("not the work of prepare-ours: tokens 5,000 against 4,999",)
    assert judged.notes == ("learned_tokens none against 9",)


def test_a_context_case_has_legs_of_different_lengths():
    asked = CASE.model_copy(update={"measures": "context"})
    naive = measurement(asked=asked, work=WORK, longest_tokens=1024)
    plan = measurement(
        "unsloth-plan", asked=asked, work=replace(WORK, rows="ff" * 32, tokens=4096, learned_tokens=4096), longest_tokens=4096
    )
    (trial,) = trials([naive, plan])
    assert judge(trial).legs["unsloth-plan"].reasons == ()
    shorter = replace(plan, longest_tokens=512)
    assert worse(naive, shorter) == ["speed-faq: shorter by 2.00 × (1 repeat, too few for a verdict) against peft-naive"]


def test_in_few_words_it_is_the_rival_farthest_ahead_and_how_many_others_are():
    found = standings(trials([*leg("peft-naive", speed=150.0), *leg("peft-tuned", speed=400.0), *leg("unsloth-plan", speed=100.0)]))
    speed, *others = worst_sentences(found)
    assert (speed, others) == ("speed-faq: slower by 4.00 × [4.00, 4.00] against peft-tuned, and behind 1 other leg", [])
