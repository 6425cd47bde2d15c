"""Vanilla transformers + PEFT + bitsandbytes: the bench's baseline, and the fallback where Unsloth can't run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import Module
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, set_seed
from transformers.modeling_layers import GradientCheckpointingLayer

from unsloth_ft.base_model import BaseModel
from unsloth_ft.kernels import attention
from unsloth_ft.memory_fit import first_layers
from unsloth_ft.plan import Plan
from unsloth_ft.recipe import Recipe


class PeftBackend:
    """See unsloth_ft.backends.Backend."""

    name = "peft"

    def load(self, base: BaseModel, plan: Plan) -> Module:
        dtype = getattr(torch, plan.dtype.value)
        quantization = None
        if plan.load_in_4bit.value:
            # QLoRA's own setting (arXiv 2305.14314): NF4 with double quantization.
            quantization = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
            )
        model = AutoModelForCausalLM.from_pretrained(
            os.fspath(base.folder),
            dtype=dtype,
            quantization_config=quantization,
            attn_implementation=_attention(plan),
            device_map={"": 0} if plan.device.value == "cuda" else "cpu",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        model.config.use_cache = False
        if plan.load_in_4bit.value and plan.device.value == "cpu":
            _keep_differentiable(model)
        return model

    def add_lora(self, model: Module, recipe: Recipe, plan: Plan) -> PeftModel:
        set_seed(recipe.train.seed)
        if plan.gradient_checkpointing.value:
            model.enable_input_require_grads()
        first = first_layers(plan.gradient_checkpointing.value)
        if first is not None:
            checkpoint_first(model, first)
        return get_peft_model(model, lora_config(recipe), autocast_adapter_dtype=True)

    def load_adapter(self, model: Module, folder: Path, plan: Plan) -> PeftModel:
        return PeftModel.from_pretrained(model, os.fspath(folder), is_trainable=False)

    def training_defaults(self, plan: Plan) -> dict[str, Any]:
        way = plan.gradient_checkpointing.value
        # The trainer switches it on for all layers; that of the first ones is on already.
        return {"loss_type": "chunked_nll", "gradient_checkpointing": bool(way) and first_layers(way) is None}

    def loss(self, model: Module, inputs: dict[str, Any], num_items: torch.Tensor | int | None) -> None:
        return None

    @contextmanager
    def inference(self, model: PeftModel) -> Iterator[None]:
        training = model.training
        model.eval()
        try:
            yield
        finally:
            model.train(training)


def _attention(plan: Plan) -> str:
    """transformers' name of the attention: ours where rows are laid end to end."""
    if not plan.padding_free.value:
        return "sdpa"
    attention.register()
    return attention.NAME


def checkpoint_first(model: Module, count: int) -> None:
    """Switches transformers' gradient checkpointing on for so many decoder layers from the first, and off for the others."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers[count:]:
        layer.gradient_checkpointing = False


def lora_config(recipe: Recipe) -> LoraConfig:
    """The recipe's adapter, as PEFT wants to hear of it."""
    lora = recipe.lora
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=list(lora.target_modules),
        use_rslora=lora.use_rslora,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _keep_differentiable(model: Module) -> None:
    """Keeps bitsandbytes (0.50.2) from repacking 4-bit weights for AVX512-BF16 in the first evaluation on a CPU.

    Its product with repacked weights has no backward: training goes on with a loss that falls and gradients that miss every
    path through a linear layer (their norm was 2.8 in place of 29.9 on a model of two layers).
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
