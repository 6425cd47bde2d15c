"""The config.json of the built-in recipes' base models in numbers, so that a plan for one of them needs no download.

The values are those of https://huggingface.co/<model>/blob/main/config.json. The parameter counts that the hub shows beside each model
follow from them; a test holds that.
"""

from __future__ import annotations

from typing import Any

from unsloth_ft.model_facts import ModelFacts


def _llama3(**sizes: Any) -> ModelFacts:
    """Llama 3.1 and 3.2: 128,256 tokens, 128 Ki positions, 8 key/value heads."""
    return ModelFacts("LlamaForCausalLM", vocab_size=128256, max_position_embeddings=131072, num_key_value_heads=8, **sizes)


def _qwen2(**sizes: Any) -> ModelFacts:
    """Qwen2.5 Instruct: 32 Ki positions."""
    return ModelFacts("Qwen2ForCausalLM", max_position_embeddings=32768, **sizes)


def _qwen3(**sizes: Any) -> ModelFacts:
    """Qwen3: 151,936 tokens, 40 Ki positions, heads of 128 of which 8 are key/value heads."""
    return ModelFacts(
        "Qwen3ForCausalLM", vocab_size=151936, max_position_embeddings=40960, num_key_value_heads=8, head_dim=128, **sizes
    )


KNOWN = {
    "meta-llama/Llama-3.1-8B-Instruct": _llama3(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, head_dim=128
    ),
    "meta-llama/Llama-3.2-3B-Instruct": _llama3(
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=28,
        num_attention_heads=24,
        head_dim=128,
        tie_word_embeddings=True,
    ),
    "meta-llama/Llama-3.2-1B-Instruct": _llama3(
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        head_dim=64,
        tie_word_embeddings=True,
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": ModelFacts(
        "MistralForCausalLM",
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=32768,
        max_position_embeddings=32768,
    ),
    "Qwen/Qwen2.5-7B-Instruct": _qwen2(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        head_dim=128,
        vocab_size=152064,
    ),
    "Qwen/Qwen2.5-0.5B-Instruct": _qwen2(
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        head_dim=64,
        vocab_size=151936,
        tie_word_embeddings=True,
    ),
    "Qwen/Qwen3-8B": _qwen3(hidden_size=4096, intermediate_size=12288, num_hidden_layers=36, num_attention_heads=32),
    "Qwen/Qwen3-4B": _qwen3(
        hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32, tie_word_embeddings=True
    ),
    "Qwen/Qwen3-0.6B": _qwen3(
        hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16, tie_word_embeddings=True
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": ModelFacts(
        "LlamaForCausalLM",
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        vocab_size=49152,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
}
