"""The training loop on a tiny model, in this process with the peft backend: resume, interruption, damage, stopping, metrics."""

from __future__ import annotations

import io
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.backends.contract import digest, interrupt, lines, read_curve, weights
from tests.train.setting import Setting, setting
from unsloth_ft import backends
from unsloth_ft.backends import Backend
from unsloth_ft.errors import GateError, MachineError
from unsloth_ft.evaluate.losses import row_losses, total
from unsloth_ft.order import packed_sequences
from unsloth_ft.prepare import check_report_to
from unsloth_ft.record import RunDirectory
from unsloth_ft.train import checkpoints
from unsloth_ft.train.loop import arguments, evaluation_tokens, load_adapter_weights, save_adapter

# Four rows in batches of two: two steps an epoch.
FIVE = ("train.max_steps=5", "train.eval_steps=5")


@pytest.fixture(scope="module")
def backend() -> Backend:
    return backends.activate("peft")


@pytest.fixture(scope="module")
def smollm2(family_dir: Callable[[str], Path]) -> Path:
    return family_dir("smollm2")


def sha(out: Path) -> dict[str, str]:
    return {name: digest(value) for name, value in weights(out).items()}


def go(run: Setting, backend: Backend, out: Path, **more: Any) -> Any:
    return run.train(run.model(backend), backend, out, **more)


