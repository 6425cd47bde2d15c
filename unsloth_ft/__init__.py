"""Fine-tuning recipes on Unsloth, from a JSONL file to a proven model in Ollama."""

__version__ = "0.1.0"
