"""llama.cpp's own source, with its converters: the oracle of development tests, never a dependency."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("UNSLOTH_FT_ORACLE", Path(__file__).parents[2] / ".venv" / "oracle"))


def llama_cpp_source() -> Path:
    """The root of llama.cpp's source; the test is skipped where it is not there."""
    if not (FOLDER / "convert_lora_to_gguf.py").is_file():
        pytest.skip(f"no llama.cpp source in {FOLDER}; UNSLOTH_FT_ORACLE names the folder of convert_hf_to_gguf.py")
    return FOLDER


def convert_lora(adapter: Path, base: Path, path: Path, *, type_name: str = "f32") -> Path:
    """What llama.cpp's converter makes of a PEFT adapter."""
    script = llama_cpp_source() / "convert_lora_to_gguf.py"
    done = subprocess.run(
        [sys.executable, str(script), "--outfile", str(path), "--outtype", type_name, "--base", str(base), str(adapter)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return path
