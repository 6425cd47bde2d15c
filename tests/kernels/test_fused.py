"""The fused layers inside a PEFT model against the stock ones: loss, gradients, a training, saving, and what falls through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from model import CONFIGS, LENGTHS, SIZES, adapted, flat, gradients, loss_row_by_row, with_adapter
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Qwen3Config

from unsloth_ft.backends.peft import _keep_differentiable
from unsloth_ft.errors import UserError
from unsloth_ft.kernels import fused, side_by_side
from unsloth_ft.kernels.layer import LayerFunction
from unsloth_ft.kernels.rows import Rows
from unsloth_ft.recipe import PROJECTIONS


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_loss_and_every_gradient_are_the_stock_model_s(name: str, recompute: bool):
    model, inputs = adapted(name), flat()
    expected = loss_row_by_row(model, inputs) / 10
    expected.backward()
    stock = gradients(model)
    fused.install(model, recompute=recompute)
    own = fused.loss(model, inputs, 10)
    own.backward()
    torch.testing.assert_close(own, expected)
    assert len(stock) == 28
    torch.testing.assert_close(gradients(model), stock, atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize(("recompute", "again_in"), [(1, [True, False]), (2, [True, True]), (True, [True, True])])
def test_a_layer_that_is_computed_again_gives_the_same_gradients_bit_by_bit(recompute: bool | int, again_in: list[bool]):
    model, inputs = adapted("qwen3"), flat()
    fused.install(model, recompute=False)
    fused.loss(model, inputs, 10).backward()
    kept = gradients(model)
    again = adapted("qwen3")
    fused.install(again, recompute=recompute)
    assert [layer.forward.recompute for layer in again.get_base_model().model.layers] == again_in
    fused.loss(again, inputs, 10).backward()
    found = gradients(again)
    assert len(found) == 28 and all(torch.equal(found[name], kept[name]) for name in kept)


@pytest.mark.parametrize("targets", [PROJECTIONS, ("q_proj", "down_proj")])
def test_nf4_weights_stay_packed_and_give_the_stock_model_s_gradients(tmp_path: Path, targets: tuple[str, ...]):
    wide = CONFIGS["qwen2"].to_dict() | {"hidden_size": 64, "intermediate_size": 128, "dtype": "float32"}
    AutoModelForCausalLM.from_config(CONFIGS["qwen2"].from_dict(wide)).save_pretrained(tmp_path)
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    base = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=nf4, dtype=torch.float32, device_map="cpu")
    _keep_differentiable(base)
    model = with_adapter(base, target_modules=targets)
    packed = {name: parameter.data_ptr() for name, parameter in model.named_parameters() if parameter.dtype == torch.uint8}
    inputs = flat()
    expected = loss_row_by_row(model, inputs)
    expected.backward()
    stock = gradients(model)
    fused.install(model, recompute=False, load_in_4bit=True)
    own = fused.loss(model, inputs, 1)
    own.backward()
    torch.testing.assert_close(own, expected)
    torch.testing.assert_close(gradients(model), stock, atol=2e-5, rtol=2e-5)
    assert len(packed) == 14
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters() if parameter.dtype == torch.uint8} == packed


@pytest.mark.parametrize("recompute", [False, True])
def test_a_layer_s_gradients_are_those_of_finite_differences(recompute: bool):
    """In float64, of its input and of all fourteen adapter weights, on two rows end to end."""
    small = {"hidden_size": 4, "intermediate_size": 3, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2, "num_hidden_layers": 1}
    torch.manual_seed(0)
    model = with_adapter(AutoModelForCausalLM.from_config(Qwen3Config(**SIZES | small)).double(), target_modules=PROJECTIONS, r=1).double()
    fused.install(model, recompute=recompute)
    layer = model.get_base_model().model.layers[0].forward.layer
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    angles = torch.rand(5, 1, 1, dtype=torch.float64)

    def computed(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        layer.refresh()
        return LayerFunction.apply(x, layer, angles.cos(), angles.sin(), Rows((0, 3, 5)), recompute, *parameters)

    assert len(layer.parameters) == 14
    assert torch.autograd.gradcheck(computed, (x, *layer.parameters))


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("k_proj", "down_proj"), ("o_proj",), ("gate_proj",)])
def test_adapters_on_some_projections_only(targets: tuple[str, ...]):
    model, inputs = adapted("qwen2", target_modules=targets), flat()
    expected = loss_row_by_row(model, inputs)
    expected.backward()
    stock = gradients(model)
    fused.install(model, recompute=False)
    own = fused.loss(model, inputs, 1)
    own.backward()
    torch.testing.assert_close(own, expected)
    assert len(stock) == 4 * len(targets)
    torch.testing.assert_close(gradients(model), stock, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_evaluation_on_flat_rows_gives_the_stock_model_s_logits(name: str):
    model, inputs = adapted(name).eval(), flat()
    with torch.no_grad():
        rows = inputs["input_ids"][0].split(LENGTHS)
        expected = torch.cat([model(input_ids=row[None], use_cache=False).logits[0] for row in rows])
        with model.disable_adapter():
            of_base = torch.cat([model(input_ids=row[None], use_cache=False).logits[0] for row in rows])
        fused.install(model, recompute=False)
        del inputs["labels"]
        torch.testing.assert_close(model(**inputs, use_cache=False).logits[0], expected, atol=2e-6, rtol=2e-5)
        with model.disable_adapter():
            torch.testing.assert_close(model(**inputs, use_cache=False).logits[0], of_base, atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_short_training_goes_the_stock_model_s_way(name: str):
    losses = []
    for install in (False, True):
        model = adapted(name)
        if install:
            fused.install(model, recompute=False)
        optimizer = torch.optim.AdamW((parameter for parameter in model.parameters() if parameter.requires_grad), lr=0.01, fused=True)
        for step in range(6):
            inputs = flat(seed=step % 2)
            loss = fused.loss(model, inputs, 10) if install else loss_row_by_row(model, inputs) / 10
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    stock, own = losses[:6], losses[6:]
    assert own == pytest.approx(stock, rel=1e-4)
    assert own[4] < own[0] - 0.02


def test_bfloat16_is_nearer_to_float32_than_peft_s():
    exact = adapted("llama")
    inputs = flat((40, 20, 60))
    model = adapted("llama").to(torch.bfloat16)
    for parameter, of_exact in zip(model.parameters(), exact.parameters()):
        if parameter.requires_grad:
            parameter.data = of_exact.data.clone()
        else:
            of_exact.data = parameter.data.float()
    expected = loss_row_by_row(exact, inputs).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stock = loss_row_by_row(model, inputs).item()
    fused.install(model, recompute=False)
    own = fused.loss(model, inputs, 1).item()
    assert abs(own - expected) < abs(stock - expected)


def test_what_falls_through_is_the_stock_model_bit_by_bit():
    model, prompt = adapted("qwen3").eval(), flat()["input_ids"][:, :6]
    with torch.no_grad():
        expected = model(input_ids=prompt).logits
        answer = model.generate(input_ids=prompt, max_new_tokens=4, do_sample=False, pad_token_id=0)
        fused.install(model, recompute=False)
        assert torch.equal(model(input_ids=prompt).logits, expected)
        assert torch.equal(model.generate(input_ids=prompt, max_new_tokens=4, do_sample=False, pad_token_id=0), answer)


def test_dropout_in_training_is_obeyed_by_the_stock_layers():
    model, inputs = adapted("llama", lora_dropout=0.5), flat()
    fused.install(model, recompute=False)
    assert fused.loss(model, inputs, 1) is None
    del inputs["labels"]
    torch.manual_seed(0)
    first = model(**inputs, use_cache=False).logits
    assert not torch.equal(model(**inputs, use_cache=False).logits, first)
    with torch.no_grad():
        evaluated = model.eval()(**inputs, use_cache=False).logits
        assert torch.equal(model(**inputs, use_cache=False).logits, evaluated)


def test_padded_rows_are_left_to_the_trainer():
    model = adapted("llama")
    fused.install(model, recompute=False)
    assert fused.loss(model, {"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": torch.ones(2, 3)}, 1) is None


def test_a_saved_adapter_is_plain_peft_s(tmp_path: Path):
    model, inputs = adapted("qwen2"), flat()
    names = {name: tensor.shape for name, tensor in model.state_dict().items()}
    fused.install(model, recompute=False)
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == names
    model.save_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_config(CONFIGS["qwen2"])
    base.load_state_dict(adapted("qwen2").unload().state_dict())
    again = PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(loss_row_by_row(again, inputs), fused.loss(model, inputs, 1))


def test_a_merged_model_is_saved_whole(tmp_path: Path):
    model, inputs = adapted("qwen2").eval(), flat()
    fused.install(model, recompute=False)
    with torch.no_grad():
        expected = fused.loss(model, inputs, 1)
        merged = model.merge_and_unload()
        merged.save_pretrained(tmp_path)
        again = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa")
        torch.testing.assert_close(loss_row_by_row(again, inputs), expected)
    weights = merged.state_dict()
    assert not weights["model.layers.0.self_attn.q_proj.weight"].is_contiguous()
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())


def test_merging_and_unmerging_work_on_the_common_buffer():
    model, inputs = adapted("llama").eval(), flat()
    fused.install(model, recompute=False)
    with torch.no_grad():
        expected = fused.loss(model, inputs, 1)
        model.merge_adapter()
        torch.testing.assert_close(loss_row_by_row(model, inputs), expected)
        model.unmerge_adapter()
        torch.testing.assert_close(fused.loss(model, inputs, 1), expected)


def test_another_family_is_refused():
    from peft import LoraConfig, get_peft_model
    from transformers import GemmaConfig, GemmaForCausalLM

    gemma = GemmaForCausalLM(GemmaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
    model = get_peft_model(gemma, LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(UserError, match=r"the model is a GemmaForCausalLM; backend fused has the layers of LlamaForCausalLM, .* --backend peft\."):
        fused.install(model, recompute=False)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_rows_in_two_threads_give_the_loss_and_gradients_of_one(name: str, two_threads: None):
    model, inputs = adapted(name), flat()
    fused.install(model, recompute=False)
    assert len(side_by_side.split(inputs, threads=2)) == 2
    both = fused.loss(model, inputs, 10)
    both.backward()
    found = gradients(model)
    model.zero_grad()
    torch.set_num_threads(1)
    one = fused.loss(model, inputs, 10)
    one.backward()
    torch.testing.assert_close(both, one)
    torch.testing.assert_close(found, gradients(model), atol=2e-6, rtol=2e-5)


def test_threads_share_their_number_again_afterwards(two_threads: None):
    model = adapted("llama")
    fused.install(model, recompute=True)
    fused.loss(model, flat(), 10).backward()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("lengths", "threads", "parts"),
    [
        ((50, 40, 30, 20), 2, [[0, 3], [1, 2]]),
        ((900, 40, 30, 20), 2, [[0, 1, 2, 3]]),  # one long row: two threads on all of it are faster
        ((10, 10, 10, 10), 4, [[0], [1], [2], [3]]),
        ((10, 10), 4, [[0], [1]]),  # two of torch's threads each
        ((10, 10, 10), 1, [[0, 1, 2]]),
    ],
)
def test_rows_are_dealt_to_as_many_parts_as_are_fastest(lengths: tuple[int, ...], threads: int, parts: list[list[int]]):
    assert side_by_side.dealt(lengths, threads=threads) == parts
