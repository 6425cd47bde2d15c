"""What a merge takes of the memory, before it begins."""

from __future__ import annotations

from pathlib import Path

from unsloth_ft.base_model import weight_files
from unsloth_ft.export.lora import WEIGHTS
from unsloth_ft.export.shards import BYTES, read_header
from unsloth_ft.export.updates import BLOCK_VALUES

# Of a block, at once: as stored, in float32, its update, a square or a comparison, as written, and as read back.
BYTES_PER_BLOCK_VALUE = 4 + 4 + 4 + 4 + 2 + 2
# Python's objects for a tokenizer.json: 16 times its size for Llama 3's 8 MB, 13 times for Qwen3's 6 MB, one at a time.
TOKENIZER_FACTOR = 24
# BLAS buffers, the allocator's reserve, headers. A merge of Llama-3.2-1B took 54 MB beside its adapter, blocks included.
REST_BYTES = 64 << 20


def merge_peak_bytes(base: Path, adapter: Path | None) -> int:
    """An upper estimate of the memory that a merge takes beside the loaded program, from headers and file sizes alone.

    None for an adapter that isn't there yet leaves its own size out. Where the adapter's tokenizer differs from the base's, both are
    loaded once more, by transformers, which is not in this number.

    Raises UserError when a file is damaged.
    """
    widest = max((entry.columns for file in weight_files(base) for entry in read_header(file).values()), default=0)
    blocks = BYTES_PER_BLOCK_VALUE * max(BLOCK_VALUES, widest)
    if adapter is None:
        return blocks + REST_BYTES
    tensors = read_header(adapter / WEIGHTS).items()
    # Whole tensors stay in the file; what is low-rank is held.
    held = sum(BYTES[entry.dtype] * entry.size for name, entry in tensors if ".lora_" in name or "trainable_tokens_delta" in name)
    tokenizers = [folder / "tokenizer.json" for folder in (base, adapter)] if (adapter / "tokenizer.json").is_file() else []
    largest = max((file.stat().st_size for file in tokenizers if file.is_file()), default=0)
    return blocks + held + TOKENIZER_FACTOR * largest + REST_BYTES
