"""llama.cpp as the quantizer: the same file as ours where it is there, and a clear word where it is not or fails."""

from __future__ import annotations

import shutil
import sys

import pytest

from tests import families
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export import llama_quantize
from unsloth_ft.export.gguf import QUANTIZATIONS, write_gguf
from unsloth_ft.export.gguf_types import CONVERTED
from unsloth_ft.export.llama_quantize import check_quantizer

needs_llama_cpp = pytest.mark.skipif(shutil.which("llama-quantize") is None, reason="llama-quantize is not on the PATH")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program(text)` puts a `llama-quantize` of that Python text on the PATH."""

    def put(text):
        file = tmp_path / "bin" / "llama-quantize"
        file.parent.mkdir()
        file.write_text(f"#!{sys.executable}\nimport shutil, sys\n{text}\n", encoding="utf-8")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(file.parent))

    return put


@needs_llama_cpp
@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_llama_quantize_writes_the_very_file_that_ours_is(family, family_dir, tmp_path):
    for quantization in sorted(set(QUANTIZATIONS) - set(CONVERTED)) if family == "smollm2" else ("q4_k_m",):
        ours = write_gguf(family_dir(family), tmp_path / "ours.gguf", quantization=quantization)
        theirs = write_gguf(family_dir(family), tmp_path / "theirs.gguf", quantization=quantization, quantizer="llama.cpp")
        assert (theirs.sha256, theirs.tensor_count) == (ours.sha256, ours.tensor_count), quantization
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ours.gguf", "theirs.gguf"]


def test_without_a_llamacpp_the_two_ways_to_one_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(llama_quantize, "find_spec", lambda name: None)
    with pytest.raises(MachineError) as error:
        check_quantizer("llama.cpp")
    assert str(error.value) == (
        "the quantizer 'llama.cpp' needs llama-quantize on the PATH (it comes with llama.cpp: "
        "https://github.com/ggml-org/llama.cpp/releases) or llama-cpp-python (pip install llama-cpp-python compiles it, some minutes). "
        "Or take the quantizer 'own', which writes the same bytes."
    )
    check_quantizer("own")


def test_an_unknown_quantizer_is_refused():
    with pytest.raises(UserError) as error:
        check_quantizer("llamacpp")
    assert str(error.value) == "quantizer 'llamacpp' is unknown; expected one of own, llama.cpp. Did you mean llama.cpp?"


def test_a_failing_llamacpp_is_shown_with_its_last_lines_and_leaves_nothing(family_dir, tmp_path, program):
    program("print('one', flush=True); print('tensor 7 is no good', file=sys.stderr); sys.exit(3)")
    path = tmp_path / "out" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(b"the export before")
    with pytest.raises(MachineError) as error:
        write_gguf(family_dir("smollm2"), path, quantization="q4_k_m", quantizer="llama.cpp")
    assert str(error.value) == "llama-quantize ended with 3 and made no q4_k_m file. Its last lines:\none\ntensor 7 is no good"
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == {"model.gguf": b"the export before"}


DAMAGES = {
    "llama.cpp wrote a file of type 32, and q4_k_m is 15": "shutil.copy(sys.argv[1], sys.argv[2])",
    "starts with b'none'; a GGUF file starts with": "open(sys.argv[2], 'wb').write(b'none')",
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_file_that_is_not_what_was_asked_for_never_gets_its_name(message, family_dir, tmp_path, program):
    program(DAMAGES[message])
    with pytest.raises(GateError, match=message):
        write_gguf(family_dir("smollm2"), tmp_path / "out" / "model.gguf", quantization="q4_k_m", quantizer="llama.cpp")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_needs_no_quantizing_needs_no_llamacpp_program(family_dir, family_gguf, tmp_path, program):
    program("sys.exit(1)")
    made = write_gguf(family_dir("smollm2"), tmp_path / "out" / "model.gguf", quantization="f16", quantizer="llama.cpp")
    assert made.path.read_bytes() == family_gguf("smollm2", "f16").read_bytes()
