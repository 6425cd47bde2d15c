"""The operations of a training step, against numbers counted by hand and by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unsloth_ft import flops
from unsloth_ft.bench.case import Case, Lengths
from unsloth_ft.bench.workload import build
from unsloth_ft.known_models import KNOWN
from unsloth_ft.model_facts import ModelFacts

SMALL = ModelFacts("LlamaForCausalLM", 2, 8, 16, 32, 512, num_attention_heads=2, num_key_value_heads=1, head_dim=4)
SMOLLM2 = KNOWN["HuggingFaceTB/SmolLM2-135M-Instruct"]


def test_a_row_of_a_frozen_model_counted_by_hand():
    weights = 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16)  # q, k and v, o, three of the feed-forward; two layers
    attention = 6 * 10**2 * 8 * 2
    assert flops.model_flops(SMALL, [(10, 4)], r=2, target_modules=(), full=False) == (
        4 * weights * 10 + 4 * 8 * 32 * 4 + attention
    )


def test_an_adapter_adds_six_times_its_weights_a_token():
    plain, adapted = (
        flops.model_flops(SMALL, [(10, 4)], r=2, target_modules=names, full=False) for names in ((), ("q_proj", "down_proj"))
    )
    assert adapted - plain == 6 * 2 * 2 * ((8 + 8) + (16 + 8)) * 10


def test_training_all_weights_costs_half_as_much_again_for_the_linear_layers_and_the_head():
    frozen, full = (flops.model_flops(SMALL, [(10, 4)], r=2, target_modules=(), full=full) for full in (False, True))
    attention = 6 * 10**2 * 8 * 2
    assert full - attention == 1.5 * (frozen - attention)


def test_a_token_of_smollm2_costs_what_the_speed_study_counted():
    built = build(Case(what="a test", steps=48), vocab_size=49152).rows
    rows = [(len(row.input_ids), row.learned) for row in built]
    found = flops.model_flops(SMOLLM2, rows, r=16, target_modules=SMOLLM2.projections) / sum(tokens for tokens, _ in rows)
    assert found == pytest.approx(564e6, rel=0.03)  # 454 linear and LoRA, 82 head, 28 attention


def test_torch_counts_the_same_for_the_linear_layers_and_the_head(family_dir: Any):
    """torch's own counter, over a forward and a backward pass of all weights; its attention isn't causal, so it is left out."""
    import json

    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    folder: Path = family_dir("qwen3")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(32)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    model_facts = ModelFacts.of(json.loads((folder / "config.json").read_text()))
    attention = 6 * 32**2 * model_facts.query_width * model_facts.num_hidden_layers
    ours = flops.model_flops(model_facts, [(32, 32)], r=1, target_modules=(), full=True) - attention
    counted = counter.get_flop_counts()["Global"]
    linear = sum(count for operation, count in counted.items() if "mm" in str(operation) and "bmm" not in str(operation))
    # The first layer's input is an embedding, whose gradient torch computes too; everything else is equal.
    assert linear == pytest.approx(ours, rel=0.01)
