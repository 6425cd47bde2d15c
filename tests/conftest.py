"""Fixtures that more than one test folder uses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from tests import families, oracle

if TYPE_CHECKING:
    from unsloth_ft.chat import Chat


@pytest.fixture(scope="session", autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    """What a test's runs measure must not plan another's, nor stay with the user."""
    with mock.patch.dict(os.environ, {"UNSLOTH_FT_REMEMBER": "0"}):
        yield


@pytest.fixture(scope="session")
def family_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`family_dir("qwen3")` → the family's tiny model as an HF folder, built on first use. Read it, never write into it."""
    built: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family == "mistral-nemo" and not oracle.is_here():
            pytest.skip(oracle.MISSING)
        if family not in built:
            built[family] = families.build(family, tmp_path_factory.mktemp("families") / family)
        return built[family]

    return get


@pytest.fixture(scope="session")
def chat_of(family_dir: Callable[[str], Path]) -> Callable[..., Chat]:
    """`chat_of("qwen3", enable_thinking=False)`; one tokenizer a family."""
    from unsloth_ft.chat import Chat, load_tokenizer

    tokenizer = cache(lambda family: load_tokenizer(family_dir(family)))
    return lambda family, *, special_tokens="refuse", train_on="assistant", **kwargs: Chat(
        tokenizer(family), template_kwargs=kwargs, special_tokens=special_tokens, train_on=train_on
    )


@pytest.fixture(scope="session")
def smollm2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real SmolLM2-135M-Instruct as an HF folder (7 s, 0.3 GB). Read it, never write into it."""
    from unsloth_ft import smollm2

    return smollm2.convert_wheel(tmp_path_factory.mktemp("smollm2") / "SmolLM2-135M-Instruct")


@pytest.fixture(scope="session")
def family_gguf(family_dir: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """`family_gguf("qwen3", "f16")` → the family's tiny model as a GGUF file, written on first use."""
    from unsloth_ft.export.gguf import write_gguf

    written: dict[tuple[str, str], Path] = {}

    def get(family: str, quantization: str) -> Path:
        if (family, quantization) not in written:
            path = tmp_path_factory.mktemp("gguf") / f"{family}-{quantization}.gguf"
            written[family, quantization] = write_gguf(family_dir(family), path, quantization=quantization).path
        return written[family, quantization]

    return get
