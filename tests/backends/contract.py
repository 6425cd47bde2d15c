"""Measures one backend against the contract and prints what it found as JSON: contract.py BACKEND WORK_FOLDER FAMILY=FOLDER…

A process of its own, because importing unsloth patches transformers, trl and peft for good. The asserts are in test_contract.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ["UNSLOTH_FORCE_CPU"] = "1"  # the machine of tests/train/setting.py has no GPU

from tests.backends import flat_rows  # noqa: E402
from tests.families import FAMILIES  # noqa: E402
from tests.train.setting import Setting, setting  # noqa: E402
from unsloth_ft import backends  # noqa: E402
from unsloth_ft.errors import GateError  # noqa: E402

STEPS = ("train.max_steps=6", "train.eval_steps=3")


class Contract:
    """The checks; each returns what it saw."""

    def __init__(self, backend: str, work: Path, folders: dict[str, Path]) -> None:
        self.name = backend
        self.backend = backends.activate(backend)
        self.work = work
        self.folders = folders
        self.runs = 0

    def setting(self, *settings: str, family: str = "smollm2", rows: int = 12) -> Setting:
        return setting(self.folders[family], *settings, backend=self.name, rows=rows)

    def out(self) -> Path:
        self.runs += 1
        return self.work / f"run-{self.runs}"

    def curve(self, *settings: str, **more: Any) -> dict[str, Any]:
        """Losses and gradient norms of a short run."""
        run = self.setting(*settings, **more)
        out = self.out()
        run.train(run.model(self.backend), self.backend, out)
        return read_curve(out)

    def losses(self, model: Any, run: Setting) -> list[float]:
        from unsloth_ft.evaluate.losses import row_losses

        found = row_losses(model, run.held_out, batch_tokens=200, padding_free=True, padding_id=run.chat.padding_id, autocast=None)
        return [loss.nll / loss.tokens for loss in found]

    def training(self) -> dict[str, Any]:
        """What moves, what stays, and what a saved adapter says."""
        from unsloth_ft.record import RunDirectory
        from unsloth_ft.train.loop import save_adapter

        run = self.setting(*STEPS)
        with backends.third_party():
            base = self.backend.load(run.base, run.plan)
        of_base = self.losses(base, run)
        with backends.third_party():
            model = self.backend.add_lora(base, run.recipe, run.plan)
        names = {name: parameter for name, parameter in model.named_parameters()}
        trainable = [name for name, parameter in names.items() if parameter.requires_grad]
        before = {name: digest(parameter) for name, parameter in names.items()}
        start = self.losses(model, run)
        model.train()
        out = self.out()
        result = run.train(model, self.backend, out)
        after = {name: digest(parameter) for name, parameter in names.items()}
        tuned = self.losses(model, run)
        model.train()
        with self.backend.inference(model):
            in_evaluation = not model.training
            with model.disable_adapter():
                disabled = self.losses(model, run)
        folder = save_adapter(model, run.chat, "a/base", RunDirectory(out))
        with backends.third_party():
            again = self.backend.load_adapter(self.backend.load(run.base, run.plan), folder, run.plan)
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
        return {
            "moved_base": [name for name in names if name not in trainable and before[name] != after[name]],
            "still_adapter": [name for name in trainable if before[name] == after[name]],
            "trainable": sorted(name.removeprefix("base_model.model.") for name in trainable),
            "dtypes": sorted({str(names[name].dtype) for name in trainable}),
            "trainable_share": [result.trainable_parameters, result.all_parameters],
            "base": of_base,
            "start": start,
            "tuned": tuned,
            "disabled": disabled,
            "loaded": self.losses(again, run),
            "in_evaluation": in_evaluation,
            "training_again": model.training,
            "result": result.as_json(),
            "curve": read_curve(out),
            "base_named": json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"],
            "pad_token": tokenizer.get("pad_token"),
            "checkpoint_files": sorted({file.name for file in out.glob("checkpoints/checkpoint-*/*")}),
            "peak_memory_bytes": result.peak_memory_bytes,
        }

    def pad_token(self) -> dict[str, Any]:
        """A tokenizer without a pad token is still without one after training, in memory and beside the adapter."""
        from unsloth_ft.record import RunDirectory
        from unsloth_ft.train.loop import save_adapter

        run = self.setting("train.max_steps=1", family="mistral-v03", rows=4)
        before = run.chat.tokenizer.pad_token
        out = self.out()
        model = run.model(self.backend)
        run.train(model, self.backend, out)
        folder = save_adapter(model, run.chat, "a/base", RunDirectory(out))
        return {
            "before": before,
            "after": run.chat.tokenizer.pad_token,
            "saved": json.loads((folder / "tokenizer_config.json").read_text()).get("pad_token"),
        }

    def stops(self) -> dict[str, Any]:
        """A model that learned one answer by heart writes it, and its end."""
        from unsloth_ft.evaluate.answers import greedy

        run = self.setting(
            "train.max_steps=40", "train.eval_steps=40", "train.learning_rate=0.02", "lora.r=16", "train.lr_scheduler_type=constant", rows=1
        )
        model = run.model(self.backend)
        run.train(model, self.backend, self.out())
        prompt, wanted = run.chat.prompt(run.conversations[0])
        with self.backend.inference(model):
            answer = greedy(model, run.chat, [prompt], max_new_tokens=24)[0]
        return {"text": answer.text, "wanted": wanted, "stopped": answer.stopped, "ids": len(answer.ids)}

    def four_bit(self) -> dict[str, Any]:
        run = self.setting("load_in_4bit=true", "train.max_steps=3", "train.eval_steps=3", family="wide")
        model = run.model(self.backend)
        names = dict(model.named_parameters())
        before = {name: digest(parameter) for name, parameter in names.items()}
        out = self.out()
        run.train(model, self.backend, out)
        return {
            "dtypes": sorted({str(parameter.dtype) for parameter in names.values() if parameter.requires_grad}),
            "quantized": sum(type(module).__module__ == "bitsandbytes.nn.modules" for module in model.modules()),
            "moved_base": [name for name, parameter in names.items() if not parameter.requires_grad and before[name] != digest(parameter)],
            "still_adapter": [name for name, parameter in names.items() if parameter.requires_grad and before[name] == digest(parameter)],
            **read_curve(out),
        }

    def checkpointing(self) -> dict[str, Any]:
        ways = {"off": "false", "on": "true"} | ({"unsloth": '"unsloth"'} if self.name == "unsloth" else {})
        return {
            way: self.curve("train.max_steps=3", f"train.gradient_checkpointing={value}", "lora.lora_dropout=0.1")
            for way, value in ways.items()
        }

    def micro_batches(self) -> dict[str, Any]:
        """12 rows in steps of 8 and 4, three steps."""
        sizes = {"8x1": (8, 1), "1x8": (1, 8), "2x4": (2, 4)}
        return {
            name: self.curve(
                "train.max_steps=3",
                "train.eval_steps=3",
                f"train.per_device_train_batch_size={size}",
                f"train.gradient_accumulation_steps={times}",
            )
            for name, (size, times) in sizes.items()
        }

    def poisons(self) -> dict[str, Any]:
        return {name: self._poisoned(name) for name in ("embedding", "adapter", "gradient", "held_out")}

    def _poisoned(self, how: str) -> dict[str, Any]:
        """Poison comes in after two good steps, at the third: the weights must stay what the second step made them."""
        import torch
        from transformers import TrainerCallback

        run = self.setting("train.max_steps=4", "train.eval_steps=1", "train.save_steps=1")
        model = run.model(self.backend)
        adapter = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        seen: dict[str, Any] = {}

        class Poison(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step != 2:
                    return
                seen["before"] = {name: digest(parameter) for name, parameter in adapter.items()}
                if how == "embedding":
                    word = run.chat.tokenizer("office", add_special_tokens=False)["input_ids"][0]
                    model.get_input_embeddings().weight.data[word] = float("nan")
                elif how == "adapter":
                    next(parameter for name, parameter in adapter.items() if "lora_B" in name).data[:] = float("inf")
                    seen["before"] = {name: digest(parameter) for name, parameter in adapter.items()}
                elif how == "gradient":
                    next(iter(adapter.values())).register_hook(lambda gradient: gradient * float("nan"))

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if how == "held_out" and state.global_step == 2:
                    seen["before"] = {name: digest(parameter) for name, parameter in adapter.items()}
                    model.get_input_embeddings().weight.data[run.held_out[0].input_ids[3]] = float("nan")

        from unsloth_ft.train import trainer

        class Poisoned(trainer.Trainer):
            def __init__(self, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.add_callback(Poison())

        good, trainer.Trainer = trainer.Trainer, Poisoned
        out = self.out()
        try:
            run.train(model, self.backend, out)
        except GateError as error:
            message = str(error)
        else:
            message = None
        finally:
            trainer.Trainer = good
        return {
            "message": message,
            "moved": [name for name, parameter in adapter.items() if digest(parameter) != seen["before"][name]],
            "nan_on_disk": any(not torch.isfinite(value).all() for value in weights(out).values()),
            "steps": [line["step"] for line in lines(out) if "loss" in line],
        }

    def flat_rows(self) -> dict[str, Any]:
        """Of every family, the same rows padded and laid end to end."""
        from unsloth_ft.record import RunDirectory
        from unsloth_ft.train.loop import make_trainer

        found = {}
        for family in FAMILIES:
            run = self.setting("train.max_steps=1", family=family, rows=5)
            model = run.model(self.backend)
            parts = {"recipe": run.recipe, "plan": run.plan, "rows": run.rows, "held_out": run.held_out, "chat": run.chat}
            trainer = make_trainer(model, self.backend, run=RunDirectory(self.out()), resumed=False, **parts)
            found[family] = flat_rows.measure(model, trainer, run.rows)
        return found

    def resume(self) -> dict[str, Any]:
        """bfloat16 and dropout: five steps at once, and five steps interrupted in the middle of the second epoch of two steps."""
        settings = ("train.max_steps=5", "train.eval_steps=5", "dtype=bfloat16", "lora.lora_dropout=0.1")
        straight, resumed, other = (self.setting(*settings, f"train.seed={seed}", rows=4) for seed in (7, 7, 8))
        found = {}
        for name, run, stop in (("straight", straight, None), ("resumed", resumed, 3), ("other_seed", other, None)):
            out = self.out()
            if stop:
                interrupted = interrupt(run, self.backend, out, at=stop)
                found["interrupted"] = interrupted
            run.train(run.model(self.backend), self.backend, out)
            found[name] = {"curve": read_curve(out), "weights": {key: digest(value) for key, value in weights(out).items()}}
        return found


def interrupt(run: Setting, backend: Any, out: Path, *, at: int, number: int = signal.SIGTERM) -> list[int]:
    """Trains until a signal comes in step `at`; (the signal, the step of the newest checkpoint)."""
    from unsloth_ft.train import checkpoints, progress
    from unsloth_ft.train.loop import Interrupted

    class Stop(progress.LastStep):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == at - 1:
                os.kill(os.getpid(), number)

    usual, progress.LastStep = progress.LastStep, Stop
    try:
        run.train(run.model(backend), backend, out)
    except Interrupted as interruption:
        return [interruption.signal_number, checkpoints.step_of(checkpoints.newest_whole(out / "checkpoints")[0])]
    finally:
        progress.LastStep = usual
    raise AssertionError("the signal did not end the run")


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def read_curve(out: Path) -> dict[str, Any]:
    found = lines(out)
    return {
        "loss": [line["loss"] for line in found if "loss" in line],
        "grad_norm": [line["grad_norm"] for line in found if "loss" in line],
        "eval_loss": {str(line["step"]): line["eval_loss"] for line in found if "eval_loss" in line},
    }


def weights(out: Path) -> dict[str, Any]:
    """The adapter of the newest checkpoint."""
    from safetensors.torch import load_file

    from unsloth_ft.train import checkpoints

    return load_file(checkpoints.all_checkpoints(out / "checkpoints")[-1] / checkpoints.WEIGHTS)


def digest(tensor: Any) -> str:
    import torch

    return hashlib.sha256(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    contract = Contract(
        sys.argv[1], Path(sys.argv[2]), {name: Path(folder) for name, _, folder in (part.partition("=") for part in sys.argv[3:])}
    )
    names = ("training", "pad_token", "stops", "four_bit", "checkpointing", "micro_batches", "poisons", "resume", "flat_rows")
    print(json.dumps({name: getattr(contract, name)() for name in names}))
