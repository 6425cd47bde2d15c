"""One training loop for both backends: TRL's SFTTrainer, fed with our ids and labels."""
