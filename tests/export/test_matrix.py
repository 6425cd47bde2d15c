"""Every family to every target in every quantization, through the gate; no socket but llama.cpp's own is opened."""

from __future__ import annotations

import socket

import pytest

from tests import families
from tests.export import adapters, runs
from unsloth_ft.export.gguf import QUANTIZATIONS

# Rows of 256, so that K-quants are what they are called; probabilities as flat as a language model's, so that the limits mean the same.
SIZES = {"hidden_size": 256, "intermediate_size": 512, "embedding_std": 0.15, "gain": 0.5}
WHOLE = ("adapter", "merged", *(f"gguf:{name}" for name in QUANTIZATIONS), "gguf-lora:f16", "gguf-lora:q4_k_m", "ollama")
SAMPLE = ("gguf:q6_k", "gguf:q4_k_m", "gguf-lora:q4_k_m", "ollama")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    connect = socket.socket.connect

    def refuse(self, address):
        if self.family != socket.AF_UNIX:
            raise OSError(f"no network in this test: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


def failed(base, folder, targets):
    """(number of checks, those that did not hold) of a run with these exports."""
    adapter = adapters.save(adapters.peft_model(base), folder / "adapter")
    directory = runs.trained_run(folder / "run", base, adapter, runs.answers(base, adapter))
    made = runs.make(directory, base, *targets, offline=True)
    assert list(made) == list(targets)
    checks = [(target, check) for target, result in made.items() for check in result["checks"]]
    return len(checks), [pair for pair in checks if not pair[1]["ok"]]


def test_k_quants_and_an_adapter_on_a_quantized_base_pass_the_gate(tmp_path):
    base = runs.small_model(families.build("smollm2", tmp_path / "family", **SIZES), tmp_path / "small")
    assert failed(base, tmp_path, SAMPLE) == (8 + 8 + 12 + 3, [])


@pytest.mark.slow
@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_every_family_passes_the_gate_in_every_form(family, tmp_path):
    base = families.build(family, tmp_path / "base", **SIZES)
    count, wrong = failed(base, tmp_path, WHOLE)
    assert wrong == []
    assert count == 1 + 4 + 8 * len(QUANTIZATIONS) + 2 * 12 + 3