@pytest.fixture(scope="module")
def straight(smollm2: Path, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`straight("lora.lora_dropout=0.1")` → the folder of an uninterrupted run, made once. Read it, never write into it."""
    made: dict[tuple[str, ...], Path] = {}

    def get(*settings: str) -> Path:
        if settings not in made:
            made[settings] = tmp_path_factory.mktemp("straight")
            go(setting(smollm2, *FIVE, "train.save_steps=1", "train.save_total_limit=9", *settings, rows=4), backend, made[settings])
        return made[settings]

    return get


@pytest.mark.parametrize("at", [2, 3], ids=["at the epoch's end", "mid-epoch"])
@pytest.mark.parametrize(
    "settings", [(), ("lora.lora_dropout=0.1",), ("dtype=bfloat16", "lora.lora_dropout=0.1")], ids=["plain", "dropout", "bfloat16"]
)
def test_a_resumed_run_is_the_uninterrupted_run_bit_by_bit(
    straight: Callable[..., Path], smollm2: Path, backend: Backend, tmp_path: Path, settings, at: int
):
    run = setting(smollm2, *FIVE, "train.save_steps=1", "train.save_total_limit=9", *settings, rows=4)
    for step in range(1, at + 1):
        shutil.copytree(straight(*settings) / "checkpoints" / f"checkpoint-{step}", tmp_path / "checkpoints" / f"checkpoint-{step}")
    shutil.copy(straight(*settings) / "metrics.jsonl", tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 9, "epoch": 4.5, "lo')  # what a kill leaves
    result = go(run, backend, tmp_path)
    assert result.resumed_from_step == at
    assert read_curve(tmp_path) == read_curve(straight(*settings))
    assert sha(tmp_path) == sha(straight(*settings))


def test_another_seed_is_another_run(straight: Callable[..., Path]):
    one, other = straight(), straight("train.seed=8")
    assert read_curve(one)["loss"] != read_curve(other)["loss"]
    assert sha(one) != sha(other)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_the_step_at_hand(
    straight: Callable[..., Path], smollm2: Path, backend: Backend, tmp_path: Path, number: int
):
    run = setting(smollm2, *FIVE, rows=4)
    before = signal.getsignal(number)
    assert interrupt(run, backend, tmp_path, at=3, number=number) == [number, 3]
    assert signal.getsignal(number) is before
    assert [line["step"] for line in lines(tmp_path) if "loss" in line] == [1, 2, 3]
    assert go(run, backend, tmp_path).resumed_from_step == 3
    assert read_curve(tmp_path)["loss"] == read_curve(straight())["loss"]
    assert sha(tmp_path) == sha(straight())


def test_a_signal_in_the_last_step_ends_the_run_too(smollm2: Path, backend: Backend, tmp_path: Path):
    run = setting(smollm2, "train.max_steps=1", rows=4)
    assert interrupt(run, backend, tmp_path, at=1) == [signal.SIGTERM, 1]


def test_a_finished_training_is_not_trained_on(straight: Callable[..., Path], smollm2: Path, backend: Backend, tmp_path: Path):
    """A kill between the last checkpoint and the adapter: five steps are two and a half epochs, where transformers would do a sixth."""
    shutil.copytree(straight(), tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "metrics.jsonl").read_text()
    run = setting(smollm2, *FIVE, "train.save_steps=1", rows=4)
    model = run.model(backend)
    result = run.train(model, backend, tmp_path)
    assert (result.steps, result.resumed_from_step, result.best_step, result.epochs) == (5, 5, 5, 2.5)
    assert result.tokens == sum(line.get("tokens", 0) for line in lines(tmp_path))
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert eval_loss(model, run) == result.best_eval_loss == read_curve(tmp_path)["eval_loss"]["5"]


def test_packed_rows_teach_what_rows_by_themselves_do(smollm2: Path, backend: Backend, tmp_path: Path):
    """A whole epoch a step, so that both have the same rows in it: 12 rows, or the sequences that they are packed into."""
    curves = {}
    for name, settings in {
        "rows": ("train.per_device_train_batch_size=12",),
        "packed": ("train.per_device_train_batch_size=2", "train.gradient_accumulation_steps=3", "train.packing=true"),
    }.items():
        run = setting(smollm2, "train.max_steps=2", "train.eval_steps=2", "max_seq_length=160", *settings)
        result = go(run, backend, tmp_path / name)
        assert result.epochs == 2
        curves[name] = read_curve(tmp_path / name)
    assert (run.plan.packing.value, packed_sequences([len(row.input_ids) for row in run.rows], max_seq_length=160)) == (True, 6)
    assert curves["packed"]["loss"] == pytest.approx(curves["rows"]["loss"], rel=1e-5)
    assert curves["packed"]["grad_norm"] == pytest.approx(curves["rows"]["grad_norm"], rel=1e-5)
    assert curves["packed"]["eval_loss"] == pytest.approx(curves["rows"]["eval_loss"], rel=1e-5)


def test_metrics_lines_have_these_keys_and_count_tokens_without_padding(straight: Callable[..., Path], smollm2: Path):
    found = lines(straight())
    steps = [line for line in found if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
    assert all(
        [*line] == ["step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "seconds", "tokens_per_second"] for line in steps
    )
    assert [[*line] for line in found if "loss" not in line] == [["step", "epoch", "eval_loss"]] * 2
    assert [line["step"] for line in found if "eval_loss" in line] == [0, 5]
    lengths = [len(row.input_ids) for row in setting(smollm2, *FIVE, rows=4).rows]
    assert len(set(lengths)) == 4
    assert steps[0]["tokens"] + steps[1]["tokens"] == steps[2]["tokens"] + steps[3]["tokens"] == sum(lengths)
    assert max(lengths) + min(lengths) <= steps[0]["tokens"] < 2 * max(lengths)
    assert [line["epoch"] for line in steps] == [0.5, 1.0, 1.5, 2.0, 2.5]


def test_a_line_every_so_many_steps_and_one_at_each_checkpoint(
    straight: Callable[..., Path], smollm2: Path, backend: Backend, tmp_path: Path
):
    go(setting(smollm2, *FIVE, "train.logging_steps=2", rows=4), backend, tmp_path)
    every, some = [line for line in lines(straight()) if "loss" in line], [line for line in lines(tmp_path) if "loss" in line]
    assert [line["step"] for line in some] == [2, 4, 5]
    assert some[0]["loss"] == pytest.approx((every[0]["loss"] + every[1]["loss"]) / 2, rel=1e-6)
    assert [line["tokens"] for line in some] == [
        every[0]["tokens"] + every[1]["tokens"],
        every[2]["tokens"] + every[3]["tokens"],
        every[4]["tokens"],
    ]


def test_a_damaged_checkpoint_is_said_removed_and_the_one_before_is_used(
    straight: Callable[..., Path], smollm2: Path, backend: Backend, tmp_path: Path
):
    shutil.copytree(straight() / "checkpoints", tmp_path / "checkpoints")
    shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-5")
    (tmp_path / "checkpoints" / "checkpoint-4" / "optimizer.pt").unlink()
    leftover = tmp_path / "checkpoints" / checkpoints.STAGING / "checkpoint-5"
    leftover.mkdir(parents=True)
    said = io.StringIO()
    run = setting(smollm2, *FIVE, "train.save_steps=1", "train.save_total_limit=9", rows=4)
    result = go(run, backend, tmp_path, console=Console(file=said, width=200))
    message = "checkpoint-4 was damaged or incomplete and is removed; training goes on from checkpoint-3"
    assert result.resumed_from_step == 3
    assert message in said.getvalue()
    assert RunDirectory(tmp_path).read()["warnings"] == [message]
    assert sha(tmp_path) == sha(straight())
    assert not leftover.exists()


def test_the_best_weights_are_what_is_saved(smollm2: Path, backend: Backend, tmp_path: Path):
    """A rate this high makes the eval loss rise again; patience 2 ends the run before step 9."""
    run = setting(smollm2, "train.max_steps=9", "train.eval_steps=1", "train.early_stopping_patience=2", "train.learning_rate=0.3",
                  "train.lr_scheduler_type=constant_with_warmup", "train.warmup_steps=2", rows=4)  # fmt: skip
    model = run.model(backend)
    result = run.train(model, backend, tmp_path)
    curve = read_curve(tmp_path)["eval_loss"]
    trained = {int(step): loss for step, loss in curve.items() if step != "0"}
    assert result.stopped_early is True
    assert result.steps == result.best_step + 2 < 9
    assert result.best_step == min(trained, key=lambda step: trained[step])
    assert result.best_eval_loss == trained[result.best_step] < trained[result.steps]
    assert {checkpoints.step_of(path) for path in checkpoints.all_checkpoints(tmp_path / "checkpoints")} == {result.best_step, result.steps}
    assert eval_loss(model, run) == result.best_eval_loss
    folder = save_adapter(model, run.chat, "a/base", RunDirectory(tmp_path))
    with backends.third_party():
        again = backend.load_adapter(backend.load(run.base, run.plan), folder, run.plan)
    assert eval_loss(again, run) == result.best_eval_loss
    check_that_a_stopped_run_stays_stopped(run, backend, tmp_path, result)


def check_that_a_stopped_run_stays_stopped(run: Setting, backend: Backend, out: Path, before: Any) -> None:
    """Patience is counted from the log in the checkpoint: at the end, and one evaluation before it."""
    model = run.model(backend)
    result = run.train(model, backend, out)
    assert (result.steps, result.best_step, result.best_eval_loss) == (before.steps, before.best_step, before.best_eval_loss)
    assert eval_loss(model, run) == before.best_eval_loss
    newest = checkpoints.newest_whole(out / "checkpoints")[0]
    shutil.rmtree(newest)
    result = go(run, backend, out)
    assert result.resumed_from_step == before.best_step
    assert (result.steps, result.best_step, result.best_eval_loss) == (before.steps, before.best_step, before.best_eval_loss)
    damage_the_best_and_go_on(run, backend, out, before)


def damage_the_best_and_go_on(run: Setting, backend: Backend, out: Path, before: Any) -> None:
    """The newest is whole but the best is not: what is left is used, and said."""
    (out / "checkpoints" / f"checkpoint-{before.best_step}" / checkpoints.WEIGHTS).write_bytes(b"")
    model = run.model(backend)
    result = run.train(model, backend, out)
    assert result.best_step == before.steps
    assert eval_loss(model, run) == result.best_eval_loss > before.best_eval_loss
    assert RunDirectory(out).read()["warnings"][-1] == (
        f"the best checkpoint (step {before.best_step}, eval loss {before.best_eval_loss:.4f}) was damaged; "
        f"step {before.steps} ({result.best_eval_loss:.4f}) is used"
    )


def eval_loss(model: Any, run: Setting) -> float:
    return total(
        row_losses(
            model, run.held_out, batch_tokens=evaluation_tokens(run.plan), padding_free=True, padding_id=run.chat.padding_id, autocast=None
        )
    )


def test_a_base_that_gives_nan_is_found_before_the_first_step(smollm2: Path, backend: Backend, tmp_path: Path):
    run = setting(smollm2, *FIVE, rows=4)
    model = run.model(backend)
    model.get_input_embeddings().weight.data[:] = float("nan")
    with pytest.raises(GateError, match="the eval loss is nan at step 0, before any training: .* held-out rows: held_out.jsonl:101, "):
        run.train(model, backend, tmp_path)
    assert checkpoints.all_checkpoints(tmp_path / "checkpoints") == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing"),
    ],
)
def test_a_full_disk_keeps_the_checkpoint_before_and_says_what_is_needed(
    smollm2: Path, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    run = setting(smollm2, "train.max_steps=3", "train.eval_steps=3", "train.save_steps=1", rows=4)
    seal = checkpoints.seal

    def full(staged: Path, final: Path) -> None:
        if final.name == "checkpoint-2":
            raise error
        seal(staged, final)

    monkeypatch.setattr(checkpoints, "seal", full)
    with pytest.raises(MachineError, match=r"checkpoint-2 can't be written \(.*\): it needs about \d+ MiB, [\d,]+ MiB are free."):
        go(run, backend, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-1"]
    assert checkpoints.is_whole(tmp_path / "checkpoints" / "checkpoint-1")
    monkeypatch.undo()
    assert go(run, backend, tmp_path).resumed_from_step == 1


def test_report_to_reaches_the_trainer_and_a_missing_package_is_named_first(
    smollm2: Path, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = setting(smollm2, *FIVE, "train.report_to=wandb", rows=4)
    assert arguments(run.recipe, run.plan, backend, RunDirectory(tmp_path)).report_to == ["wandb"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match="train.report_to is wandb, but wandb is not installed. Install it: pip install wandb."):
        check_report_to(run.recipe)


def test_nothing_is_printed_but_our_own_lines(smollm2: Path, backend: Backend, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    run = setting(smollm2, "train.max_steps=1", "train.early_stopping_patience=2", rows=4)
    said = io.StringIO()
    go(run, backend, tmp_path, console=Console(file=said))
    assert capfd.readouterr() == ("", "")
    assert [line.split(":")[0] for line in said.getvalue().splitlines()] == ["  step 0/1", "  step 1/1"]


def test_the_adapter_s_folder_is_whole_or_not_there(smollm2: Path, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = setting(smollm2, *FIVE, rows=4)
    model = run.model(backend)
    directory = RunDirectory(tmp_path)
    folder = save_adapter(model, run.chat, "owner/model", directory)
    before = sorted((file.name, file.read_bytes()) for file in folder.iterdir())
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "owner/model"
    assert model.peft_config["default"].base_model_name_or_path == str(smollm2)
    monkeypatch.setattr(type(run.chat.tokenizer), "save_pretrained", no_space)
    with pytest.raises(MachineError, match=r"the adapter can't be written \(No space left on device\)"):
        save_adapter(model, run.chat, "owner/model", directory)
    assert sorted((file.name, file.read_bytes()) for file in folder.iterdir()) == before
    assert not (tmp_path / ".adapter").exists()


def no_space(*args: Any, **kwargs: Any) -> None:
    raise OSError(28, "No space left on device")


def test_weights_of_a_checkpoint_are_those_it_was_written_with(straight: Callable[..., Path], smollm2: Path, backend: Backend):
    run = setting(smollm2, *FIVE, rows=4)
    model = run.model(backend)
    load_adapter_weights(model, straight() / "checkpoints" / "checkpoint-5")
    assert eval_loss(model, run) == read_curve(straight())["eval_loss"]["5"]
