"""Which backend runs, and why; asked without importing one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unsloth_ft import backends
from unsloth_ft.errors import MachineError, UserError
from unsloth_ft.hardware import Gpu, Hardware

ROOT = Path(__file__).parents[2]
NO_GPU = Hardware(gpus=(), cpu_name="a CPU", cpu_count=2, cpu_has_bfloat16=True, memory_bytes=2**34)
T4 = Hardware(gpus=(Gpu("Tesla T4", 16 * 2**30, (7, 5)),), cpu_name="a CPU", cpu_count=2, cpu_has_bfloat16=False, memory_bytes=2**34)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """`installed(unsloth="2026.10.9")`: what pip would say."""

    def install(**versions: str) -> None:
        monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: object() if name in versions else None)
        monkeypatch.setattr(backends.importlib.metadata, "version", lambda name: versions[name])

    return install


@pytest.mark.parametrize(
    ("asked", "unsloth", "hardware", "value", "reason"),
    [
        ("auto", "2026.10.9", NO_GPU, "unsloth", "2026.10.9 on the CPU"),
        ("unsloth", "2026.10.9", NO_GPU, "unsloth", "2026.10.9 on the CPU"),
        ("auto", "2026.10.7", T4, "unsloth", "2026.10.7 on CUDA"),
        (
            "auto",
            "2026.10.7",
            NO_GPU,
            "peft",
            "unsloth 2026.10.7 needs a GPU; 2026.10.9 is the first that doesn't; vanilla PEFT in its place",
        ),
        ("auto", "2026.10.10.post1", NO_GPU, "unsloth", "2026.10.10.post1 on the CPU"),
        (
            "auto",
            "2026.10.9rc1",
            NO_GPU,
            "peft",
            "unsloth 2026.10.9rc1 needs a GPU; 2026.10.9 is the first that doesn't; vanilla PEFT in its place",
        ),
        ("auto", None, T4, "peft", "unsloth is not installed; vanilla PEFT in its place"),
        ("peft", "2026.10.9", T4, "peft", "asked for; vanilla PEFT 0.21.2"),
    ],
)
def test_the_choice_comes_with_its_reason(installed, asked: str, unsloth: str | None, hardware: Hardware, value: str, reason: str):
    installed(peft="0.21.2", **({"unsloth": unsloth} if unsloth else {}))
    decision = backends.choose(asked, hardware)
    assert (decision.value, decision.reason) == (value, reason)


def test_a_backend_asked_for_by_name_never_falls_back(installed):
    installed(peft="0.21.2", unsloth="2026.10.7")
    with pytest.raises(
        MachineError, match="backend unsloth can't run here: unsloth 2026.10.7 needs a GPU; .* Pass --backend peft, or mend that."
    ):
        backends.choose("unsloth", NO_GPU)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"])
def test_without_a_gpu_the_families_have_our_own_layers(installed, architecture: str):
    installed(peft="0.21.2", unsloth="2026.10.9")
    decision = backends.choose("auto", NO_GPU, architecture)
    assert (decision.value, decision.reason) == ("fused", "no GPU: our own layers, measured faster than Unsloth's and PEFT 0.21.2's here")
    assert backends.choose("auto", T4, architecture).value == "unsloth"
    assert backends.choose("unsloth", NO_GPU, architecture).value == "unsloth"
    assert backends.choose("fused", NO_GPU, architecture).reason == "asked for; our own layers on PEFT 0.21.2"


def test_another_architecture_is_unsloth_s_and_refused_by_the_fused_layers(installed):
    installed(peft="0.21.2", unsloth="2026.10.9")
    assert backends.choose("auto", NO_GPU, "Gemma2ForCausalLM").value == "unsloth"
    with pytest.raises(UserError) as refused:
        backends.choose("fused", NO_GPU, "Gemma2ForCausalLM")
    assert str(refused.value) == (
        "backend is fused, but the model is a Gemma2ForCausalLM; expected LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, "
        "Qwen3ForCausalLM. Pass --backend unsloth or peft."
    )


def test_the_fused_layers_are_refused_where_there_is_a_gpu(installed):
    installed(peft="0.21.2")
    with pytest.raises(MachineError) as refused:
        backends.choose("fused", T4)
    assert str(refused.value) == (
        "backend fused is for a machine without a GPU, and here is Tesla T4. Pass --backend unsloth or peft, or set UNSLOTH_FORCE_CPU=1."
    )


def test_an_unknown_backend_is_refused_with_the_nearest():
    with pytest.raises(UserError, match='backend is "unslot"; expected auto, unsloth, fused or peft. Did you mean unsloth?'):
        backends.choose("unslot", NO_GPU)


@pytest.mark.parametrize("patched", ["peft", "trl"])
def test_unsloth_after_what_it_patches_is_refused_because_the_figures_would_be_neither_s(monkeypatch: pytest.MonkeyPatch, patched: str):
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    monkeypatch.setitem(sys.modules, patched, object())
    with pytest.raises(RuntimeError, match="peft or trl is imported already; unsloth has to come first, in a process of its own"):
        backends.activate("unsloth")


def test_peft_after_unsloth_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "unsloth", object())
    with pytest.raises(RuntimeError, match="unsloth is imported already; the peft backend needs a process of its own"):
        backends.activate("peft")


def test_choosing_imports_no_backend():
    code = (
        "import sys\nfrom unsloth_ft import backends, hardware\nbackends.choose('auto', hardware.detect())\n"
        "print(sys.modules.keys() & {'torch', 'transformers', 'peft', 'unsloth'})"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "set()\n"
