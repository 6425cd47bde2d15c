"""The memory table: what is counted is exact, what is fitted was measured, and everything only grows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest

from unsloth_ft.hardware import GIB, MIB
from unsloth_ft.known_models import KNOWN
from unsloth_ft.memory import FRAGMENTATION, estimate, host_bytes
from unsloth_ft.memory_fit import fit_for, fits
from unsloth_ft.memory_values import ANSWERS, EVALUATION, TRAINING, Batch, Work
from unsloth_ft.recipe import PROJECTIONS

LLAMA = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]
SMOLLM2 = KNOWN["HuggingFaceTB/SmolLM2-135M-Instruct"]
KINDS = [(fit.backend, fit.device, fit.dtype, fit.checkpointing) for fit in fits()]
WAYS = {"none": False, "layers": True, "unsloth": "unsloth"}


def work(**values) -> Work:
    chosen = dict(
        model=LLAMA, backend="unsloth", device="cuda", dtype="bfloat16", load_in_4bit=True, r=16, target_modules=PROJECTIONS,
        optim="adamw_torch_fused", gradient_checkpointing=False, training=Batch.padded(2, 512), evaluation=Batch.padded(2, 512),
        answers=Batch.padded(4, 600),
    )  # fmt: skip
    return Work(**chosen | values)


def parts(found: Work, phase: str = TRAINING) -> dict[str, int]:
    return {part.name: part.bytes for part in estimate(found).phase(phase).parts}


# What is counted


def test_a_base_in_nf4_keeps_embeddings_norms_and_biases_in_16_bit():
    def base_bytes(found: Work) -> int:
        return sum(size for name, size in parts(found).items() if name in ("base weights", "quantization state"))

    linear = 4.127 / 8 * LLAMA.linear_parameters
    assert base_bytes(work()) == int(linear) + 2 * (LLAMA.parameters - LLAMA.linear_parameters)
    assert base_bytes(work()) / 1e9 == pytest.approx(5.70, abs=0.01)
    assert base_bytes(work(load_in_4bit=False, dtype="float32")) == 4 * LLAMA.parameters


def test_base_adapter_gradients_and_optimizer_of_an_8b_qlora_run_are_exact():
    found = parts(work())
    linear, rest = 6_979_321_856, 8_030_261_248 - 6_979_321_856
    assert {name: found[name] for name in ("base weights", "quantization state", "LoRA weights", "gradients", "optimizer state")} == {
        "base weights": linear // 2 + 2 * rest,
        "quantization state": int(0.127 / 8 * linear),
        "LoRA weights": 4 * 41_943_040,
        "gradients": 4 * 41_943_040,
        "optimizer state": 8 * 41_943_040,
    }


@pytest.mark.parametrize(
    ("optim", "bytes_a_weight"), [("adamw_torch", 8), ("adamw_8bit", 2), ("paged_adamw_8bit", 2), ("lion_8bit", 1), ("schedule_free_adamw", 8)]
)
def test_an_optimizer_remembers_as_much_as_its_name_says(optim: str, bytes_a_weight: int):
    assert parts(work(optim=optim))["optimizer state"] == bytes_a_weight * 41_943_040


@pytest.mark.parametrize(("dtype", "size"), [("bfloat16", 2), ("float16", 2), ("float32", 4)])
def test_a_base_that_is_not_quantized_has_its_dtypes_size(dtype: str, size: int):
    found = parts(work(dtype=dtype, load_in_4bit=False))
    assert found["base weights"] == size * 8_030_261_248
    assert "quantization state" not in found and "dequantized weights" not in found


def test_an_evaluation_has_no_gradients_and_answers_have_keys_and_values():
    assert "gradients" not in parts(work(), EVALUATION)
    assert parts(work(), ANSWERS)["keys and values"] == 2 * 1024 * 32 * 4 * 600 * 2
    assert [phase.name for phase in estimate(work(answers=Batch(0, 0, 0, 0))).phases] == [
        "load", "training step", "evaluation", "merge", "export",
    ]  # fmt: skip


def test_merge_and_export_are_the_hosts_on_a_card_and_the_process_own_without_one():
    assert [phase.on_host for phase in estimate(work()).phases] == [False, False, False, False, True, True]
    on_cpu = estimate(work(model=SMOLLM2, backend="peft", device="cpu", load_in_4bit=False))
    assert {phase.on_host for phase in on_cpu.phases} == {False}


def test_a_merge_takes_what_the_merge_itself_counts(family_dir):
    from unsloth_ft.export.merge_memory import merge_peak_bytes
    from unsloth_ft.memory import MERGE_BYTES

    assert merge_peak_bytes(family_dir("smollm2"), None) == pytest.approx(MERGE_BYTES, rel=0.02)


def test_unsloths_checkpoints_are_the_hosts():
    kept, offloaded = work(gradient_checkpointing=True), work(gradient_checkpointing="unsloth")
    assert parts(kept)["checkpoints"] > 0 and "checkpoints" not in parts(offloaded)
    assert host_bytes(offloaded) - host_bytes(work()) == 2 * 512 * 32 * 4096 * 2


def test_unsloths_loss_makes_do_with_half_of_what_is_free():
    roomy = work(training=Batch.padded(8, 512))
    others = estimate(roomy).phase(TRAINING)
    free = others.bytes - int((1 + FRAGMENTATION) * parts(roomy)["logits"]) + 200 * MIB
    tight = replace(roomy, room_bytes=free)
    assert parts(roomy)["logits"] > 400 * MIB
    assert parts(tight)["logits"] == pytest.approx(100 * MIB, abs=16)
    found = estimate(tight).phase(TRAINING)
    assert [part.name for part in found.parts if part.elastic] == ["logits"]
    roomier = estimate(replace(roomy, room_bytes=40 * GIB)).phase(TRAINING)
    assert roomier.expected_bytes == roomier.bytes - parts(roomy)["logits"] + 256 * MIB


# It only grows


GROWING = {
    "r": lambda base, value: replace(base, r=value),
    "length": lambda base, value: replace(base, training=Batch.padded(2, value), evaluation=Batch.padded(2, value)),
    "rows": lambda base, value: replace(base, training=Batch.padded(value, 256), evaluation=Batch.padded(value, 256)),
    "layers": lambda base, value: replace(base, model=replace(base.model, num_hidden_layers=value)),
    "hidden_size": lambda base, value: replace(base, model=replace(base.model, hidden_size=64 * value)),
    "intermediate_size": lambda base, value: replace(base, model=replace(base.model, intermediate_size=64 * value)),
    "vocab_size": lambda base, value: replace(base, model=replace(base.model, vocab_size=1000 * value)),
}
STEPS = (1, 2, 3, 7, 8, 16, 31, 64, 128, 500, 512, 2048, 8192)


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_phase_grows_or_stays_with_each_variable(kind: tuple[str, str, str, str], name: str):
    backend, device, dtype, way = kind
    for model, four_bit, room in product((SMOLLM2, LLAMA), (False, True), (0, 12 * GIB)):
        base = work(
            model=model, backend=backend, device=device, dtype=dtype, gradient_checkpointing=WAYS[way], load_in_4bit=four_bit,
            room_bytes=room,
        )  # fmt: skip
        found = [estimate(GROWING[name](base, value)) for value in STEPS]
        for smaller, larger in pairwise(found):
            assert [phase.name for one, phase in zip(smaller.phases, larger.phases) if phase.bytes < one.bytes] == []
            assert smaller.needed_bytes <= larger.needed_bytes


@pytest.mark.parametrize("model", KNOWN)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_base_in_four_bits_takes_less_than_one_in_sixteen(kind: tuple[str, str, str, str], model: str):
    backend, device, dtype, way = kind
    base = work(model=KNOWN[model], backend=backend, device=device, dtype=dtype, gradient_checkpointing=WAYS[way])
    whole = estimate(replace(base, load_in_4bit=False))
    assert all(less.bytes <= more.bytes for less, more in zip(estimate(base).phases, whole.phases))


@pytest.mark.parametrize("kind", sorted({kind[:3] for kind in KINDS}), ids=str)
def test_checkpointing_never_takes_more_than_none(kind: tuple[str, str, str]):
    backend, device, dtype = kind
    for model, rows, length in product(KNOWN.values(), (1, 8), (512, 4096)):
        base = work(model=model, backend=backend, device=device, dtype=dtype, training=Batch.padded(rows, length))
        without = estimate(base).phase(TRAINING).bytes
        assert estimate(replace(base, gradient_checkpointing=True)).phase(TRAINING).bytes <= without


SELECTIVE = [(backend, device) for backend in ("fused", "peft") for device in ("cpu", "cuda") if (backend, device) != ("fused", "cuda")]


@pytest.mark.parametrize(("backend", "device"), SELECTIVE)
def test_each_layer_more_that_is_checkpointed_takes_less_or_as_much(backend: str, device: str):
    """From none to all of them, in every phase; it never takes less than with all."""
    for model, four_bit, rows, length in product((SMOLLM2, LLAMA), (False, True), (1, 8), (512, 4096)):
        base = work(model=model, backend=backend, device=device, load_in_4bit=four_bit, training=Batch.padded(rows, length))
        ways = [False, *range(1, model.num_hidden_layers), True]
        found = [estimate(replace(base, gradient_checkpointing=way)).phase(TRAINING).bytes for way in ways]
        assert found == sorted(found, reverse=True) and found[0] > found[len(found) // 2] > found[-1]


def test_what_is_kept_of_a_checkpointed_layer_and_of_one_that_is_not_are_counted_apart():
    base = work(model=SMOLLM2, backend="fused", device="cpu", load_in_4bit=False, training=Batch.padded(8, 2048))
    none, some = parts(base), parts(replace(base, gradient_checkpointing=12))
    once = fit_for("fused", "cpu", "bfloat16", False).once * 8 * 2048 * 576
    assert some["activations"] - once == pytest.approx((none["activations"] - once) * 18 / 30, rel=1e-6)
    assert some["checkpoints"] == int(fit_for("fused", "cpu", "bfloat16", True).kept * 8 * 2048 * 12 * 576)


# What is fitted


def test_a_fit_says_on_how_many_points_of_which_machine_it_rests():
    found = fit_for("unsloth", "cuda", "bfloat16", False)
    assert (found.basis, found.bound) == (
        "measured on 5 points: NVIDIA H100 80GB HBM3 (80 GiB, SM 9.0) and NVIDIA H200 (140 GiB, SM 9.0), unsloth, bfloat16",
        0.15,
    )


def test_float16_counts_as_bfloat16_and_what_is_not_measured_says_who_stands_in():
    assert fit_for("unsloth", "cuda", "float16", False) == fit_for("unsloth", "cuda", "bfloat16", False)
    stand_in = fit_for("unsloth", "cuda", "float32", "unsloth")
    assert stand_in.basis == (
        "measured on 7 points: NVIDIA H100 80GB HBM3 (80 GiB, SM 9.0), unsloth, bfloat16; unsloth, float32, checkpointing unsloth isn't measured"
    )
    assert stand_in.bound == pytest.approx(0.25)


def test_no_constant_is_negative():
    assert [fit for fit in fits() if min(value for value in vars(fit).values() if isinstance(value, float)) < 0] == []
