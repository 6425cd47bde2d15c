"""Qwen3 4B: thinks by default; tuned on plain answers it stops doing so. QLoRA."""

from unsloth_ft.recipe import Lora, Recipe, Train

RECIPE = Recipe(
    # Apache-2.0 (model card). Qwen/Qwen3-4B-Instruct-2507 is the later one that never thinks (its model card): --model takes it.
    model="Qwen/Qwen3-4B",
    # About 2.7 GB, not 8: NF4 with double quantization is 4.127 bits a weight (arXiv 2305.14314, section 3), embeddings stay 16-bit.
    load_in_4bit=True,
    # Left empty, so the template thinks by default, as it will wherever the tuned model is served with it. Rows without thoughts get an
    # empty <think> block before their last answer, and the block is learned: the tuned model writes it by itself and answers at once.
    # Unsloth's notebook Qwen3_(14B)-Reasoning-Conversational renders such rows the same way. With {"enable_thinking": False} the block
    # belongs to the prompt and is not learned. The base model expects thoughts there: its eval loss holds that surprise, and its answers
    # begin with thoughts.
    chat_template_kwargs={},
    lora=Lora(
        r=16,  # Unsloth's notebook Qwen3_(14B)-Alpaca; its Qwen3_(4B)-Instruct has 32 and 32
        lora_alpha=16,  # scale 1, as in both
    ),
    train=Train(
        learning_rate=2e-4,  # as in both, where the second advises 2e-5 for long runs
        effective_batch_size=8,  # as in both (2 × 4)
        lr_scheduler_type="cosine",  # as alignment-handbook's Zephyr 7B QLoRA recipe; Unsloth's notebooks decay linearly
    ),
)
