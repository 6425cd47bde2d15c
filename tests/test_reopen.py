"""A run directory is opened again only where its record is whole."""

from __future__ import annotations

from dataclasses import fields

import pytest

from unsloth_ft.errors import UserError
from unsloth_ft.plan import Plan
from unsloth_ft.record import RunDirectory
from unsloth_ft.reopen import reopen

PLAN = {field.name: {"value": "bfloat16", "reason": "a test"} for field in fields(Plan)}
WHOLE = {"training": {}, "recipe": {"values": {}}, "base_model": {"sha256": "0"}, "plan": PLAN}
NOT_WHOLE = "my-run/run.json: recipe, base_model or plan is not whole ("


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recipe": {}}, f"{NOT_WHOLE}KeyError('values'))"),
        ({"base_model": []}, NOT_WHOLE),
        ({"plan": {**PLAN, "dtype": {"value": "bfloat16"}}}, f"{NOT_WHOLE}KeyError('reason'))"),
        ({"plan": {name: PLAN[name] for name in PLAN if name != "optim"}}, NOT_WHOLE),
        ({"plan": {**PLAN, "flash": PLAN["optim"]}}, NOT_WHOLE),
        ({"plan": 1}, NOT_WHOLE),
        ({"plan": {**PLAN, "dtype": {"value": "save", "reason": ""}}}, "the plan's dtype is 'save'; expected float32, float16, bfloat16."),
    ],
    ids=["recipe", "base", "no reason", "a value less", "a value more", "no plan", "dtype"],
)
def test_a_record_that_is_not_whole_is_refused_in_a_line(change, says, tmp_path):
    directory = RunDirectory(tmp_path / "my-run")
    directory.adapter.mkdir(parents=True)
    (directory.adapter / "adapter_model.safetensors").write_bytes(b"")
    directory.update(**{**WHOLE, **change})
    with pytest.raises(UserError) as caught:
        reopen(str(directory.path))
    assert says in str(caught.value) and "\n" not in str(caught.value)
