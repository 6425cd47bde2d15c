"""What the adapter and the merged model say, in plain transformers: the reference that every export is compared with."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsloth_ft.base_model import weight_files
from unsloth_ft.chat import Chat
from unsloth_ft.errors import MachineError
from unsloth_ft.export.lora import read_adapter
from unsloth_ft.export.proof import LIKELIEST, Reference, Step

if TYPE_CHECKING:
    from torch.nn import Module


def references(
    folder: Path, chat: Chat, prompts: Sequence[Sequence[int]], *, dtype: str, device: str, max_new_tokens: int, adapter: Path | None = None
) -> list[Reference]:
    """Greedy answers and their probabilities. `adapter`: a PEFT folder to put on top of the model."""
    with loaded(folder, dtype=dtype, device=device, adapter=adapter) as model:
        return answers(model, chat, prompts, max_new_tokens=max_new_tokens)


@contextmanager
def loaded(folder: Path, *, dtype: str, device: str, adapter: Path | None = None) -> Iterator[Module]:
    """The model, ready to answer; its memory is free again afterwards. Raises UserError for an adapter that a merge would refuse."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from unsloth_ft.backends import third_party

    if adapter:
        read_adapter(adapter)  # PEFT matches an expression for as long as it takes, and opens pickles
    logging.disable_progress_bar()  # an export tells its own progress
    _free_memory()
    with third_party():
        model = AutoModelForCausalLM.from_pretrained(
            os.fspath(folder), dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True, device_map=device
        )
        if adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, os.fspath(adapter), is_trainable=False)
        yield model.eval()
    del model
    _free_memory()


def answers(model: Module, chat: Chat, prompts: Sequence[Sequence[int]], *, max_new_tokens: int) -> list[Reference]:
    """The model's own greedy answers, with the probabilities at each of their steps."""
    from unsloth_ft.evaluate.answers import greedy

    ids = [answer.ids for answer in greedy(model, chat, prompts, max_new_tokens=max_new_tokens)] if prompts else []
    return [Reference(answer, steps) for answer, steps in zip(ids, follow(model, prompts, ids))]


def follow(model: Module, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[tuple[Step, ...]]:
    """The probabilities at each step of the given answers and at their ends, whatever the model itself would say."""
    return [_likeliest(model, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]


def _likeliest(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> tuple[Step, ...]:
    import torch

    ids = torch.tensor([[*prompt, *answer]], device=next(model.parameters()).device)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(answer) + 1).logits[0].float()
    values, indices = torch.log_softmax(logits, dim=-1).topk(LIKELIEST)
    return tuple(dict(zip(row, kept)) for row, kept in zip(indices.tolist(), values.tolist()))


def room(folder: Path, *, dtype: str, device: str) -> tuple[str, str | None]:
    """(device, reason) to run the model on: the run's own where it is here and has room, else the CPU.

    After QLoRA the 16-bit model need not fit on the card that the training fitted on. Raises MachineError when it fits nowhere.
    """
    import torch

    from unsloth_ft.hardware import detect

    needed = answering_bytes(folder, dtype=dtype)
    reason = None
    if device == "cuda" and not torch.cuda.is_available():
        reason = "answered on the CPU: the run was trained on a GPU, and this machine has none"
    elif device == "cuda":
        _free_memory()
        free = torch.cuda.mem_get_info()[0]
        if needed <= free:
            return device, None
        reason = f"answered on the CPU: the 16-bit model needs {needed / 2**30:.1f} GiB, the GPU has {free / 2**30:.1f} GiB free"
    memory = detect().memory_bytes
    if needed > memory:
        raise MachineError(
            f"the 16-bit model needs {needed / 2**30:.1f} GiB of memory to answer, this machine has {memory / 2**30:.1f} GiB"
        )
    return "cpu", reason


def answering_bytes(folder: Path, *, dtype: str) -> int:
    """Memory of the model while it answers: the weights in the compute type, and a tenth for activations, cache and logits."""
    return int(1.1 * sum(file.stat().st_size for file in weight_files(folder)) * (2 if dtype == "float32" else 1))


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
