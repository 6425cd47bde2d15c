"""The chat templates under test, what is derived from them, and Go's own engine; a tiny base and its adapter."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.export import merge_cases
from tests.export.chat_templates import MADE_UP, Case, published
from unsloth_ft.export.go_template import collate
from unsloth_ft.export.ollama_template import GoTemplate, derive_template


@pytest.fixture(scope="session")
def cases() -> dict[str, Case]:
    return published() | MADE_UP


@pytest.fixture(scope="session")
def derived(cases: dict[str, Case]) -> dict[str, GoTemplate]:
    return {name: derive_template(case.render, bos_token=case.bos_token, drop_bos=case.drop_bos) for name, case in cases.items()}


@pytest.fixture(scope="session")
def go_render(tmp_path_factory: pytest.TempPathFactory):
    """`go_render(jobs)`: what the real text/template writes for each (template, messages)."""
    if shutil.which("go") is None:
        pytest.skip("go is not on PATH; apt-get install golang-go")
    program = tmp_path_factory.mktemp("go") / "render"
    subprocess.run(["go", "build", "-o", str(program), str(Path(__file__).with_name("render.go"))], check=True, capture_output=True)

    def render(jobs: list[tuple[str, list[dict]]]) -> list[str]:
        rows = []
        for template, messages in jobs:
            system, merged = collate(messages)
            rows.append({"template": template, "system": system, "messages": merged})
        done = subprocess.run([str(program)], input=json.dumps(rows).encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return render


@pytest.fixture(scope="session")
def trained_tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """SmolLM2's tiny model with a small vocabulary, and a LoRA adapter of it."""
    base = merge_cases.small_base("smollm2", tmp_path_factory.mktemp("tiny") / "base")
    return base, merge_cases.train(base, merge_cases.KINDS["lora"], base.with_name("adapter"))


@pytest.fixture
def tiny_base(trained_tiny: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the base that a test may change."""
    return shutil.copytree(trained_tiny[0], tmp_path / "base")


@pytest.fixture
def tiny_adapter(trained_tiny: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of its adapter that a test may change."""
    return shutil.copytree(trained_tiny[1], tmp_path / "adapter")
