"""Mistral 7B Instruct v0.3: the leanest 7B here, with a vocabulary of 32,768; QLoRA."""

from unsloth_ft.recipe import Lora, Recipe, Train

RECIPE = Recipe(
    # Apache-2.0 (model card). The model's own [INST] template is kept; Unsloth's notebook replaces it by ChatML.
    model="mistralai/Mistral-7B-Instruct-v0.3",
    # About 4.1 GB, not 14.5: NF4 with double quantization is 4.127 bits a weight (arXiv 2305.14314, section 3), embeddings stay 16-bit.
    load_in_4bit=True,
    lora=Lora(
        # Unsloth's notebook Mistral_v0.3_(7B)-Conversational; alignment-handbook's QLoRA recipe for Zephyr, a Mistral 7B, has the same
        r=16,
        lora_alpha=16,  # scale 1, as in both
    ),
    train=Train(
        learning_rate=2e-4,  # as in both, and in QLoRA's table 9 for 7B
        effective_batch_size=8,  # as in both: 2 × 4 in the notebook, made for a T4 with 16 GB, and 4 × 2
        lr_scheduler_type="cosine",  # as Zephyr's recipe; Unsloth's notebook decays linearly
    ),
)
