"""Qwen2.5 7B Instruct: many languages, an open licence and no thinking; QLoRA."""

from unsloth_ft.recipe import Lora, Recipe, Train

RECIPE = Recipe(
    # Apache-2.0 (model card); not so its siblings of 3B (Qwen Research License) and 72B (Qwen License).
    model="Qwen/Qwen2.5-7B-Instruct",
    # About 5.5 GB, not 15: NF4 with double quantization is 4.127 bits a weight (arXiv 2305.14314, section 3), embeddings stay 16-bit.
    load_in_4bit=True,
    lora=Lora(
        r=16,  # Unsloth's notebook Qwen2.5_(7B)-Alpaca
        lora_alpha=16,  # scale 1, as in the notebook
    ),
    train=Train(
        learning_rate=2e-4,  # same notebook, and QLoRA's table 9 for 7B
        effective_batch_size=8,  # as in the notebook (2 × 4)
        lr_scheduler_type="cosine",  # as alignment-handbook's Zephyr 7B QLoRA recipe; Unsloth's notebook decays linearly
    ),
)
