"""What a user may name as a target, and what is said of the rest."""

from __future__ import annotations

import pytest

from unsloth_ft.errors import UserError
from unsloth_ft.export.targets import Target, parse

EXPECTED = "expected adapter, merged, gguf:QUANT, gguf-lora or ollama."


def test_targets_are_read_in_order_each_once():
    assert parse(("gguf:q8_0", "merged", "gguf:f16", "merged", "adapter", "ollama")) == (
        Target("gguf", "q8_0"),
        Target("merged"),
        Target("gguf", "f16"),
        Target("adapter"),
        Target("ollama"),
    )


def test_quantizations_are_known_in_any_case():
    assert parse(["gguf:Q8_0", "gguf:q8_0", "gguf:BF16"]) == (Target("gguf", "q8_0"), Target("gguf", "bf16"))


def test_none_asked_for_is_none():
    assert parse(()) == ()


def test_an_adapters_gguf_lies_on_a_q8_0_base_unless_another_is_named():
    assert parse(["gguf-lora", "gguf-lora:F16"]) == (Target("gguf-lora", "q8_0"), Target("gguf-lora", "f16"))


@pytest.mark.parametrize("text", ["adapter", "merged", "gguf:f16", "gguf-lora:bf16", "ollama"])
def test_a_target_is_written_as_it_was_read(text):
    assert str(parse([text])[0]) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mergd", f'export target "mergd" is not known; {EXPECTED} Did you mean merged?'),
        ("Ollama", f'export target "Ollama" is not known; {EXPECTED} Did you mean ollama?'),
        ("GGUF:q8_0", f'export target "GGUF:q8_0" is not known; {EXPECTED} Did you mean gguf, gguf-lora?'),
        ("", f'export target "" is not known; {EXPECTED}'),
        ("onnx", f'export target "onnx" is not known; {EXPECTED}'),
        ("merged:f16", f'export target "merged:f16" is not known; {EXPECTED} Did you mean merged?'),
        ("gguf", 'export target "gguf" names no quantization; expected one of gguf:f32, gguf:f16, gguf:bf16, gguf:q8_0'),
        ("gguf:", 'export target "gguf:" names no quantization; expected one of gguf:f32, gguf:f16, gguf:bf16, gguf:q8_0'),
        ("gguf:q9_9", "quantization 'q9_9' is unknown; expected one of f32, f16, bf16, q8_0"),
    ],
)
def test_an_unknown_target_is_refused_with_the_nearest(text, said):
    with pytest.raises(UserError) as caught:
        parse([text])
    assert str(caught.value).startswith(said)
