"""The metadata of a GGUF file, written through a `gguf.GGUFWriter`.

Keys, types and what is left out are those of llama.cpp's own converter (convert_hf_to_gguf.py, conversion/{base,llama,qwen}.py and
gguf-py/gguf/{metadata,vocab}.py); tests/export/test_gguf_oracle.py holds the two against each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unsloth_ft.base_model import read_json
from unsloth_ft.export.gguf_model import YARN_FIELDS, Architecture
from unsloth_ft.export.gguf_vocab import Vocabulary

# generation_config.json → `general.sampling.*`: what llama.cpp's programs sample with unless the user says otherwise.
SAMPLING = {
    "top_k": "add_sampling_top_k",
    "top_p": "add_sampling_top_p",
    "min_p": "add_sampling_min_p",
    "temperature": "add_sampling_temp",
    "repetition_penalty": "add_sampling_penalty_repeat",
}


def add_metadata(writer: Any, model_dir: Path, architecture: Architecture, vocabulary: Vocabulary, file_type: str) -> None:
    """Every field of a whole model's file. `file_type` is a name of gguf.LlamaFileType."""
    import gguf

    writer.add_type(gguf.GGUFType.MODEL)
    add_sampling(writer, model_dir)
    add_architecture(writer, architecture)
    add_vocabulary(writer, vocabulary)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)  # last, as llama-quantize leaves these two
    writer.add_file_type(gguf.LlamaFileType[file_type])


def add_sampling(writer: Any, model_dir: Path) -> None:
    path = model_dir / "generation_config.json"
    config = read_json(path) if path.is_file() else {}
    for name, add in SAMPLING.items():
        if config.get(name) is not None:
            getattr(writer, add)(config[name])


def add_architecture(writer: Any, architecture: Architecture) -> None:
    import gguf

    writer.add_block_count(architecture.layers)
    writer.add_context_length(architecture.context_length)
    writer.add_embedding_length(architecture.hidden_size)
    writer.add_feed_forward_length(architecture.intermediate_size)
    writer.add_head_count(architecture.heads)
    writer.add_head_count_kv(architecture.kv_heads)
    if architecture.name != "qwen2":  # its heads are hidden_size / num_attention_heads wide, which is what llama.cpp takes
        writer.add_key_length(architecture.head_dim)
        writer.add_value_length(architecture.head_dim)
    if architecture.name == "llama":  # the others take the key length and the number of tokens
        writer.add_vocab_size(architecture.vocab_size)
        writer.add_rope_dimension_count(architecture.head_dim)
    writer.add_layer_norm_rms_eps(architecture.rms_norm_eps)
    writer.add_rope_freq_base(architecture.rope_theta)
    scaling = architecture.rope_scaling
    if scaling.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling.values["factor"])
    if scaling.kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling.values["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling.values["original_max_position_embeddings"])
        for name, add in YARN_FIELDS.items():
            if scaling.values.get(name) is not None:
                getattr(writer, add)(scaling.values[name])


def add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.scores:
        writer.add_token_scores(list(vocabulary.scores))
    if vocabulary.merges:
        writer.add_token_merges(list(vocabulary.merges))
    writers = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "eot": writer.add_eot_token_id,
        "eom": writer.add_eom_token_id,
        "unk": writer.add_unk_token_id,
        "pad": writer.add_pad_token_id,
    }
    for name, index in vocabulary.special_ids.items():
        writers[name](index)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    if vocabulary.add_space_prefix is not None:
        writer.add_add_space_prefix(vocabulary.add_space_prefix)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)
