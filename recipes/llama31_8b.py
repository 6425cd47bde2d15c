"""Llama 3.1 8B Instruct: the widely used 8B; QLoRA."""

from unsloth_ft.recipe import Lora, Recipe, Train

RECIPE = Recipe(
    # Llama 3.1 Community License: pass a tuned model on under a name that begins with "Llama" (1.b.i). Gated: accept it on the hub first.
    # The repository's name today; the first one, Meta-Llama-3.1-8B-Instruct, is redirected to it.
    model="meta-llama/Llama-3.1-8B-Instruct",
    # About 5.7 GB, not 16: NF4 with double quantization is 4.127 bits a weight (arXiv 2305.14314, section 3), embeddings stay 16-bit.
    load_in_4bit=True,
    # What the template says by itself, said aloud: llama.cpp gives every Llama template today's date unless it is given one.
    chat_template_kwargs={"date_string": "26 Jul 2024"},
    lora=Lora(
        r=16,  # Unsloth's notebook Llama3.1_(8B)-Alpaca; alignment-handbook's Zephyr 7B QLoRA recipe has the same
        lora_alpha=16,  # scale 1, as in both
    ),
    train=Train(
        # Same notebook, and QLoRA's table 9 for 7B and 13B. The fit behind "LoRA Without Regret" (tinker-cookbook, get_lr) gives 2.9e-4 at
        # lora_alpha 32, so this is on the careful side.
        learning_rate=2e-4,
        effective_batch_size=8,  # same notebook (2 × 4); LoRA bears large batches badly ("LoRA Without Regret")
        # As Zephyr's QLoRA recipe. Unsloth's notebook decays linearly, warms up for 5 steps (here 5 %), has weight decay 0.001 (here 0).
        lr_scheduler_type="cosine",
    ),
)
