from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from unsloth_ft.bench.export_memory import main


def test_each_step_has_its_own_peak_and_the_files_are_gone(tmp_path: Path):
    (tmp_path / "work").mkdir()
    arguments = ["--recipe", "smollm2-135m", "--layers", "1", "--quantization", "q8_0", "--work", str(tmp_path / "work")]
    done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "found.json")])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["command"] == "python -m bench.export_memory --recipe smollm2-135m --layers 1 --quantization q8_0"
    assert found["parameters"] == 49152 * 576 + 3_540_096 + 576
    assert list(found["peak_mb"]) == ["imports alone", "merge", "gguf q8_0"]
    imports, merge, gguf = found["peak_mb"].values()
    assert 100 < imports < merge < imports + 200
    assert imports < gguf < imports + 300
    assert list((tmp_path / "work").iterdir()) == []
