"""The product's backend: Unsloth's FastLanguageModel, on a GPU and (from 2026.10.9) without one.

The only file that imports unsloth. Only its public API is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unsloth_ft import cache

# Unsloth reads these on import. It fetches a file from the hub to count its users, and writes generated Python into the
# working directory and imports it, unless told otherwise; a folder of the user's own, as code that runs belongs into no /tmp.
os.environ["UNSLOTH_DISABLE_STATISTICS"] = "1"
os.environ.setdefault(
    "UNSLOTH_COMPILE_LOCATION",
    os.fspath(cache.folder() / "unsloth_compiled_cache"),
)

import unsloth  # noqa: E402, F401  before transformers, trl and peft, which it patches
import torch  # noqa: E402
from peft import PeftModel  # noqa: E402
from torch.nn import Module  # noqa: E402
from unsloth import FastLanguageModel  # noqa: E402

from unsloth_ft.base_model import BaseModel  # noqa: E402
from unsloth_ft.kernels import attention  # noqa: E402
from unsloth_ft.plan import Plan  # noqa: E402
from unsloth_ft.recipe import Recipe  # noqa: E402

FLASH_ATTENTION_NAMES = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


class UnslothBackend:
    """See unsloth_ft.backends.Backend."""

    name = "unsloth"

    def load(self, base: BaseModel, plan: Plan) -> Module:
        model, _ = FastLanguageModel.from_pretrained(
            os.fspath(base.folder),
            max_seq_length=plan.max_seq_length.value,
            dtype=getattr(torch, plan.dtype.value),
            load_in_4bit=plan.load_in_4bit.value,
            use_gradient_checkpointing=plan.gradient_checkpointing.value,
            use_exact_model_name=True,  # else known ids are exchanged for pre-quantized mirrors
            local_files_only=True,
            trust_remote_code=False,
            **_attention(plan),
        )
        return _taking_flat_rows(model, plan)

    def add_lora(self, model: Module, recipe: Recipe, plan: Plan) -> PeftModel:
        lora = recipe.lora
        adapted = FastLanguageModel.get_peft_model(
            model,
            r=lora.r,
            lora_alpha=lora.lora_alpha,
            lora_dropout=lora.lora_dropout,
            target_modules=list(lora.target_modules),
            use_rslora=lora.use_rslora,
            bias="none",
            use_gradient_checkpointing=plan.gradient_checkpointing.value,
            random_state=recipe.train.seed,
            max_seq_length=plan.max_seq_length.value,
        )
        return _taking_flat_rows(_float32_adapter(adapted), plan)

    def load_adapter(self, model: Module, folder: Path, plan: Plan) -> PeftModel:
        return _taking_flat_rows(PeftModel.from_pretrained(model, os.fspath(folder), is_trainable=False), plan)

    def training_defaults(self, plan: Plan) -> dict[str, Any]:
        # Unsloth brings its own fused (GPU) or chunked (CPU) cross-entropy, and switches its checkpointing on by itself.
        return {"loss_type": "nll", "gradient_checkpointing": False}

    def loss(self, model: Module, inputs: dict[str, Any], num_items: torch.Tensor | int | None) -> None:
        return None

    @contextmanager
    def inference(self, model: PeftModel) -> Iterator[None]:
        training = model.training
        FastLanguageModel.for_inference(model)
        try:
            yield
        finally:
            if training:
                FastLanguageModel.for_training(model)


def _attention(plan: Plan) -> dict[str, str]:
    """Without a GPU Unsloth runs transformers' blocks, and flat rows need our attention in them; on one it brings its own."""
    if plan.device.value == "cuda" or not plan.padding_free.value:
        return {}
    attention.register()
    return {"attn_implementation": attention.NAME}


def _taking_flat_rows(model: Module, plan: Plan) -> Module:
    """On a GPU the model gets the rows' lengths under the name that Unsloth's blocks read (unsloth/utils/packing.py)."""
    if plan.device.value == "cuda" and plan.padding_free.value:
        model.register_forward_pre_hook(_lengths_for_unsloth, with_kwargs=True)
    return model


def _lengths_for_unsloth(model: Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """transformers' cumulative lengths -> `packed_seq_lengths`, int32 of shape (rows,)."""
    if "cu_seq_lens_q" not in inputs:
        return None
    kept = {name: value for name, value in inputs.items() if name not in FLASH_ATTENTION_NAMES}
    return args, {**kept, "packed_seq_lengths": inputs["cu_seq_lens_q"].diff()}


def _float32_adapter(model: PeftModel) -> PeftModel:
    """bfloat16 adapters stop learning at small rates: 8 bits of mantissa swallow the update."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model
