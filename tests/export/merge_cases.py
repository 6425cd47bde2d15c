"""Every kind of LoRA adapter that PEFT writes, on tiny models of every family, and what PEFT itself makes of them."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests import families
from tests.family_tokenizers import write_json
from unsloth_ft.export.lora import read_adapter
from unsloth_ft.export.merge_plan import plan_merge
from unsloth_ft.export.updates import blocks

VOCABULARY = 320
RESIZED = 331
LINEAR = ["q_proj", "v_proj", "down_proj"]


@dataclass(frozen=True)
class Kind:
    """`config`: LoraConfig's fields. `broken_when_tied`: PEFT's own merge of a model with tied embeddings has other logits. `rows`: of the
    embedding while training."""

    config: dict[str, Any] = field(default_factory=dict)
    rows: int = VOCABULARY
    targets: tuple[str, ...] = ()
    broken_when_tied: bool = False
    families: tuple[str, ...] = families.FAMILIES


KINDS = {
    "lora": Kind(),
    "rslora": Kind({"use_rslora": True}),
    "dora": Kind({"use_dora": True}),
    "dora-of-an-embedding": Kind({"use_dora": True}, targets=("embed_tokens",), broken_when_tied=True),
    "patterns": Kind(
        {
            "rank_pattern": {"layers.0.self_attn.q_proj": 2, "v_proj": 6, r"layers\.[01]\..*down_proj": 3},
            "alpha_pattern": {"^model.layers.1.self_attn.q_proj": 32, "(v|down)_proj": 5},
        }
    ),
    "rslora-with-patterns": Kind({"use_rslora": True, "rank_pattern": {"v_proj": 9}, "alpha_pattern": {"q_proj": 3}}),
    "norms-saved": Kind({"modules_to_save": ["norm", "input_layernorm"]}),
    "a-block-saved": Kind({"target_modules": ["q_proj"], "modules_to_save": ["mlp"]}),
    "embedding-saved": Kind({"modules_to_save": ["embed_tokens"]}),
    "head-saved": Kind({"modules_to_save": ["lm_head"]}),
    "both-saved": Kind({"modules_to_save": ["lm_head", "embed_tokens"]}),
    "embedding-saved-and-tied": Kind({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    "embedding-lora": Kind(targets=("embed_tokens",), broken_when_tied=True),
    "head-lora": Kind(targets=("lm_head",), broken_when_tied=True),
    "both-lora": Kind(targets=("embed_tokens", "lm_head"), broken_when_tied=True),
    "embedding-lora-and-tied": Kind({"ensure_weight_tying": True}, targets=("embed_tokens",), broken_when_tied=True),
    "tokens": Kind({"trainable_token_indices": [3, 5]}),
    "tokens-of-both": Kind({"trainable_token_indices": {"embed_tokens": [3, 5], "lm_head": [7]}}, broken_when_tied=True),
    "resized": Kind(rows=RESIZED),
    "resized-and-saved": Kind({"modules_to_save": ["embed_tokens", "lm_head"]}, rows=RESIZED),
    "resized-and-shrunk": Kind(rows=300),
    "resized-tokens": Kind({"trainable_token_indices": [VOCABULARY, VOCABULARY + 1]}, rows=RESIZED),
    "lora-bias": Kind({"target_modules": ["q_proj", "v_proj"], "lora_bias": True}, families=("qwen25",)),
}
CASES = [(kind, family) for kind, case in KINDS.items() for family in case.families]


def small_base(family: str, folder: Path) -> Path:
    """The family's tiny model with a small vocabulary and no tokenizer."""
    shape = dataclasses.replace(families.SHAPES[family], vocab_size=VOCABULARY)
    folder.mkdir(parents=True)
    special = {key: 1 for key in shape.config if key.endswith("token_id")}
    write_json(folder / "config.json", families.config_of(shape) | special)
    families.write_weights(shape, folder, seed=3)
    return folder


def is_tied(family: str) -> bool:
    return families.SHAPES[family].tied


def load(base: Path, kind: Kind) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if kind.rows != VOCABULARY:
        torch.manual_seed(7)
        model.resize_token_embeddings(kind.rows, mean_resizing=False)
    return model


def train(base: Path, kind: Kind, folder: Path, *, std: float = 0.1) -> Path:
    """The adapter's folder, as PEFT saves it; every trainable weight was moved."""
    from peft import LoraConfig, get_peft_model

    values = {"r": 4, "lora_alpha": 8, "target_modules": LINEAR, **kind.config}
    values["target_modules"] = [*values["target_modules"], *kind.targets]
    model = load(base, kind)
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **values))
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * std
        adapted.save_pretrained(folder)
    return folder


def adapted(base: Path, kind: Kind, folder: Path) -> Any:
    """PEFT's model, from the adapter's folder."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(load(base, kind), folder).eval()


def merged_by_peft(base: Path, kind: Kind, folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adapted(base, kind, folder).merge_and_unload()


def logits(model: Any, *, rows: int) -> torch.Tensor:
    """(1, sequence, vocabulary) in float32, over every token id."""
    with torch.no_grad():
        return model(torch.arange(min(rows, VOCABULARY))[None]).logits


def in_float32(base: Path, folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of our merge, before it is rounded to 16 bits."""
    plan = plan_merge(base, read_adapter(folder))
    found = {}
    for tensor in plan.tensors:
        parts = [block.merged for block in blocks(dataclasses.replace(tensor, dtype="F32"))]
        found[tensor.name] = torch.cat(parts).reshape(tensor.source.stored.shape)
    return found


def shard(folder: Path, parts: int) -> None:
    """The folder's weights in `parts` files with an index, as large models are published."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number in range(parts):
        name = f"model-{number + 1:05}-of-{parts:05}.safetensors"
        names = sorted(state)[number::parts]
        save_file({key: state[key] for key in names}, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, name)
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in state.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def everything(folder: Path) -> dict[str, bytes]:
    """Every file under the folder, hidden ones too."""
    return {os.fspath(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
