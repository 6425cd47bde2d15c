"""What people ask first: full fine-tuning, LoRA and QLoRA of one model on the same rows."""

from unsloth_ft.bench.case import Case, Leg

CASE = Case(
    what="What do full fine-tuning, LoRA and QLoRA cost on the same rows?",
    legs=(Leg(kind="peft-full"), Leg(kind="peft-lora"), Leg(kind="peft-qlora")),
    same_losses=False,  # each trains other weights
    steps=5,
)
