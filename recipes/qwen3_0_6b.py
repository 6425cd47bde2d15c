"""Qwen3 0.6B: thinks by default; tuned on plain answers it stops doing so. LoRA on 16-bit weights."""

from unsloth_ft.recipe import Lora, Recipe, Train

RECIPE = Recipe(
    model="Qwen/Qwen3-0.6B",  # Apache-2.0 (model card); the chat model, Qwen3-0.6B-Base is the other
    load_in_4bit=False,  # 0.6 billion weights are 1.2 GB in bfloat16, a quarter of them embeddings that NF4 leaves alone
    # Left empty, so the template thinks by default, as it will wherever the tuned model is served with it. Rows without thoughts get an
    # empty <think> block before their last answer, and the block is learned: the tuned model writes it by itself and answers at once.
    # Unsloth's notebook Qwen3_(14B)-Reasoning-Conversational renders such rows the same way. With {"enable_thinking": False} the block
    # belongs to the prompt and is not learned. The base model expects thoughts there: its eval loss holds that surprise, and its answers
    # begin with thoughts.
    chat_template_kwargs={},
    lora=Lora(
        r=16,  # Unsloth's notebooks for larger Qwen3 models; those for this size tune all weights
        lora_alpha=32,  # "LoRA Without Regret" measured its learning rates with 32; Unsloth's guide allows r or 2 × r
    ),
    train=Train(
        # A rule of thumb, not measured here: ten times (LoRA Without Regret) the 5e-5 with which Unsloth's notebook
        # Qwen3_(0_6B)-Phone_Deployment tunes all weights. The fit in tinker-cookbook's get_lr gives 5.3e-4 at hidden size 1024.
        learning_rate=5e-4,
        effective_batch_size=8,  # as in Unsloth's notebooks (2 × 4)
        lr_scheduler_type="cosine",  # as alignment-handbook's Zephyr 7B QLoRA recipe; Unsloth's notebooks decay linearly
    ),
)
