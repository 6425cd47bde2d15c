"""LoRA adapters with random A and B, as PEFT itself makes and saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from unsloth_ft.recipe import PROJECTIONS


def peft_model(base: Path, *, r: int = 4, std: float = 0.05, **more: Any) -> Any:
    """PEFT's model on the base in float32; B is random too, so that the adapter changes every targeted weight."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(1)
    values = {"lora_alpha": 8, "target_modules": list(PROJECTIONS), "task_type": "CAUSAL_LM", **more}
    adapted = get_peft_model(model, LoraConfig(r=r, **values))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:  # what PEFT begins with zeros
            torch.nn.init.normal_(parameter, std=std)
    return adapted


def save(adapted: Any, folder: Path) -> Path:
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def change_weights(folder: Path, change: Any) -> None:
    """`change(state)` alters the adapter's tensors in place."""
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "adapter_model.safetensors")
    change(state)
    save_file(state, folder / "adapter_model.safetensors")
