"""What `llama-quantize` makes of each tensor, as a file of facts for the tests: tests/golden/quantization_types.json.

`python -m tests.export.quantization_types LLAMA_QUANTIZE` writes it anew, with a built llama-quantize (llama.cpp as in the source archive
of llama-cpp-python 0.3.36; a minute). The models are empty but for their shapes, which is all that the choice depends on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import gguf
import numpy

from unsloth_ft.export.gguf_model import Architecture
from unsloth_ft.export.gguf_types import USUAL

GOLDEN = Path(__file__).parent.parent / "golden" / "quantization_types.json"
VOCABULARY = 32


@dataclass(frozen=True)
class Model:
    """A shape: `name` is the GGUF architecture, `head_dim` None means hidden / heads."""

    name: str
    layers: int
    hidden: int
    wide: int
    heads: int
    kv_heads: int
    tied: bool = False
    head_dim: int | None = None

    @property
    def head(self) -> int:
        return self.head_dim or self.hidden // self.heads

    def architecture(self) -> Architecture:
        return Architecture(
            hf_class="",
            name=self.name,
            vocab_size=VOCABULARY,
            hidden_size=self.hidden,
            intermediate_size=self.wide,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head,
            context_length=64,
            rms_norm_eps=1e-5,
            rope_theta=10000.0,
            rope_scaling=None,
            tied=self.tied,
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """GGUF name → shape, rows first."""
        query, key = self.heads * self.head, self.kv_heads * self.head
        shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, self.hidden), "output_norm.weight": (self.hidden,)}
        if not self.tied:
            shapes["output.weight"] = (VOCABULARY, self.hidden)
        layer = {
            "attn_norm.weight": (self.hidden,),
            "attn_q.weight": (query, self.hidden),
            "attn_k.weight": (key, self.hidden),
            "attn_v.weight": (key, self.hidden),
            "attn_output.weight": (self.hidden, query),
            "ffn_norm.weight": (self.hidden,),
            "ffn_gate.weight": (self.wide, self.hidden),
            "ffn_up.weight": (self.wide, self.hidden),
            "ffn_down.weight": (self.hidden, self.wide),
        }
        if self.name == "qwen2":
            layer |= {"attn_q.bias": (query,), "attn_k.bias": (key,), "attn_v.bias": (key,)}
        if self.name == "qwen3":
            layer |= {"attn_q_norm.weight": (self.head,), "attn_k_norm.weight": (self.head,)}
        return shapes | {f"blk.{index}.{part}": shape for index in range(self.layers) for part, shape in layer.items()}


MODELS = {
    "llama, 2 layers of 64": Model("llama", 2, 64, 160, 4, 2),  # the tests' families
    "llama, 3 layers of 256": Model("llama", 3, 256, 512, 4, 2),
    "llama, 7 layers of 256, no grouping": Model("llama", 7, 256, 256, 4, 4),
    "llama, 16 layers of 256, tied": Model("llama", 16, 256, 256, 8, 2, tied=True),  # Llama-3.2-1B's depth
    "llama, 32 layers of 256, groups of 4": Model("llama", 32, 256, 256, 8, 2),  # Llama-3.1-8B's, Mistral-7B's
    "llama, 40 layers of 256, heads of 32": Model("llama", 40, 256, 256, 8, 2, head_dim=32),  # Mistral-Nemo's
    "llama, 80 layers of 256, groups of 8": Model("llama", 80, 256, 256, 8, 1),  # llama.cpp's 70B
    "llama, 80 layers of 256, no grouping": Model("llama", 80, 256, 256, 8, 8),  # its 65B
    "llama, 30 layers of 576, tied": Model("llama", 30, 576, 1536, 9, 3, tied=True),  # SmolLM2-135M
    "llama, 4 layers of 80": Model("llama", 4, 80, 256, 2, 1),
    "qwen2, 2 layers of 64, tied": Model("qwen2", 2, 64, 160, 4, 2, tied=True),
    "qwen2, 24 layers of 256, tied": Model("qwen2", 24, 256, 512, 8, 1, tied=True),  # Qwen2.5-0.5B's depth
    "qwen2, 28 layers of 256, groups of 8": Model("qwen2", 28, 256, 288, 8, 1),  # Qwen2.5-7B's depth; ffn_down falls back
    "qwen2, 80 layers of 256": Model("qwen2", 80, 256, 256, 8, 8),
    "qwen3, 2 layers of 64, tied": Model("qwen3", 2, 64, 160, 4, 2, tied=True, head_dim=32),
    "qwen3, 28 layers of 256, tied": Model("qwen3", 28, 256, 512, 4, 2, tied=True, head_dim=128),  # Qwen3-0.6B's depth
    "qwen3, 36 layers of 256, groups of 4": Model("qwen3", 36, 256, 256, 8, 2, head_dim=96),  # Qwen3-8B's depth
    "qwen3, 80 layers of 256": Model("qwen3", 80, 256, 256, 8, 1, head_dim=32),
}


def summary(types: dict[str, str]) -> dict[str, str]:
    """Part of the model → its matrices' types layer by layer, "q6_k*2 q4_k" for two and one."""
    parts: dict[str, list[str]] = {}
    layers = sorted(types, key=lambda name: int(name.split(".")[1]) if name.startswith("blk.") else -1)
    for name in layers:
        if types[name] != "f32":
            parts.setdefault(name.split(".")[-2], []).append(types[name])
    return {part: " ".join(run(kind, len(list(same))) for kind, same in groupby(parts[part])) for part in sorted(parts)}


def run(kind: str, count: int) -> str:
    return kind if count == 1 else f"{kind}*{count}"


def write_model(model: Model, path: Path) -> None:
    writer = gguf.GGUFWriter(path, model.name)
    writer.add_block_count(model.layers)
    writer.add_context_length(64)
    writer.add_embedding_length(model.hidden)
    writer.add_feed_forward_length(model.wide)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head)
    writer.add_value_length(model.head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    for name, shape in model.shapes().items():
        writer.add_tensor(name, numpy.zeros(shape, dtype="float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantized_types(program: str, path: Path, quantization: str) -> dict[str, str]:
    """GGUF name → type, from what llama-quantize says that it would do (`--dry-run`: it refuses q2_k_s otherwise)."""
    names = {"f32": "F32", "q2_k_s": "Q2_K_S"}
    command = [program, "--dry-run", str(path), names.get(quantization, quantization)]
    log = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = re.findall(r"\] +(\S+) +- \[.*?\], type = +f32, size = (.*)", log.stdout + log.stderr)
    return {name: (re.search(r"\((\w+)\)", rest) or [None, "f32"])[1].lower() for name, rest in lines}


def as_lines(facts: dict[str, dict[str, dict[str, str]]]) -> str:
    """JSON with one line for each model and quantization."""
    models = []
    for title, made in facts.items():
        lines = ",\n".join(f"  {json.dumps(quantization)}: {json.dumps(parts)}" for quantization, parts in made.items())
        models.append(f" {json.dumps(title)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(models) + "\n}\n"


def main(program: str) -> None:
    facts = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        for title, model in MODELS.items():
            write_model(model, path)
            made = {quantization: quantized_types(program, path, quantization) for quantization in USUAL}
            assert all(set(types) == set(model.shapes()) for types in made.values())
            facts[title] = {quantization: summary(types) for quantization, types in made.items()}
    GOLDEN.write_text(as_lines(facts), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
