"""Deliberate damages to exports, and what the gate says of each: (which export, what was done to it, the line that fails, its words).

The recorded sha256 is not looked at here: a converter that writes the wrong thing records the wrong thing's hash.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy
from safetensors.torch import load_file, save_file

LAYER = "model.layers.1"


@dataclass(frozen=True)
class Places:
    """Copies that a damage may change, and the base, which it may only read."""

    base: Path
    merged: Path
    gguf: Path
    lora: Path
    lora_base: Path
    modelfile: Path


@dataclass(frozen=True)
class Damage:
    """`target` is the export whose gate is run; `line` the first that fails, `says` a pattern for what it found."""

    id: str
    target: str
    change: Callable[[Places], object]
    line: str
    says: str


# -- the merged folder


def tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[Places], None]:
    def edit(places: Places) -> None:
        path = places.merged / "model.safetensors"
        state = load_file(path)
        change(state)
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, metadata={"format": "pt"})

    return edit


def halfway_to_the_base(places: Places) -> None:
    """Half of the update: what a wrong scale, or a wrong rsLoRA, leaves."""
    base = load_file(places.base / "model.safetensors")
    tensors(lambda state: state.update({name: ((tensor.float() + base[name].float()) / 2).to(tensor.dtype) for name, tensor in state.items()}))(places)


def one_place(state: dict[str, Any], name: str, value: float) -> None:
    state[name][3, 5] = value


def json_file(name: str, **values: Any) -> Callable[[Places], None]:
    def edit(places: Places) -> None:
        path = places.merged / name
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")

    return edit


def exchanged(state: dict[str, Any], one: str, other: str) -> None:
    state[one], state[other] = state[other], state[one]


O_PROJ, GATE, UP = (f"{LAYER}.{part}.weight" for part in ("self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj"))
READ, FILES = "weights read back", "tokenizer and configuration"
MERGED = (
    Damage("the base copied as merged", "merged", lambda at: shutil.copy(at.base / "model.safetensors", at.merged), READ, "is the base's weight; the adapter's update is not in it"),
    Damage("half of the update", "merged", halfway_to_the_base, READ, r"was not written as it was computed: [\d,]+ of [\d,]+ values differ"),
    Damage("one tensor transposed", "merged", tensors(lambda state: state.update({O_PROJ: state[O_PROJ].T})), READ, r"layers.1.self_attn.o_proj.weight was not written as it was computed"),
    Damage("NaN in one place", "merged", tensors(lambda state: one_place(state, GATE, float("nan"))), READ, "gate_proj.weight holds values that are no finite numbers"),
    Damage("an untouched tensor changed", "merged", tensors(lambda state: state["model.norm.weight"].mul_(1.01)), READ, r"model.norm.weight was not written as it was computed"),
    Damage("another dtype", "merged", tensors(lambda state: state.update({UP: state[UP].half()})), READ, "up_proj.weight was written as .*; expected"),
    Damage("one tensor missing", "merged", tensors(lambda state: state.pop(UP)), READ, r"up_proj.weight is missing \(1 missing, 0 too many\)"),
    Damage("a shard cut short", "merged", lambda at: os.truncate(at.merged / "model.safetensors", 100_000), READ, "is not a whole safetensors file"),
    Damage("a configuration without an end", "merged", lambda at: (at.merged / "config.json").write_text("[" * 100_000), FILES, "config.json is not the base's"),
    Damage("another end token", "merged", json_file("tokenizer_config.json", eos_token="<|endoftext|>"), FILES, r'eos_token is "<\|endoftext\|>", expected "<\|im_end\|>"'),
    Damage("generation ends elsewhere", "merged", json_file("generation_config.json", eos_token_id=0), FILES, "generation_config.json is not the base's: eos_token_id is 0, expected 2"),
    Damage("another rope base", "merged", json_file("config.json", rope_theta=10000.0), FILES, r"config.json is not the base's: rope_theta is 10000.0, expected 100000"),
    Damage("no tokenizer", "merged", lambda at: (at.merged / "tokenizer.json").unlink(), FILES, "tokenizer.json is missing"),
)  # fmt: skip


# -- a GGUF of a whole model


def rewritten(
    path: Path,
    *,
    metadata: dict[str, Any] | None = None,
    drop: tuple[str, ...] = (),
    change: Callable[[dict[str, Any]], object] = lambda tensors: None,
) -> None:
    """The file again, through the official reader and writer: other fields, fewer fields, or other tensors (name -> array)."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(path.with_suffix(".new"), reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in drop:
            continue
        value = (metadata or {}).get(name, field.contents())
        kind = field.types[0]
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, value)
        else:
            writer.add_key_value(name, value, kind)
    values = {tensor.name: numpy.array(tensor.data) for tensor in reader.tensors}
    kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    change(values)
    for name, array in values.items():
        writer.add_tensor(name, array, raw_dtype=kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(path.with_suffix(".new"), path)


def fields(*drop: str, **values: Any) -> Callable[[Places], None]:
    """Metadata under names whose dots are written as two underscores."""
    return lambda at: rewritten(at.gguf, metadata={name.replace("__", "."): value for name, value in values.items()}, drop=drop)


def in_gguf(change: Callable[[dict[str, Any]], object]) -> Callable[[Places], None]:
    return lambda at: rewritten(at.gguf, change=change)


def unpermuted(values: dict[str, Any], name: str, heads: int) -> None:
    """Rows in HF's order, the halves of a head one after the other."""
    rows = values[name]
    values[name] = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def elsewhere(name: str, change: Callable[[list], list]) -> Callable[[Places], None]:
    """A list field changed."""

    def edit(at: Places) -> None:
        rewritten(at.gguf, metadata={name: change(gguf.GGUFReader(at.gguf).fields[name].contents())})

    return edit


def two_exchanged(tokens: list[str]) -> list[str]:
    other = {"x": "a", "a": "x"}
    return [other.get(token, token) for token in tokens]


def third_is_plain(types: list[int]) -> list[int]:
    return [*types[:2], 1, *types[3:]]


def aligned_to_nothing(at: Places) -> None:
    """A field's name and value are others; nobody gets as far as the tensors behind."""
    content = at.gguf.read_bytes()
    field = content.index(b"general.quantization_version")
    assert content[field + 28 : field + 32] == (4).to_bytes(4, "little")  # a uint32
    field_of_nothing = len(b"general.alignment").to_bytes(8, "little") + b"general.alignment" + (4).to_bytes(4, "little") + bytes(4)
    at.gguf.write_bytes(content[: field - 8] + field_of_nothing + content[field + 36 :])


HEADS, KV_HEADS = 8, 4  # of the tiny SmolLM2
Q, K, DOWN, GATE_PROJ, UP_PROJ = (f"blk.1.{part}.weight" for part in ("attn_q", "attn_k", "ffn_down", "ffn_gate", "ffn_up"))
TENSORS, METADATA = "tensors read back", "metadata"
GGUF = (
    Damage("the base's GGUF", "gguf:f16", lambda at: shutil.copy(at.lora_base, at.gguf), TENSORS, "does not read back as its source"),
    Damage("q without llama.cpp's order of rows", "gguf:f16", in_gguf(lambda values: unpermuted(values, Q, HEADS)), TENSORS, f"'{Q}' does not read back as its source"),
    Damage("k without llama.cpp's order of rows", "gguf:f16", in_gguf(lambda values: unpermuted(values, K, KV_HEADS)), TENSORS, f"'{K}' does not read back as its source"),
    Damage("one tensor's scale halved", "gguf:f16", in_gguf(lambda values: values.update({DOWN: values[DOWN] / numpy.float16(2)})), TENSORS, f"'{DOWN}' does not read back as its source"),
    Damage("NaN in one place", "gguf:f16", in_gguf(lambda values: values[DOWN].__setitem__((-1, -1), numpy.nan)), TENSORS, f"'{DOWN}' holds NaN or infinity in 1 place"),
    Damage("two tensors exchanged", "gguf:f16", in_gguf(lambda values: exchanged(values, GATE_PROJ, UP_PROJ)), TENSORS, f"'{GATE_PROJ}' does not read back as its source"),
    Damage("a tensor dropped", "gguf:f16", in_gguf(lambda values: values.pop(DOWN)), TENSORS, r"holds \d+ tensors, expected \d+"),
    Damage("cut short", "gguf:f16", lambda at: os.truncate(at.gguf, at.gguf.stat().st_size - 64), TENSORS, "is cut short, 64 bytes are missing"),
    Damage("an end token dropped", "gguf:f16", fields("tokenizer.ggml.eos_token_id"), METADATA, "tokenizer.ggml.eos_token_id is missing, expected 2"),
    Damage("another pre-tokenizer", "gguf:f16", fields(tokenizer__ggml__pre="llama-bpe"), METADATA, "tokenizer.ggml.pre is 'llama-bpe', expected 'smollm'"),
    Damage("the template of another family", "gguf:f16", fields(tokenizer__chat_template="{{ messages[0].content }} [/INST]"), METADATA, r"tokenizer.chat_template is '\{\{ messages"),
    Damage("a control token made plain text", "gguf:f16", elsewhere("tokenizer.ggml.token_type", third_is_plain), METADATA, r"tokenizer.ggml.token_type\[2\] is 1, expected 3"),
    Damage("two tokens exchanged", "gguf:f16", elsewhere("tokenizer.ggml.tokens", two_exchanged), METADATA, r"tokenizer.ggml.tokens\[\d+\] is '[xa]', expected '[xa]'"),
    Damage("half of the merges", "gguf:f16", elsewhere("tokenizer.ggml.merges", lambda merges: merges[:500]), METADATA, r"tokenizer.ggml.merges is 500 values, expected \d+ values"),
    Damage("another rope base", "gguf:f16", fields(llama__rope__freq_base=10000.0), METADATA, r"llama.rope.freq_base is 10000.0, expected 100000"),
    Damage("another epsilon", "gguf:f16", fields(llama__attention__layer_norm_rms_epsilon=0.001), METADATA, r"llama.attention.layer_norm_rms_epsilon is 0.001"),
    Damage("an alignment of nothing", "gguf:f16", aligned_to_nothing, TENSORS, r"its header ends early or makes no sense \(.alignment 0"),
    Damage("a second BOS", "gguf:f16", fields(tokenizer__ggml__add_bos_token=True), METADATA, r"tokenizer.ggml.add_bos_token is True, expected False"),
)  # fmt: skip


# -- an adapter's GGUF, and Modelfiles


def in_lora(*, change: Callable[[dict[str, Any]], object] = lambda values: None, **metadata: Any) -> Callable[[Places], None]:
    return lambda at: rewritten(at.lora, metadata={name.replace("__", "."): value for name, value in metadata.items()}, change=change)


def in_lora_base(change: Callable[[dict[str, Any]], object]) -> Callable[[Places], None]:
    return lambda at: rewritten(at.lora_base, change=change)


def with_template(template: str) -> Callable[[Places], None]:
    """A Modelfile of the right GGUF, stop and context with another TEMPLATE, or none."""
    return lambda at: at.modelfile.write_text(f'FROM ./{at.gguf.name}\n{template}PARAMETER stop "<|im_end|>"\nPARAMETER num_ctx 2048\n')


def in_modelfile(old: str, new: str) -> Callable[[Places], None]:
    def edit(at: Places) -> None:
        text = at.modelfile.read_text(encoding="utf-8")
        assert old in text
        at.modelfile.write_text(text.replace(old, new), encoding="utf-8")

    return edit


Q_B = f"{Q}.lora_b"
PAIRS, FROM, TEMPLATE = "adapter's tensors read back", "FROM and num_ctx", "TEMPLATE and stops"
LLAMA_TEMPLATE = "{{ range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>{{ end }}"
OTHERS = (
    Damage("an adapter's scale halved", "gguf-lora:f16", in_lora(adapter__lora__alpha=4.0), PAIRS, "adapter.lora.alpha reads back as 4.0, and 8.0 was written"),
    Damage("an adapter's q without llama.cpp's order of rows", "gguf-lora:f16", in_lora(change=lambda values: unpermuted(values, Q_B, HEADS)), PAIRS, f"'{Q_B}' does not read back as the adapter's"),
    Damage("A of another module", "gguf-lora:f16", in_lora(change=lambda values: exchanged(values, f"{Q}.lora_a", f"{K}.lora_a")), PAIRS, "lora_a' does not read back as the adapter's"),
    Damage("an adapter on a damaged base", "gguf-lora:f16", in_lora_base(lambda values: exchanged(values, GATE_PROJ, UP_PROJ)), TENSORS, f"'{GATE_PROJ}' does not read back as its source"),
    Damage("a Modelfile without its stop", "ollama", in_modelfile('PARAMETER stop "<|im_end|>"\n', ""), TEMPLATE, r"no stop for '<\|im_end\|>'; the model would go on after its answer"),
    Damage("a Modelfile with another family's template", "ollama", with_template(f'TEMPLATE """{LLAMA_TEMPLATE}"""\n'), TEMPLATE, "differs from the tokenizer's chat template"),
    Damage("a Modelfile without a template", "ollama", with_template(""), TEMPLATE, "has no TEMPLATE; Ollama would send the bare text"),
    Damage("a Modelfile that is no text", "ollama", lambda at: at.modelfile.write_bytes(b"FROM \xff\xfe\n"), FROM, "FROM is '"),
    Damage("a Modelfile of another GGUF", "ollama", lambda at: in_modelfile(f"./{at.gguf.name}", "./other.gguf")(at), FROM, r"FROM is './other.gguf', expected './my-run-f16.gguf'"),
    Damage("a Modelfile with a SYSTEM that nobody asked for", "ollama", in_modelfile("PARAMETER num_ctx", 'SYSTEM "You are Bob."\nPARAMETER num_ctx'), FROM, "SYSTEM is 'You are Bob.', expected None"),
    Damage("a Modelfile that cuts the context", "ollama", in_modelfile("num_ctx 2048", "num_ctx 128"), FROM, r"num_ctx is \['128'\], expected \['2048'\]"),
)  # fmt: skip

DAMAGES = (*MERGED, *GGUF, *OTHERS)
