"""Loads checkpoints with one backend, adds an adapter, trains one step's gradients: load_synthetic.py BACKEND RECIPE=FOLDER… → JSON.

A process of its own, because importing unsloth patches transformers, trl and peft for good. The asserts are in test_synth.py.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ["UNSLOTH_FORCE_CPU"] = "1"  # the machine of tests/train/setting.py has no GPU

from tests.train.setting import MACHINE  # noqa: E402
from unsloth_ft import backends, catalog  # noqa: E402
from unsloth_ft.base_model import BaseModel  # noqa: E402
from unsloth_ft.plan import DataFacts, Decision, resolve  # noqa: E402

ROWS = DataFacts(train_rows=8, held_out_rows=2, length_p50=32, length_p95=64, length_max=64)


def measure(backend: backends.Backend, name: str, folder: Path) -> dict[str, Any]:
    """Loss and gradient norm of one row of random ids, and what the weights are stored in."""
    import torch

    base = BaseModel(name, None, folder, "synthetic")
    quantized = "quantization_config" in base.config
    recipe = catalog.override(catalog.find(name).recipe, [f"load_in_4bit={str(quantized).lower()}"])
    plan = resolve(recipe, ROWS, base.facts(), MACHINE, Decision(backend.name, "asked for"))
    with backends.third_party():
        model = backend.add_lora(backend.load(base, plan), recipe, plan)
    model.train()
    ids = torch.randint(0, base.config["vocab_size"], (1, 32), generator=torch.Generator().manual_seed(0))
    loss = model(input_ids=ids, labels=ids, attention_mask=torch.ones_like(ids)).loss
    loss.backward()
    gradients = [parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None]
    projection = next(module for path, module in model.named_modules() if path.endswith("q_proj.base_layer"))
    return {
        "loss": loss.item(),
        "gradient_norm": torch.stack(gradients).norm().item(),
        "adapters": len(gradients),
        "weight_dtype": str(projection.weight.dtype),
        "linear": type(projection).__name__,
    }


def main() -> None:
    backend = backends.activate(sys.argv[1])
    named = [argument.partition("=") for argument in sys.argv[2:]]
    print(json.dumps([measure(backend, name, Path(folder)) for name, _, folder in named]))


if __name__ == "__main__":
    main()
