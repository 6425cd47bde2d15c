"""A step's operators by kind, and the shares that a table shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from unsloth_ft.bench.profile_worker import KINDS, kind_of, summed
from unsloth_ft.bench.step_profile import main, table


@pytest.mark.parametrize(("operator", "kind"), [
    ("aten::mm", "matmul"), ("aten::addmm", "matmul"), ("aten::linear", "matmul"), ("aten::bmm", "attention"),
    ("aten::baddbmm_", "attention"), ("aten::_softmax_backward_data", "attention"), ("aten::_log_softmax", "loss"),
    ("aten::_log_softmax_backward_data", "loss"), ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
    ("aten::copy_", "copies"), ("aten::max", "loss"), ("aten::maximum", "elementwise"), ("aten::silu", "elementwise"),
    ("Optimizer.step#AdamW.step", "optimizer"), ("aten::_fused_adamw_", "optimizer"), ("aten::_foreach_norm", "optimizer"),
    ("LayerFunction", "rest"), ("autograd::engine::evaluate_function: MmBackward0", "rest"),
])  # fmt: skip
def test_an_operator_counts_to_one_kind(operator: str, kind: str):
    assert kind_of(operator) == kind


def test_what_no_operator_has_is_the_rest_and_all_adds_up():
    found = summed([("aten::mm", 3.0, 10), ("MmBackward0", 0.5, 10), ("aten::silu", 1.0, 4)], seconds=8.0, steps=2, tokens=400)
    assert found.shares == dict.fromkeys(KINDS, 0.0) | {"matmul": 0.375, "elementwise": 0.125, "rest": 0.5}
    assert found.largest[0] == {"operator": "aten::mm", "seconds": 3.0, "calls": 10}


def test_the_table_has_a_row_a_leg():
    shares = dict.fromkeys(KINDS, 0.0) | {"matmul": 0.75, "rest": 0.25}
    assert table({"a-leg": {"seconds": 2.0, "tokens": 1000, "shares": shares}}).splitlines()[1:] == [
        "|---|---|---|---|---|---|---|---|---|",
        "| a-leg | 2.00 | 0.0% | 0.0% | 0.0% | 75.0% | 0.0% | 0.0% | 25.0% |",
    ]


def test_the_product_s_step_is_profiled_in_a_process_of_its_own(family_dir: Callable[[str], Path], tmp_path: Path):
    out = tmp_path / "profile.json"
    done = CliRunner().invoke(main, ["--leg", "unsloth-plan", "--steps", "1", "--model", str(family_dir("smollm2")), "--out", str(out)])
    assert done.exit_code == 0, done.output
    told = json.loads(out.read_text())
    (leg,) = told["legs"].values()
    assert (leg["steps"], list(leg["shares"])) == (1, [*KINDS, "rest"])
    assert sum(leg["shares"].values()) == pytest.approx(1, abs=0.001)
    assert leg["shares"]["matmul"] > 0.05 and leg["shares"]["attention"] > 0.01
    assert str(tmp_path) not in out.read_text()
