"""Loss and adapter gradients of the same rows padded, laid end to end, and laid end to end with their borders forgotten.

    flat_rows.py BACKEND MODEL_FOLDER WORK_FOLDER     (prints JSON; on whatever machine this is)

A process of its own, because importing unsloth patches transformers, trl and peft for good.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unsloth_ft import backends, hardware
from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import IGNORE, Chat, Row, load_tokenizer
from unsloth_ft.plan import DataFacts, Decision, Plan, resolve
from unsloth_ft.recipe import Evaluate, Lora, Recipe, Train
from unsloth_ft.record import RunDirectory

LENGTHS = (40, 7, 23, 61, 12)


def measure(model: Any, trainer: Any, rows: Sequence[Row]) -> dict[str, Any]:
    """`losses` by layout, and how far each layout's gradients are off the padded batch's: the most of any weight, as a share of its largest."""
    from unsloth_ft.train.batches import collate, example, flat

    stir(model)
    examples = [example(row, at) for at, row in enumerate(rows)]
    laid = flat(examples)
    one_row = flat([{"input_ids": laid["input_ids"][0].tolist(), "labels": laid["labels"][0].tolist()}])
    found = {
        name: gradients(model, trainer, batch)
        for name, batch in (("padded", collate(examples, padding_id=0)), ("flat", laid), ("borderless", one_row))
    }
    padded = found["padded"][1]
    return {
        "losses": {name: loss for name, (loss, _) in found.items()},
        "off": {
            name: max(((grads[weight] - padded[weight]).abs().max() / padded[weight].abs().max()).item() for weight in padded)
            for name, (_, grads) in found.items()
        },
        "weights": len(padded),
    }


def stir(model: Any) -> None:
    """B as after some training: while it is zero, A has no gradient."""
    import torch

    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)


def gradients(model: Any, trainer: Any, batch: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """(loss, adapter gradients by name) of one step on this micro-batch, through the trainer's own loss."""
    model.train()
    model.zero_grad()
    inputs = trainer._prepare_inputs(dict(batch))
    learned = (inputs["labels"][:, 1:] != IGNORE).sum()
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(model, inputs, num_items_in_batch=learned)
    loss.backward()
    return loss.item(), {name: parameter.grad.float().cpu() for name, parameter in model.named_parameters() if parameter.grad is not None}


def random_rows(vocabulary: int) -> list[Row]:
    generator = random.Random(3)
    found = []
    for number, length in enumerate(LENGTHS):
        ids = tuple(generator.randrange(5, vocabulary) for _ in range(length))
        found.append(Row(ids, (IGNORE,) * (length // 2) + ids[length // 2 :], f"rows.jsonl:{number + 1}", (length,)))
    return found


def plan_here(recipe: Recipe, base: BaseModel, backend: str) -> Plan:
    """The plan on this machine, with rows laid end to end."""
    machine = hardware.detect()
    hardware.pin(machine)
    facts = DataFacts(len(LENGTHS), 1, 23, 61, 61, LENGTHS)
    plan = resolve(recipe, facts, base.facts(), machine, Decision(backend, "a test"))
    return replace(plan, gradient_checkpointing=Decision(False, "a test"))


def main(name: str, folder: Path, work: Path) -> None:
    from unsloth_ft.train.loop import make_trainer

    backend = backends.activate(name)
    base = BaseModel(folder.name, None, folder, "a folder")
    recipe = Recipe(model=str(folder), load_in_4bit=False, lora=Lora(r=4), train=Train(max_steps=1), evaluate=Evaluate(answers=0))
    plan, chat = plan_here(recipe, base, name), Chat(load_tokenizer(folder))
    rows = random_rows(len(chat.tokenizer))
    with backends.third_party():
        model = backend.add_lora(backend.load(base, plan), recipe, plan)
    trainer = make_trainer(
        model, backend, recipe=recipe, plan=plan, rows=rows, held_out=rows[:1], chat=chat, run=RunDirectory(work), resumed=False
    )
    with backends.third_party():
        found = measure(model, trainer, rows)
    print(json.dumps(found | {"device": plan.device.value}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
