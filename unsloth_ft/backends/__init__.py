"""Who loads the model and adds the adapter: Unsloth (the product), our own layers on a CPU, or vanilla PEFT (the baseline, and the fallback).

One backend a process: Unsloth patches transformers, trl and peft on import, so a vanilla figure from a process that
imported it is not vanilla.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unsloth_ft.base_model import BaseModel
from unsloth_ft.errors import MachineError, UserError, nearest
from unsloth_ft.hardware import Hardware
from unsloth_ft.kernels import ARCHITECTURES
from unsloth_ft.plan import Decision, Plan
from unsloth_ft.recipe import Recipe

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from torch.nn import Module

NAMES = ("unsloth", "fused", "peft")
UNSLOTH_WITHOUT_GPU = "2026.10.9"  # first release whose FastLanguageModel trains on a CPU


class Backend(Protocol):
    """What a backend has to do; tests/backends/test_contract.py says it in full, for all."""

    name: str

    def load(self, base: BaseModel, plan: Plan) -> Module:
        """The base model on the plan's device, frozen, in the plan's dtype or in NF4."""

    def add_lora(self, model: Module, recipe: Recipe, plan: Plan) -> PeftModel:
        """A new adapter: A random from the seed, B zero, both float32, ready to train."""

    def load_adapter(self, model: Module, folder: Path, plan: Plan) -> PeftModel:
        """A trained adapter on top of the base, for evaluation and export."""

    def training_defaults(self, plan: Plan) -> dict[str, Any]:
        """What SFTConfig must say for this backend and no other."""

    def loss(self, model: Module, inputs: dict[str, Any], num_items: Tensor | int | None) -> Tensor | None:
        """The step's loss, computed by the backend: the sum over `num_items` learned tokens, divided by it; None: the trainer's way."""

    def inference(self, model: PeftModel) -> AbstractContextManager[None]:
        """Evaluation mode, and the mode of before on leaving."""


def choose(asked: str, hardware: Hardware, architecture: str | None = None) -> Decision[str]:
    """The backend and why. A backend asked for by name never falls back.

    `auto` prefers Unsloth on a GPU and our fused layers without one. `architecture` is config.json's; None, where the model isn't
    known yet: any. Raises MachineError when the one asked for can't run here, UserError for an unknown name or another's model.
    """
    if asked not in (*NAMES, "auto"):
        raise UserError(f'backend is "{asked}"; expected auto, {", ".join(NAMES[:-1])} or {NAMES[-1]}.{nearest(asked, NAMES)}')
    if asked == "peft":
        return Decision("peft", f"asked for; vanilla PEFT {_version('peft')}")
    if asked == "fused":
        return _asked_for_fused(hardware, architecture)
    if asked == "auto" and hardware.gpu is None and architecture in ARCHITECTURES:
        return Decision("fused", f"no GPU: our own layers, measured faster than Unsloth's and PEFT {_version('peft')}'s here")
    obstacle = _unsloth_obstacle(hardware)
    if obstacle is None:
        return Decision("unsloth", f"{_version('unsloth')} on {'CUDA' if hardware.gpu else 'the CPU'}")
    if asked == "unsloth":
        raise MachineError(f"backend unsloth can't run here: {obstacle}. Pass --backend peft, or mend that.")
    return Decision("peft", f"{obstacle}; vanilla PEFT in its place")


def _asked_for_fused(hardware: Hardware, architecture: str | None) -> Decision[str]:
    if hardware.gpu is not None:
        raise MachineError(
            f"backend fused is for a machine without a GPU, and here is {hardware.gpu.name}. Pass --backend unsloth or peft, or set "
            "UNSLOTH_FORCE_CPU=1."
        )
    if architecture is not None and architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"backend is fused, but the model is a {architecture}; expected {known}. Pass --backend unsloth or peft.")
    return Decision("fused", f"asked for; our own layers on PEFT {_version('peft')}")


def activate(name: str, *, quiet: bool = True) -> Backend:
    """Imports the backend, Unsloth before anything it patches. The first call in a process decides for good."""
    if name != "unsloth" and "unsloth" in sys.modules:
        raise RuntimeError(f"unsloth is imported already; the {name} backend needs a process of its own")
    if name == "unsloth" and "unsloth" not in sys.modules and sys.modules.keys() & {"peft", "trl"}:
        raise RuntimeError("peft or trl is imported already; unsloth has to come first, in a process of its own")
    with third_party(quiet=quiet):
        if name == "unsloth":
            from unsloth_ft.backends.unsloth import UnslothBackend as Chosen
        elif name == "fused":
            from unsloth_ft.backends.fused import FusedBackend as Chosen
        else:
            from unsloth_ft.backends.peft import PeftBackend as Chosen
    from transformers.utils import logging

    logging.disable_progress_bar()  # of loading a model's tensors; ours is the training's
    if quiet and os.environ.get("UNSLOTH_FT_VERBOSE") != "1":
        logging.set_verbosity_error()
    return Chosen()


@contextmanager
def third_party(*, quiet: bool = True) -> Iterator[None]:
    """Keeps the libraries' own prints off stdout, which belongs to the answer; UNSLOTH_FT_VERBOSE=1 shows all on stderr."""
    import logging
    import warnings
    from contextlib import redirect_stdout
    from io import StringIO

    if not quiet or os.environ.get("UNSLOTH_FT_VERBOSE") == "1":
        with redirect_stdout(sys.stderr):
            yield
        return
    # What they say on import is about kernels nobody asked for (torchao without triton, bitsandbytes' hub kernels).
    for logger in ("torchao", "bitsandbytes", "torch", "torch.utils._pytree", "unsloth", "unsloth_zoo", "peft", "trl", "accelerate"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    logging.getLogger("torchao.kernel.intmm").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield


def _unsloth_obstacle(hardware: Hardware) -> str | None:
    """Why Unsloth can't run here, or None."""
    from packaging.version import Version

    if importlib.util.find_spec("unsloth") is None:
        return "unsloth is not installed"
    version = _version("unsloth")
    if hardware.gpu is None and Version(version) < Version(UNSLOTH_WITHOUT_GPU):
        return f"unsloth {version} needs a GPU; {UNSLOTH_WITHOUT_GPU} is the first that doesn't"
    return None


def _version(package: str) -> str:
    return importlib.metadata.version(package)
