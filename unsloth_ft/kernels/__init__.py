"""The training step's own arithmetic in plain torch: attention over flat rows, cross-entropy, and whole decoder layers with LoRA."""

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")  # whose layers are fused
