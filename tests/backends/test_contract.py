"""The contract that all backends keep, on a CPU: one process each, started together, then asked many questions."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import families

ROOT = Path(__file__).parents[2]
BACKENDS = ("peft", "fused", "unsloth")
OTHERS = BACKENDS[1:]
TRAJECTORY_BAND = 1e-4  # nats a token, float32: two backends, or two ways to cut a step into micro-batches
Measured = dict[str, Any]


def wide(smollm2: Path, folder: Path) -> Path:
    """As smollm2 with 128 wide feed-forward layers: bitsandbytes quantizes blocks of 64."""
    shutil.copytree(smollm2, folder)
    shape = dataclasses.replace(families.SHAPES["smollm2"], intermediate_size=128)
    families.write_json(folder / "config.json", families.config_of(shape))
    families.write_weights(shape, folder, seed=0)
    return folder


@pytest.fixture(scope="module")
def measured(family_dir: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Measured]]:
    """`measured("peft")` → what contract.py found."""
    work = tmp_path_factory.mktemp("contract")
    folders = {name: family_dir(name) for name in families.FAMILIES} | {"wide": wide(family_dir("smollm2"), work / "wide")}
    parts = [f"{name}={folder}" for name, folder in folders.items()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "UNSLOTH_FT_CACHE": str(work / "cache"), "HF_HUB_OFFLINE": "1"}
    started = {
        name: subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("contract.py")), name, str(work / name), *parts],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in BACKENDS
        if name == "fused" or importlib.util.find_spec(name)
    }
    answers: dict[str, Measured] = {}

    def get(name: str) -> Measured:
        if name not in started:
            pytest.skip(f"{name} is not installed")
        if name not in answers:
            output, errors = started[name].communicate()
            assert started[name].returncode == 0, errors[-4000:]
            answers[name] = json.loads(output) | {"stderr": errors}
        return answers[name]

    yield get
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.fixture(params=BACKENDS)
def found(request: pytest.FixtureRequest, measured: Callable[[str], Measured]) -> Measured:
    return measured(request.param)


def test_the_base_stays_frozen_and_every_adapter_weight_moves(found: Measured):
    assert found["training"]["moved_base"] == []
    assert found["training"]["still_adapter"] == []


def test_the_adapter_is_a_and_b_in_float32_on_all_seven_projections_of_both_layers(found: Measured):
    modules = [*(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down"))]
    expected = [f"model.layers.{layer}.{module}.lora_{half}.default.weight" for layer in (0, 1) for module in modules for half in "AB"]
    assert found["training"]["trainable"] == sorted(expected)
    assert found["training"]["dtypes"] == ["torch.float32"]


def test_trainable_share_is_what_the_shapes_say(found: Measured):
    hidden, wide_, kv, rank, vocabulary = 64, 160, 32, 4, 49152
    of_adapter = 2 * rank * (2 * (hidden + hidden) + 2 * (hidden + kv) + 3 * (hidden + wide_))
    of_base = vocabulary * hidden + 2 * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * wide_ + 2 * hidden) + hidden
    assert found["training"]["trainable_share"] == [of_adapter, of_base + of_adapter]


def test_a_new_adapter_changes_no_loss(found: Measured):
    # The fused layers form the same sums in another order than the base's stock ones.
    assert found["training"]["start"] == pytest.approx(found["training"]["base"], rel=1e-6)
    assert found["training"]["tuned"] != found["training"]["base"]


def test_switched_off_the_adapter_leaves_the_base_exactly(found: Measured):
    assert found["training"]["disabled"] == found["training"]["base"]


def test_a_saved_adapter_gives_the_same_losses_when_loaded(found: Measured):
    assert found["training"]["loaded"] == found["training"]["tuned"]


def test_inference_is_a_mode_that_is_left_again(found: Measured):
    assert found["training"]["in_evaluation"] is True
    assert found["training"]["training_again"] is True


def test_the_adapter_names_its_base_by_id_and_keeps_the_base_s_own_tokenizer(found: Measured):
    assert found["training"]["base_named"] == "a/base"
    assert found["training"]["pad_token"] == "<|im_end|>"  # SmolLM2 as published
    assert found["pad_token"] == {"before": None, "after": None, "saved": None}  # TRL sets one on the tokenizer it is given


def test_checkpoints_hold_what_a_resume_needs_and_no_pickled_arguments(found: Measured):
    assert found["training"]["checkpoint_files"] == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json", "optimizer.pt", "rng_state.pth", "scheduler.pt",
        "trainer_state.json",
    ]  # fmt: skip


def test_the_result_says_what_the_curve_says(found: Measured):
    result, curve = found["training"]["result"], found["training"]["curve"]
    assert (result["steps"], result["epochs"], result["best_step"], result["stopped_early"], result["resumed_from_step"]) == (
        6,
        1.0,
        6,
        False,
        0,
    )
    assert result["first_eval_loss"] == curve["eval_loss"]["0"]
    assert result["best_eval_loss"] == curve["eval_loss"]["6"] == min(curve["eval_loss"].values())
    assert 2**27 < result["peak_memory_bytes"] < 2**33  # torch alone takes over 128 MiB


@pytest.mark.parametrize("other", OTHERS)
def test_every_backend_begins_with_the_same_loss(measured: Callable[[str], Measured], other: str):
    vanilla, product = (measured(name)["training"] for name in ("peft", other))
    assert product["start"] == pytest.approx(vanilla["start"], rel=1e-6)
    assert product["curve"]["loss"][0] == pytest.approx(vanilla["curve"]["loss"][0], rel=1e-6)


@pytest.mark.parametrize("other", OTHERS)
def test_every_backend_learns_along_the_same_curve(measured: Callable[[str], Measured], other: str):
    vanilla, product = (measured(name)["training"]["curve"] for name in ("peft", other))
    assert len(vanilla["loss"]) == 6
    assert product["loss"] == pytest.approx(vanilla["loss"], abs=TRAJECTORY_BAND)
    assert product["grad_norm"] == pytest.approx(vanilla["grad_norm"], abs=TRAJECTORY_BAND)
    assert product["eval_loss"] == pytest.approx(vanilla["eval_loss"], abs=TRAJECTORY_BAND)


def test_what_was_learned_by_heart_is_answered_and_ended(found: Measured):
    answer = found["stops"]
    assert answer["text"] == answer["wanted"] == "At 1."
    assert answer["stopped"] is True
    assert answer["ids"] < 24


def test_four_bit_quantizes_every_projection_and_trains_on_a_cpu(found: Measured):
    four_bit = found["four_bit"]
    assert four_bit["quantized"] == 14
    assert four_bit["moved_base"] == []
    assert four_bit["still_adapter"] == []
    assert four_bit["eval_loss"]["3"] < four_bit["eval_loss"]["0"]


def test_adapters_of_a_four_bit_base_stay_float32_in_training(found: Measured):
    assert found["four_bit"]["dtypes"] == ["torch.float32"]


@pytest.mark.parametrize("other", OTHERS)
def test_four_bit_gradients_are_whole_after_an_evaluation(measured: Callable[[str], Measured], other: str):
    vanilla, product = (measured(name)["four_bit"] for name in ("peft", other))
    assert product["loss"] == pytest.approx(vanilla["loss"], abs=0.01)
    assert product["grad_norm"] == pytest.approx(vanilla["grad_norm"], rel=0.05)
    assert min(vanilla["grad_norm"]) > 10  # 2.2 where bitsandbytes had repacked the weights


def test_gradient_checkpointing_changes_no_loss(found: Measured):
    plain, *others = found["checkpointing"].values()
    assert others
    for other in others:
        assert other["loss"] == pytest.approx(plain["loss"], abs=1e-5)
        assert other["grad_norm"] == pytest.approx(plain["grad_norm"], abs=TRAJECTORY_BAND)


def test_one_times_eight_is_eight_times_one_is_two_times_four(found: Measured):
    whole = found["micro_batches"]["8x1"]
    for name in ("1x8", "2x4"):
        cut = found["micro_batches"][name]
        assert cut["loss"] == pytest.approx(whole["loss"], abs=TRAJECTORY_BAND)
        assert cut["grad_norm"] == pytest.approx(whole["grad_norm"], abs=TRAJECTORY_BAND)
        assert cut["eval_loss"] == pytest.approx(whole["eval_loss"], abs=TRAJECTORY_BAND)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_rows_end_to_end_give_the_padded_batch_s_loss_and_gradients(found: Measured, family: str):
    seen = found["flat_rows"][family]
    assert seen["weights"] == 28
    assert seen["losses"]["flat"] == pytest.approx(seen["losses"]["padded"], rel=1e-6)
    assert seen["off"]["flat"] < 2e-5
    # What they would be if rows saw each other.
    assert abs(seen["losses"]["borderless"] - seen["losses"]["padded"]) > 1e-2
    assert seen["off"]["borderless"] > 0.1


@pytest.mark.parametrize(
    ("poison", "what"), [("embedding", "the loss is nan"), ("adapter", "the loss is nan"), ("gradient", "the gradient's norm is nan")]
)
def test_nan_stops_before_the_optimizer_step_and_names_the_lines(found: Measured, poison: str, what: str):
    seen = found["poisons"][poison]
    assert seen["message"] == (
        f"training diverged at step 3: {what}. The rows: faq.jsonl:1, faq.jsonl:5. Weights and checkpoints are as they were before "
        "that step. Look at those rows, or lower the rate: --set train.learning_rate=0.005."
    )
    assert seen["moved"] == []
    assert seen["nan_on_disk"] is False
    assert seen["steps"] == [1, 2]


def test_nan_in_an_evaluation_names_the_held_out_lines(found: Measured):
    seen = found["poisons"]["held_out"]
    lines = ", ".join(f"held_out.jsonl:{line}" for line in (101, 102, 103, 104))
    assert seen["message"] == f"the eval loss is nan at step 2, checkpoints are kept. The held-out rows: {lines}."
    assert seen["moved"] == []


def test_an_interrupted_run_ends_as_the_uninterrupted_one_bit_by_bit(found: Measured):
    resume = found["resume"]
    assert resume["interrupted"] == [15, 3]
    assert len(resume["straight"]["curve"]["loss"]) == 5
    assert resume["resumed"] == resume["straight"]
    assert resume["other_seed"]["curve"] != resume["straight"]["curve"]
    assert resume["other_seed"]["weights"] != resume["straight"]["weights"]


def test_nothing_is_said_that_a_user_could_not_use(found: Measured):
    assert found["stderr"] == ""
