"""Does an export say what was trained? Greedy answers and token ids, compared."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unsloth_ft.chat import Chat
from unsloth_ft.data.conversation import Message
from unsloth_ft.errors import MachineError

QUESTIONS = 8  # held-out questions that every export answers

# Share of the answers' tokens up to the first difference. A 16-bit merge rounds each weight once and llama.cpp sums in
# another order, so a near-tie may fall the other way late in an answer; a broken export falls at the first token.
LEAST_AGREEMENT = {"merged": 0.85, "f32": 0.9, "f16": 0.9, "bf16": 0.9, "q8_0": 0.8}

PROBES = (
    "Hello, world!", "The quick brown fox jumps over 13 lazy dogs.", "  two leading spaces, two trailing  ", "a\n\n\nb\tc\r\nd",
    "naïve café – “quotes” … 50 €", "für Öl, ß und Übermut", "Здравствуй, мир", "你好,世界。今天天气很好。", "こんにちは、元気ですか", "안녕하세요",
    "مرحبا بالعالم", "שלום עולם", "🙂👩‍👩‍👧‍👦🇩🇪", "3.14159 1,000,000 0x1F 1e-5", "def f(x):\n    return {'a': [x ** 2]}  # ok",
    "SELECT * FROM t WHERE a >= 1;", "https://example.org/path?q=1&r=%20", "don't we'll I've it's", "ALLCAPS camelCase snake_case kebab-case", "x" * 40,
)


def check(name: str, ok: bool, found: str, expected: str) -> dict[str, Any]:
    """One line of an export's table."""
    return {"name": name, "ok": bool(ok), "found": found, "expected": expected}


def agreement(one: Sequence[int], other: Sequence[int]) -> float:
    """Length of the common beginning over the longer one's length; 1 for two empty answers."""
    longest = max(len(one), len(other))
    return len(os.path.commonprefix([list(one), list(other)])) / longest if longest else 1.0


def agree(name: str, found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]], least: float) -> dict[str, Any]:
    """Whether two sides give the same greedy answers, up to `least` of their tokens."""
    if not expected:
        return check(name, True, "not compared: the run asked for no answers (evaluate.answers is 0)", "")
    shares = [agreement(one, other) for one, other in zip(found, expected)]
    mean = sum(shares) / len(shares)
    equal = sum(share == 1.0 for share in shares)
    return check(name, mean >= least, f"{equal} of {len(shares)} answers equal, {mean:.1%} of their tokens", f"at least {least:.0%} of the tokens")


def same_as_adapter(merged: Sequence[Sequence[int]], adapter: Sequence[Sequence[int]]) -> dict[str, Any]:
    return agree("merged model answers as the adapter", merged, adapter, LEAST_AGREEMENT["merged"])


def merged_answers(folder: Path, chat: Chat, prompts: Sequence[Sequence[int]], *, dtype: str, device: str, max_new_tokens: int) -> list[list[int]]:
    """Greedy answers of the merged model in plain transformers, as ids without the end token."""
    import torch
    from transformers import AutoModelForCausalLM

    from unsloth_ft.backends import third_party
    from unsloth_ft.evaluate.answers import greedy

    if not prompts:
        return []
    with third_party():
        model = AutoModelForCausalLM.from_pretrained(os.fspath(folder), dtype=getattr(torch, dtype), local_files_only=True, device_map=device)
        answers = greedy(model.eval(), chat, prompts, max_new_tokens=max_new_tokens)
    del model
    gc.collect()
    return [list(answer.ids) for answer in answers]


def in_llamacpp(
    path: Path, quantization: str, chat: Chat, prompts: Sequence[dict[str, Any]], merged: Sequence[Sequence[int]], max_new_tokens: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """(checks, notes) of a GGUF in real llama.cpp: token ids, greedy answers, and that answers end. Without xllamacpp only a note."""
    from unsloth_ft.export.llamacpp import LlamaCpp

    context = max([len(line["prompt_ids"]) for line in prompts], default=0) + max_new_tokens + 64
    try:
        with LlamaCpp(path, context_length=context) as llama:
            texts = [*PROBES, *rendered(chat)]
            equal = sum(llama.tokenize(text) == chat.ids(text) for text in texts)
            ids = check("token ids in llama.cpp", equal == len(texts), f"{equal} of {len(texts)} texts equal", "all equal")
            answers = [llama.generate(line["prompt_ids"], max_new_tokens=max_new_tokens) for line in prompts]
    except MachineError as error:
        return [], [f"not compared in llama.cpp: {error}"]
    found = [list(answer.ids) for answer in answers]
    checks = [ids, agree("llama.cpp answers as the merged model", found, merged, LEAST_AGREEMENT[quantization])]
    if answers:
        should = sum(len(ids) < max_new_tokens for ids in merged)
        stopped = sum(answer.stopped for answer in answers)
        checks.append(check("answers stop in llama.cpp", stopped >= should, f"{stopped} of {len(answers)}", f"at least the {should} that stop in the merged model"))
    return checks, []


def rendered(chat: Chat) -> list[str]:
    """Conversations as the chat template writes them, control tokens and all."""
    one = (Message("user", "What is LoRA?"), Message("assistant", "A low-rank update."))
    several = (*one, Message("user", "And  QLoRA?\n"), Message("assistant", "LoRA on a 4-bit base – 你好."))
    return [chat.render(one), chat.render(several), chat.render(several[:3], add_generation_prompt=True)]
