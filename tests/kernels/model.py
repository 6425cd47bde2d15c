"""Tiny models of the four architectures with an adapter that does something, and flat rows for them."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from unsloth_ft.recipe import PROJECTIONS

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "attn_implementation": "sdpa",
}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZES, head_dim=16, rope_parameters={**LLAMA3, "original_max_position_embeddings": 16}),
    "llama-biased": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "mistral-window": MistralConfig(**SIZES, sliding_window=3),
    "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen2-window": Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=3, max_window_layers=1),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),
}
LENGTHS = (7, 1, 5, 2)


def adapted(
    name: str, *, dtype: torch.dtype = torch.float32, target_modules: tuple[str, ...] = PROJECTIONS, lora_dropout: float = 0.0, seed: int = 0
) -> PeftModel:
    """Random weights, norms and biases included, and a B that isn't zero; in training mode."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).to(dtype)
    return with_adapter(model, target_modules=target_modules, lora_dropout=lora_dropout)


def with_adapter(model: Any, *, target_modules: tuple[str, ...], lora_dropout: float = 0.0, r: int = 3) -> PeftModel:
    """The model with a LoRA that changes its answers, and norms and biases that are none of 0 and 1."""
    config = LoraConfig(
        r=r, lora_alpha=5, use_rslora=True, target_modules=list(target_modules), lora_dropout=lora_dropout, task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "norm" in key or "bias" in key or "lora_B" in key:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
            elif "_proj" in key and parameter.dtype != torch.uint8:
                parameter.mul_(4)  # initializer_range is 0.02, so that attention would be nearly even
    return adapted.train()


def flat(lengths: tuple[int, ...] = LENGTHS, *, seed: int = 0) -> dict[str, Any]:
    """Random rows laid end to end, all but their first third learned."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, SIZES["vocab_size"], (sum(lengths),), generator=generator)
    labels = torch.cat([torch.where(torch.arange(n) < max(1, n // 3), -100, part) for n, part in zip(lengths, ids.split(lengths))])
    cu_seq_lens = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return {
        "input_ids": ids[None],
        "labels": labels[None],
        "position_ids": torch.cat([torch.arange(n) for n in lengths])[None],
        "cu_seq_lens_q": cu_seq_lens,
        "cu_seq_lens_k": cu_seq_lens,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


def loss_row_by_row(model: PeftModel, inputs: dict[str, Any]) -> torch.Tensor:
    """The stock model's sum of the losses, each row a batch of its own."""
    total = torch.zeros(())
    lengths = inputs["cu_seq_lens_q"].diff().tolist()
    for ids, labels in zip(inputs["input_ids"][0].split(lengths), inputs["labels"][0].split(lengths)):
        logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
        total = total + torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum")
    return total


def gradients(model: PeftModel) -> dict[str, torch.Tensor]:
    """Of the adapters, and takes them away."""
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found
