"""The torch quantizers against llama.cpp's own: not about as good, but the same bytes."""

from __future__ import annotations

import os

import gguf
import numpy
import pytest
import torch

from tests.export import ggml
from unsloth_ft.export import kquants
from unsloth_ft.export.gguf_bounds import largest_excess
from unsloth_ft.export.gguf_types import BLOCKS

ROWS, COLUMNS = 13, 768  # an odd number of rows, three super-blocks each
TYPES = tuple(kquants.QUANTIZERS)


def normal(generator):
    return generator.standard_normal((ROWS, COLUMNS)) * 0.02


def outliers(generator):
    values = normal(generator)
    values[:, ::97] *= 1000
    return values


def sparse(generator):
    return numpy.where(generator.random((ROWS, COLUMNS)) < 0.9, 0.0, normal(generator))


def some_blocks_zero(generator):
    values = normal(generator)
    values[:, 32:64] = 0.0
    values[2] = 0.0
    return values


WEIGHTS = {
    "normal": normal,
    "of bfloat16": lambda generator: torch.tensor(normal(generator)).bfloat16().double().numpy(),  # ties abound
    "heavy-tailed": lambda generator: generator.standard_t(2, (ROWS, COLUMNS)) * 0.02,
    "outliers": outliers,
    "sparse": sparse,
    "some blocks zero": some_blocks_zero,
    "zero": lambda generator: numpy.zeros((ROWS, COLUMNS)),
    "a constant": lambda generator: numpy.full((ROWS, COLUMNS), 0.37),
    "a negative constant": lambda generator: numpy.full((ROWS, COLUMNS), -0.37),
    "positive": lambda generator: numpy.abs(normal(generator)),
    "negative": lambda generator: -numpy.abs(normal(generator)),
    "few values": lambda generator: generator.integers(-3, 4, (ROWS, COLUMNS)) * 0.5,
    "scales below the smallest float16": lambda generator: normal(generator) * 1e-5,
    "below every scale": lambda generator: normal(generator) * 1e-18,
    "large": lambda generator: numpy.clip(generator.standard_normal((ROWS, COLUMNS)) * 2e4, -6e4, 6e4),
}


def weights(name):
    return WEIGHTS[name](numpy.random.default_rng(7)).astype("float32")


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("type_name", TYPES)
def test_the_bytes_are_those_of_llamacpp(type_name, name):
    values = weights(name)
    made = kquants.quantize(torch.from_numpy(values.copy()), type_name).numpy()
    assert (made == ggml.quantize(values, type_name)).all()


def decoded(made, type_name):
    return gguf.dequantize(made, gguf.GGMLQuantizationType[type_name.upper()])


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("type_name", TYPES)
def test_the_values_come_back_within_rounding(type_name, name):
    values = weights(name)
    back = decoded(kquants.quantize(torch.from_numpy(values.copy()), type_name).numpy(), type_name)
    assert back.shape == (ROWS, COLUMNS)
    assert largest_excess(values, back, type_name) == 0.0


@pytest.mark.parametrize("type_name", TYPES)
def test_more_than_rounding_is_seen(type_name):
    values = weights("normal")
    made = kquants.quantize(torch.from_numpy(values), type_name).numpy()
    back = decoded(made, type_name)
    assert largest_excess(values[::-1], back, type_name) > 0.0  # rows exchanged
    assert largest_excess(values / 2, back, type_name) > 0.0  # scales doubled
    block_bytes = BLOCKS[type_name][1]
    scale = {"q6_k": 209, "q3_k": 109, "q2_k": 81}.get(type_name, 1)  # the high byte of the first block's float16 scale
    made[4, scale % block_bytes] = 0x44
    assert largest_excess(values, decoded(made, type_name), type_name) > 0.0  # one scale is 4


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_pieces_and_threads_make_no_difference_and_leave_all_as_it_was(type_name, threads, monkeypatch):
    values = torch.from_numpy(weights("normal"))
    before = values.clone()
    whole = kquants.quantize(values, type_name)
    monkeypatch.setattr(kquants, "CPU_PIECE", 512)
    monkeypatch.setattr(kquants, "LEAST_PIECE", 512)
    at_first = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(kquants.quantize(values, type_name), whole)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(at_first)
    assert torch.equal(values, before)


@pytest.mark.parametrize("type_name", TYPES)
def test_a_scale_beyond_float16_is_an_error(type_name):
    """bfloat16 holds weights that a float16 scale can't; llama-quantize stops at the infinity it has written."""
    values = torch.from_numpy(weights("normal"))
    values[3, 5] = 3e8
    with pytest.raises(OverflowError, match="does not fit float16, which ends at 65504"):
        kquants.quantize(values, type_name)


def test_rows_that_are_no_whole_blocks_are_an_error():
    with pytest.raises(ValueError, match="q4_k wants rows in blocks of 256, and these have 320 values"):
        kquants.quantize(torch.zeros(2, 320), "q4_k")


def test_block_sizes_are_those_of_the_gguf_package():
    assert {name: gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name.upper()]] for name in BLOCKS} == BLOCKS


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() and not os.environ.get("UNSLOTH_FT_REQUIRE_GPU"), reason="needs a CUDA GPU")
@pytest.mark.parametrize("type_name", TYPES)
def test_a_gpu_makes_the_same_bytes(type_name):
    for name in WEIGHTS:
        values = torch.from_numpy(weights(name))
        assert torch.equal(kquants.quantize(values.cuda(), type_name).cpu(), kquants.quantize(values, type_name)), name
