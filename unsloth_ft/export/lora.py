"""A PEFT adapter read from its folder, and refused when it is anything but plain LoRA."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsloth_ft.errors import UserError
from unsloth_ft.export.shards import read_header

if TYPE_CHECKING:
    import torch

PREFIX = "base_model.model."  # what PEFT puts before a module's name
# Fields of adapter_config.json (peft.LoraConfig) that change what an update is, and their values in plain LoRA. Null is plain too.
PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False,),
    "use_qalora": (False,),
    "use_bdlora": (False,),
    "fan_in_fan_out": (False,),
    "lora_bias": (False,),
    "bias": ("none",),
    "modules_to_save": ([],),
    "rank_pattern": ({},),
    "alpha_pattern": ({},),
    "layer_replication": ([],),
    "trainable_token_indices": ([], {}),
    "target_parameters": ([],),
    "alora_invocation_tokens": ([],),
    "velora_config": (),
    "monteclora_config": (),
    "arrow_config": (),
    "kasa_config": (),
    # PiSSA, OLoRA, CorDA and LoftQ change the base's weights when the adapter is made; the base at hand has not been changed.
    "init_lora_weights": (True, False, "gaussian", "orthogonal"),
}


@dataclass(frozen=True)
class Adapter:
    """The low-rank pairs of a PEFT adapter. `pairs`: module name as in the base -> (A of shape (r, in), B of shape (out, r))."""

    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]
    scale: float

    def scale_of(self, module: str) -> float:
        """The factor on B·A of one module."""
        return self.scale


def read_adapter(folder: Path) -> Adapter:
    """Reads adapter_config.json and adapter_model.safetensors.

    Raises UserError for what would be merged wrongly: another method than LoRA, patterns, saved modules, damaged files.
    """
    from safetensors.torch import load_file

    config_file, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if not config_file.is_file() or not weights.is_file():
        raise UserError(f"{folder.name}: no adapter_config.json and adapter_model.safetensors in it; expected a PEFT adapter.")
    r, scale = _scale(folder, config_file)
    read_header(weights)  # says what is wrong with a damaged file
    tensors = load_file(weights)
    pairs = {}
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            b = tensors.get(name.removesuffix("lora_A.weight") + "lora_B.weight")
            module = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
            if b is not None:
                if a.dim() != 2 or b.dim() != 2 or a.shape[0] != r or b.shape[1] != r:
                    raise UserError(
                        f"{folder.name}: {module} has A {tuple(a.shape)} and B {tuple(b.shape)}; "
                        f"expected r = {r}, as in adapter_config.json."
                    )
                pairs[module] = (a, b)
    if not pairs:
        raise UserError(f"{folder.name}: adapter_model.safetensors holds no LoRA pair.")
    if len(tensors) != 2 * len(pairs):
        raise UserError(
            f"{folder.name}: {len(tensors) - 2 * len(pairs)} tensors in the adapter belong to no LoRA pair; they would be lost in a merge."
        )
    return Adapter(pairs, scale)


def _scale(folder: Path, config_file: Path) -> tuple[int, float]:
    """(r, the factor on B·A)."""
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise UserError(f"{folder.name}: adapter_config.json is not JSON ({error}).") from None
    for key, plain in PLAIN.items():
        if config.get(key) is not None and config[key] not in plain:
            raise UserError(
                f"{folder.name}: adapter_config.json says {key} = {config[key]!r}; the merge knows plain LoRA only{_expected(plain)}."
            )
    r, alpha = config.get("r"), config.get("lora_alpha")
    if not (isinstance(r, int) and r > 0 and isinstance(alpha, (int, float)) and math.isfinite(alpha)):
        raise UserError(
            f"{folder.name}: adapter_config.json says r = {r!r}, lora_alpha = {alpha!r}; expected a whole number from 1 and a number."
        )
    return r, alpha / math.sqrt(r) if config.get("use_rslora") else alpha / r


def _expected(plain: tuple[Any, ...]) -> str:
    return f" ({' or '.join(map(repr, plain))})" if plain and plain[0] not in ([], {}) else ""
