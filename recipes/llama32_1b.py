"""Llama 3.2 1B Instruct: small enough for LoRA on 16-bit weights."""

from unsloth_ft.recipe import Lora, Recipe, Train

RECIPE = Recipe(
    # Llama 3.2 Community License: pass a tuned model on under a name that begins with "Llama" (1.b.i). Gated: accept it on the hub first.
    model="meta-llama/Llama-3.2-1B-Instruct",
    load_in_4bit=False,  # 1.23 billion weights are 2.5 GB in bfloat16: NF4 would save little
    # The 3.2 template writes today's date into every prompt unless it is given one: the ids of a run would change overnight. This is
    # the date that the 3.1 template has built in.
    chat_template_kwargs={"date_string": "26 Jul 2024"},
    lora=Lora(
        r=16,  # Unsloth's notebook Llama3.2_(1B_and_3B)-Conversational
        lora_alpha=32,  # "LoRA Without Regret" measured its learning rates with 32; Unsloth's guide allows r or 2 × r
    ),
    train=Train(
        # A rule of thumb, not measured here: the fit behind "LoRA Without Regret" (tinker-cookbook, get_lr) is
        # 10 × 5e-5 × (2000 / hidden size) ** 0.781 for Llama, 4.9e-4 at 2048. Unsloth's notebook has 2e-4 at lora_alpha 16.
        learning_rate=5e-4,
        effective_batch_size=8,  # as in Unsloth's notebooks (2 × 4)
        lr_scheduler_type="cosine",  # as alignment-handbook's Zephyr 7B QLoRA recipe; Unsloth's notebook decays linearly
    ),
)
