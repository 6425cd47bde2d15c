"""Llama 3.2 3B Instruct: QLoRA."""

from unsloth_ft.recipe import Lora, Recipe, Train

RECIPE = Recipe(
    # Llama 3.2 Community License: pass a tuned model on under a name that begins with "Llama" (1.b.i). Gated: accept it on the hub first.
    model="meta-llama/Llama-3.2-3B-Instruct",
    # About 2.2 GB, not 6.4: NF4 with double quantization is 4.127 bits a weight (arXiv 2305.14314, section 3), embeddings stay 16-bit.
    load_in_4bit=True,
    # The 3.2 template writes today's date into every prompt unless it is given one: the ids of a run would change overnight. This is
    # the date that the 3.1 template has built in.
    chat_template_kwargs={"date_string": "26 Jul 2024"},
    lora=Lora(
        r=16,  # Unsloth's notebook Llama3.2_(1B_and_3B)-Conversational
        lora_alpha=16,  # scale 1, as in the notebook
    ),
    train=Train(
        learning_rate=2e-4,  # same notebook; Unsloth's LoRA hyperparameters guide starts every LoRA and QLoRA run there
        effective_batch_size=8,  # as in the notebook (2 × 4)
        lr_scheduler_type="cosine",  # as alignment-handbook's Zephyr 7B QLoRA recipe; Unsloth's notebook decays linearly
    ),
)
