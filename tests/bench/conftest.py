"""A card that isn't there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a program nvidia-smi first in the PATH: its answer about an H100's state, its processes and its settings."""

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(state: str, processes: str = "", settings: str = "") -> None:
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.parent.mkdir(exist_ok=True)
        lines = [
            "#!/bin/sh", 'case "$1" in',
            '*compute_cap*) echo "0, GPU-1, NVIDIA H100, 81559, 9.0, 580.95";;',
            f'*utilization*) echo "{state}";;', f'*compute-apps*) printf "{processes}";;', f'*power.limit*) echo "{settings}";;',
            "*) exit 6;;", "esac",
        ]  # fmt: skip
        tool.write_text("\n".join(lines) + "\n", encoding="utf-8")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")

    return put
