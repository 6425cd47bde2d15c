"""transformers + PEFT with our own layers in plain torch: the fast way without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn import Module

from unsloth_ft.backends.peft import PeftBackend
from unsloth_ft.kernels import fused
from unsloth_ft.memory_fit import first_layers
from unsloth_ft.plan import Plan
from unsloth_ft.recipe import Recipe


class FusedBackend(PeftBackend):
    """See unsloth_ft.backends.Backend. A PEFT model in all but the forward of its layers on flat rows."""

    name = "fused"

    def add_lora(self, model: Module, recipe: Recipe, plan: Plan) -> PeftModel:
        return _fused(super().add_lora(model, recipe, plan), plan)

    def load_adapter(self, model: Module, folder: Path, plan: Plan) -> PeftModel:
        return _fused(super().load_adapter(model, folder, plan), plan)

    def loss(self, model: PeftModel, inputs: dict[str, Any], num_items: torch.Tensor | int | None) -> torch.Tensor | None:
        """See fused.loss."""
        return fused.loss(model, inputs, num_items)


def _fused(model: PeftModel, plan: Plan) -> PeftModel:
    way = plan.gradient_checkpointing.value
    first = first_layers(way)
    fused.install(model, recompute=bool(way) if first is None else first, load_in_4bit=plan.load_in_4bit.value)
    return model
