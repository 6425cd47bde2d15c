"""Qwen2.5 0.5B Instruct: the smallest of the family, for a first run; LoRA on 16-bit weights."""

from unsloth_ft.recipe import Lora, Recipe, Train

RECIPE = Recipe(
    # Apache-2.0 (model card); not so its siblings of 3B (Qwen Research License) and 72B (Qwen License).
    model="Qwen/Qwen2.5-0.5B-Instruct",
    load_in_4bit=False,  # 0.49 billion weights are 1 GB in bfloat16, 28 % of them embeddings that NF4 leaves alone
    lora=Lora(
        r=16,  # Unsloth's notebooks; there is none for this size
        lora_alpha=32,  # "LoRA Without Regret" measured its learning rates with 32; Unsloth's guide allows r or 2 × r
    ),
    train=Train(
        # A rule of thumb, not measured here: the fit behind "LoRA Without Regret" (tinker-cookbook, get_lr) is
        # 10 × 5e-5 × (2000 / hidden size) ** 0.0775 for Qwen, 5.3e-4 at 896: size hardly matters in this family.
        learning_rate=5e-4,
        effective_batch_size=8,  # as in Unsloth's notebooks (2 × 4)
        lr_scheduler_type="cosine",  # as alignment-handbook's Zephyr 7B QLoRA recipe; Unsloth's notebooks decay linearly
    ),
)
