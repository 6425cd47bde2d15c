"""The case files: each answers a question, and its sweep has a value for every machine."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from unsloth_ft.bench import case
from unsloth_ft.bench.case import COMMAND_KINDS, Case, Leg, Lengths, Sweep


def swept(field: str, **values: object) -> Case:
    return Case.model_validate({"what": "?", "sweep": Sweep(field=field, values=(64,)), **values})


def test_these_are_the_cases():
    assert case.names() == [
        "context", "data-check", "data-preparation", "export", "memory-length", "memory-rank", "methods", "scaling-length", "scaling-rows", "scaling-tokens",
        "self-check", "speed-faq", "speed-faq-grouped", "speed-full", "startup",
    ]  # fmt: skip


@pytest.mark.parametrize("name", case.names())
def test_a_case_asks_a_question_and_can_be_had_at_each_of_its_points(name: str):
    found = case.find(name)
    assert found.what.endswith("?")
    for device in ("cpu", "cuda"):
        values = found.sweep.values_on(device) if found.sweep else ()
        points = [found.at(value) for value in values]
        assert [point.sweep for point in points] == [None] * len(values)
        assert len({point.model_dump_json() for point in points}) == len(values)
    commands = found.measures in ("data", "export", "startup")
    assert {leg.kind in COMMAND_KINDS for leg in found.legs} == {commands}


def test_a_length_is_that_of_every_row():
    assert swept("length").at(64).lengths == Lengths(median=64, p95=64, longest=64)


def test_a_number_of_rows_is_that_of_a_data_set_or_a_file_and_leaves_the_steps_alone():
    data = swept("rows", measures="data", legs=[{"kind": "prepare-ours"}])
    training = swept("rows", steps=2).at(64)
    assert (training.rows, training.steps) == (64, 2)
    assert (data.at(64).rows, data.at(64).steps) == (64, 10)


def test_rank_and_batch_are_exchanged():
    assert swept("r").at(64).r == 64
    assert swept("batch").at(64).effective_batch_size == 64


def test_without_a_gpu_a_case_may_be_smaller():
    full = case.find("speed-full")
    assert (full.on("cuda").lengths.median, full.on("cuda").steps) == (2048, 10)
    assert (full.on("cpu").lengths.median, full.on("cpu").steps) == (512, 3)
    with pytest.raises(ValidationError, match="stepz"):
        Case(what="?", without_gpu={"stepz": 1})


@pytest.mark.parametrize("legs", [(), (Leg(kind="peft-lora"), Leg(kind="peft-lora"))])
def test_legs_have_names_of_their_own(legs: tuple[Leg, ...]):
    with pytest.raises(ValidationError, match="expected one or more, each with a name of its own"):
        Case(what="?", legs=legs)


@pytest.mark.parametrize(("measures", "kind"), [("training", "merge"), ("context", "cli-help"), ("data", "merge"), ("export", "peft-lora")])
def test_a_leg_is_of_a_kind_that_does_what_is_measured(measures: str, kind: str):
    with pytest.raises(ValidationError, match=f"no leg for {measures}: {kind}; expected legs of "):
        Case(what="?", measures=measures, legs=(Leg(kind=kind),))


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "a b"])
def test_a_legs_name_is_a_file_name(name: str):
    with pytest.raises(ValidationError):
        Leg(kind="peft-lora", name=name)


def test_a_value_that_is_none_of_the_field_is_refused():
    with pytest.raises(ValidationError):
        swept("r").at(0)
    with pytest.raises(ValidationError, match=r"rows is 64; its 2 \+ 7 steps take 72"):
        swept("rows", steps=7)
    with pytest.raises(ValidationError, match="at least 1 item"):
        Sweep(field="r", values=())
    with pytest.raises(ValueError, match="has no sweep"):
        Case(what="?").at(1)


def test_a_gpu_has_its_own_values_where_they_are_given():
    both = Sweep(field="r", values=(1, 2), gpu_values=(3,))
    assert (both.values_on("cpu"), both.values_on("cuda")) == ((1, 2), (3,))
    assert Sweep(field="r", values=(1, 2)).values_on("cuda") == (1, 2)
