"""The training step's own arithmetic in plain torch: attention over flat rows, cross-entropy, and whole decoder layers with LoRA."""
