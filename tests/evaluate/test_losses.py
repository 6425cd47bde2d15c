"""Loss a row against a plain reference that keeps all logits."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unsloth_ft.chat import IGNORE, Row
from unsloth_ft.evaluate import losses
from unsloth_ft.evaluate.losses import row_losses


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def ragged(vocabulary: int) -> list[Row]:
    """Rows of 3 to 60 tokens in no order; learned: the end, two turns, all, one token only."""
    generator = random.Random(4)
    found = []
    for number, length in enumerate((17, 3, 60, 8, 33, 41, 5)):
        ids = tuple(generator.randrange(5, vocabulary) for _ in range(length))
        spans = ([(length // 2, length)], [(1, 2), (length - 1, length)], [(0, length)], [(length - 1, length)])[number % 4]
        labels = tuple(index if any(a <= at < b for a, b in spans) else IGNORE for at, index in enumerate(ids))
        found.append(Row(ids, labels, f"rows.jsonl:{number + 1}", (length,)))
    return found


def reference(model: Any, row: Row) -> tuple[float, int]:
    """All logits of the row alone, in float32, straight from the definition."""
    with torch.no_grad():
        logits = model(torch.tensor([row.input_ids])).logits[0].float().log_softmax(-1)
    picked = [-logits[at - 1, label].item() for at, label in enumerate(row.labels) if label != IGNORE and at > 0]
    return sum(picked), len(picked)


@pytest.mark.parametrize("family", ["smollm2", "mistral-v03"])
@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("batch_tokens", [1, 70, 1000])
def test_losses_are_those_of_each_row_alone_with_all_logits(
    family_dir: Callable[[str], Path], family: str, batch_tokens: int, padding_free: bool
):
    model = load(family_dir(family))
    rows = ragged(32000)
    found = row_losses(model, rows, batch_tokens=batch_tokens, padding_free=padding_free, padding_id=0, autocast=None)
    expected = [reference(model, row) for row in rows]
    assert [loss.tokens for loss in found] == [tokens for _, tokens in expected]
    assert [loss.nll for loss in found] == pytest.approx([nll for nll, _ in expected], rel=1e-5)


def test_logits_are_held_a_piece_at_a_time(family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    model = load(family_dir("mistral-v03"))
    rows = ragged(32000)
    whole = row_losses(model, rows, batch_tokens=120, padding_free=True, padding_id=0, autocast=None)
    shapes: list[int] = []
    model.lm_head.register_forward_hook(lambda module, arguments, output: shapes.append(output.numel()))
    monkeypatch.setattr(losses, "LOGITS", 7 * 32768)
    pieces = row_losses(model, rows, batch_tokens=120, padding_free=True, padding_id=0, autocast=None)
    assert [loss.nll for loss in pieces] == pytest.approx([loss.nll for loss in whole], rel=1e-6)
    assert max(shapes) == 7 * 32768


def test_a_forward_pass_has_no_more_tokens_than_asked_for(family_dir: Callable[[str], Path]):
    """Lengths 60, 41, 33, 17, 8, 5, 3."""
    model = load(family_dir("smollm2"))
    widths: list[tuple[int, ...]] = []
    model.model.embed_tokens.register_forward_hook(lambda module, arguments, output: widths.append(tuple(arguments[0].shape)))
    for padding_free in (True, False):
        row_losses(model, ragged(32000), batch_tokens=80, padding_free=padding_free, padding_id=0, autocast=None)
    assert widths == [(1, 60), (1, 74), (1, 33), (1, 60), (1, 41), (2, 33), (3, 8)]


def test_the_padding_token_has_no_say(family_dir: Callable[[str], Path]):
    model = load(family_dir("smollm2"))
    rows = ragged(32000)
    one, other = (
        row_losses(model, rows, batch_tokens=120, padding_free=False, padding_id=padding, autocast=None) for padding in (0, 777)
    )
    assert one == other


def test_a_model_that_bends_its_logits_afterwards_is_measured_right():
    """Gemma 2 caps its logits after the output layer, where a product with the head's weight alone knows nothing of it."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=500, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        final_logit_softcapping=0.3, initializer_range=0.3, attn_implementation="eager",
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    rows = ragged(500)
    found = row_losses(model, rows, batch_tokens=90, padding_free=False, padding_id=0, autocast=None)
    assert [loss.nll for loss in found] == pytest.approx([reference(model, row)[0] for row in rows], rel=1e-5)


def test_a_bfloat16_run_is_measured_in_its_own_precision(family_dir: Callable[[str], Path]):
    model = load(family_dir("smollm2"))
    rows = ragged(32000)
    exact = row_losses(model, rows, batch_tokens=120, padding_free=True, padding_id=0, autocast=None)
    rough = row_losses(model, rows, batch_tokens=120, padding_free=True, padding_id=0, autocast=torch.bfloat16)
    assert [loss.nll for loss in rough] != [loss.nll for loss in exact]
    assert [loss.nll for loss in rough] == pytest.approx([loss.nll for loss in exact], rel=0.05)
