"""Checkpointing of the first layers alone: another way to hold the same step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers.modeling_layers import GradientCheckpointingLayer

from tests.train.setting import setting
from unsloth_ft import backends


@pytest.mark.parametrize("name", ["peft", "fused"])
def test_the_first_layer_checkpointed_gives_the_same_training_to_the_last_digit(
    name: str, family_dir: Callable[[str], Path], tmp_path: Path
):
    """With dropout, which the layer formed again has to repeat; without it where the fused layers would step aside."""
    backend = backends.activate(name)
    curves = {}
    for way in ("false", "1"):
        run = setting(
            family_dir("smollm2"), f"train.gradient_checkpointing={way}", f"lora.lora_dropout={0.1 if name == 'peft' else 0}",
            "train.max_steps=2", "train.eval_steps=2", backend=name, rows=4,
        )  # fmt: skip
        model = run.model(backend)
        out = tmp_path / way
        run.train(model, backend, out)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        curves[way] = [(line["step"], line.get("loss", line.get("eval_loss")), line.get("grad_norm")) for line in lines]
        layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        assert [layer.gradient_checkpointing for layer in layers] == [way == "1", False]
        if name == "fused":
            assert [layer.forward.recompute for layer in layers] == [way == "1", False]
    assert curves["1"] == curves["false"] and len(curves["1"]) == 4
