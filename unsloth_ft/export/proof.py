"""Does an export say what was trained? Greedy answers, token ids and probabilities, compared."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsloth_ft.base_model import weight_files
from unsloth_ft.chat import Chat
from unsloth_ft.data.conversation import Message
from unsloth_ft.errors import MachineError, UserError

if TYPE_CHECKING:
    from unsloth_ft.export.llamacpp import Completion, LlamaCpp

QUESTIONS = 8  # held-out questions that every export answers
LIKELIEST = 64  # tokens whose probabilities are kept of each step; the others count as one
# A GGUF below this is run by one thread: of a 9 MB one, two threads on two cores took 7 to 15 times as long, waiting for each other.
SMALL_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Limits:
    """What still counts as the same model.

    `agreement`: least share of the answers' tokens up to the first difference that is no near-tie; a broken export falls at the first
    token. `near_tie_nats`: a difference is a near-tie when the merged model itself prefers its own token by no more than that.
    `divergence_nats`: largest Kullback-Leibler divergence of an answer's first token, mean over the questions.
    """

    agreement: float
    near_tie_nats: float
    divergence_nats: float


# Measured on the five families 64 wide, 8 questions of 12 tokens, against the merged model in float32: divergence up to 0.0001 (f32, f16),
# 0.002 (bf16), 0.09 (q8_0), agreement 1.0 but for 0.875 of a q8_0; the base's GGUF 1.1 to 1.9 and at most 0.46, one with two tensors
# exchanged 5.9 to 9.5 and 0.01. Wider models average more and lie lower. A merge rounds each weight to 16 bits once.
LIMITS = {
    "merged": Limits(0.85, 0.5, 0.05),
    "f32": Limits(0.9, 0.02, 0.005),
    "f16": Limits(0.9, 0.1, 0.01),
    "bf16": Limits(0.9, 0.5, 0.05),
    "q8_0": Limits(0.8, 1.5, 0.3),
}
SAME_ROUNDING = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}

PROBES = (
    "Hello, world!",
    "The quick brown fox jumps over 13 lazy dogs.",
    "  two leading spaces, two trailing  ",
    "a\n\n\nb\tc\r\nd",
    "naïve café – “quotes” … 50 €",
    "für Öl, ß und Übermut",
    "Здравствуй, мир",
    "你好,世界。今天天气很好。",
    "こんにちは、元気ですか",
    "안녕하세요",
    "مرحبا بالعالم",
    "שלום עולם",
    "🙂👩‍👩‍👧‍👦🇩🇪",
    "3.14159 1,000,000 0x1F 1e-5",
    "def f(x):\n    return {'a': [x ** 2]}  # ok",
    "SELECT * FROM t WHERE a >= 1;",
    "https://example.org/path?q=1&r=%20",
    "don't we'll I've it's",
    "ALLCAPS camelCase snake_case kebab-case",
    "x" * 40,
)


@dataclass(frozen=True)
class Reference:
    """A greedy answer as ids without the end token, and natural-log probabilities of the likeliest tokens at each of its steps.

    `likeliest` has one step more than the answer: the last one is that of the end.
    """

    ids: tuple[int, ...]
    likeliest: tuple[Mapping[int, float], ...]

    def gap(self, step: int, choices: Sequence[int]) -> float:
        """By how many nats the likeliest token of this step is likelier than the best of the choices; infinite when none is kept."""
        if step >= len(self.likeliest):
            return math.inf
        known = self.likeliest[step]
        return max(known.values()) - max((known[index] for index in choices if index in known), default=-math.inf)


def check(name: str, ok: bool, found: str, expected: str) -> dict[str, Any]:
    """One line of an export's table."""
    return {"name": name, "ok": bool(ok), "found": found, "expected": expected}


def agreement(one: Sequence[int], other: Sequence[int]) -> float:
    """Length of the common beginning over the longer one's length; 1 for two empty answers."""
    longest = max(len(one), len(other))
    return len(os.path.commonprefix([list(one), list(other)])) / longest if longest else 1.0


def near_tie(reference: Reference, other: Sequence[int], *, end_ids: Sequence[int], nats: float) -> bool:
    """Whether the answers part at a step where the reference itself nearly chose the other's token (or its end)."""
    step = len(os.path.commonprefix([list(reference.ids), list(other)]))
    return reference.gap(step, [other[step]] if step < len(other) else end_ids) <= nats


def limits(quantization: str, dtype: str) -> Limits:
    """The limits for a GGUF compared with answers that were computed in `dtype`: the coarser of the two counts."""
    file, reference = LIMITS[quantization], LIMITS[SAME_ROUNDING[dtype]]
    return Limits(
        min(file.agreement, reference.agreement),
        max(file.near_tie_nats, reference.near_tie_nats),
        max(file.divergence_nats, reference.divergence_nats),
    )


def agree(
    name: str, found: Sequence[Sequence[int]], expected: Sequence[Reference], limit: Limits, *, end_ids: Sequence[int]
) -> dict[str, Any]:
    """Whether `found` are the reference's greedy answers, but for near-ties."""
    least, nats = limit.agreement, limit.near_tie_nats
    shares = [agreement(ids, reference.ids) for ids, reference in zip(found, expected, strict=True)]
    ties = [share < 1.0 and near_tie(reference, ids, end_ids=end_ids, nats=nats) for share, ids, reference in zip(shares, found, expected)]
    mean = sum(1.0 if tie else share for share, tie in zip(shares, ties)) / len(shares)
    said = f"{shares.count(1.0)} of {len(shares)} answers equal"
    if any(ties):
        said += f", {sum(ties)} part at a near-tie"
    return check(
        name,
        mean >= least,
        f"{said}, {mean:.1%} of the tokens agree",
        f"at least {least:.0%} of the tokens, near-ties (up to {nats:g} nats) aside",
    )


def same_as_adapter(merged: Sequence[Reference], adapter: Sequence[Sequence[int]], *, end_ids: Sequence[int]) -> dict[str, Any]:
    """The merge against the adapter on its base; without questions there is nothing to compare, and the line says so."""
    name = "merged model answers as the adapter"
    if not adapter:
        return check(name, True, "not compared: the run has no question to ask (evaluate.answers is 0, or the rows are plain text)", "")
    return agree(name, adapter, merged, LIMITS["merged"], end_ids=end_ids)


def divergence(reference: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Kullback-Leibler divergence in nats of two next-token distributions, each known by its likeliest tokens (id -> log-probability).

    What is not among the reference's tokens counts as one; a token that the other side doesn't list gets the least it lists. So it
    is never more than the true divergence, but for what rounding does to the rest.
    """
    floor = min(other.values())
    pairs = [(math.exp(value), other.get(index, floor)) for index, value in reference.items()]
    rest = max(1.0 - sum(share for share, _ in pairs), 0.0)
    other_rest = max(1.0 - sum(math.exp(value) for _, value in pairs), 1e-9)
    total = sum(share * (reference_value - value) for (share, value), reference_value in zip(pairs, reference.values()))
    return max(0.0, total + (rest * math.log(rest / other_rest) if rest > 1e-9 else 0.0))


def references(
    folder: Path, chat: Chat, prompts: Sequence[Sequence[int]], *, dtype: str, device: str, max_new_tokens: int, adapter: Path | None = None
) -> list[Reference]:
    """Greedy answers and their probabilities, in plain transformers. `adapter`: a PEFT folder to put on top of the model."""
    import torch
    from transformers import AutoModelForCausalLM

    from unsloth_ft.backends import third_party
    from unsloth_ft.evaluate.answers import greedy

    if not prompts:
        return []
    _free_memory()
    with third_party():
        model = AutoModelForCausalLM.from_pretrained(
            os.fspath(folder), dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True, device_map=device
        )
        if adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, os.fspath(adapter), is_trainable=False)
        answers = greedy(model.eval(), chat, prompts, max_new_tokens=max_new_tokens)
        found = [Reference(answer.ids, _likeliest(model, prompt, answer.ids)) for prompt, answer in zip(prompts, answers)]
    del model
    _free_memory()
    return found


def _likeliest(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> tuple[dict[int, float], ...]:
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

    # The weights in the compute type, and a tenth for activations, cache and logits.
    needed = 1.1 * sum(file.stat().st_size for file in weight_files(folder)) * (2 if dtype == "float32" else 1)
    reason = None
    if device == "cuda":
        _free_memory()
        free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
        if needed <= free:
            return device, None
        reason = f"answered on the CPU: the 16-bit model needs {needed / 2**30:.1f} GiB, the GPU has {free / 2**30:.1f} GiB free"
    memory = detect().memory_bytes
    if needed > memory:
        raise MachineError(
            f"the 16-bit model needs {needed / 2**30:.1f} GiB of memory to answer, this machine has {memory / 2**30:.1f} GiB"
        )
    return "cpu", reason


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_llamacpp(
    path: Path, chat: Chat, prompts: Sequence[Sequence[int]], merged: Sequence[Reference], *, limit: Limits, max_new_tokens: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """(checks, notes) of a GGUF in real llama.cpp: token ids, greedy answers, probabilities, and that answers end.

    Without xllamacpp only a note; a file that llama.cpp refuses is a check that failed. Raises MachineError when llama.cpp dies or hangs.
    """
    from unsloth_ft.export.llamacpp import INSTALL, LlamaCpp

    if find_spec("xllamacpp") is None:
        return [], [f"not compared in llama.cpp: xllamacpp is not installed ({INSTALL})"]
    context = max([len(prompt) for prompt in prompts], default=0) + max_new_tokens + 64
    threads = 1 if path.stat().st_size < SMALL_BYTES else None
    try:
        with LlamaCpp(path, context_length=context, threads=threads) as llama:
            return _asked(llama, chat, prompts, merged, limit, max_new_tokens), []
    except UserError as error:
        return [check("opens in llama.cpp", False, str(error), "loads and answers")], []


def _asked(
    llama: LlamaCpp, chat: Chat, prompts: Sequence[Sequence[int]], merged: Sequence[Reference], limit: Limits, max_new_tokens: int
) -> list[dict[str, Any]]:
    # Inside a chat, as they will come: a text that stands alone gets a space before it from some tokenizers, and from llama.cpp none.
    texts = [*(chat.render([Message("user", text)], add_generation_prompt=True) for text in PROBES), *rendered(chat)]
    equal = sum(llama.tokenize(text) == chat.ids(text) for text in texts)
    checks = [check("token ids in llama.cpp", equal == len(texts), f"{equal} of {len(texts)} texts equal", "all equal")]
    if not merged:
        return checks
    answers = [llama.generate(list(prompt), max_new_tokens=max_new_tokens) for prompt in prompts]
    checks.append(agree("llama.cpp answers as the merged model", [answer.ids for answer in answers], merged, limit, end_ids=chat.end_ids))
    found = [
        divergence(reference.likeliest[0], llama.next_logprobs(list(prompt), count=LIKELIEST)) for prompt, reference in zip(prompts, merged)
    ]
    mean = sum(found) / len(found)
    checks.append(
        check(
            "probabilities in llama.cpp",
            mean <= limit.divergence_nats,
            f"KL divergence {mean:.4f} nats a token",
            f"at most {limit.divergence_nats:g}",
        )
    )
    return [*checks, stops(answers, merged, max_new_tokens)]


def stops(answers: Sequence[Completion], merged: Sequence[Reference], max_new_tokens: int) -> dict[str, Any]:
    """Whether llama.cpp ends the answers that the merged model ends; only equal answers can be compared."""
    ended = [
        answer.stopped for answer, reference in zip(answers, merged) if answer.ids == reference.ids and len(reference.ids) < max_new_tokens
    ]
    stopped = sum(answer.stopped for answer in answers)
    return check(
        "answers stop in llama.cpp",
        all(ended),
        f"{stopped} of {len(answers)}",
        f"the {len(ended)} that stop in the merged model with the same tokens",
    )


def question(chat: Chat) -> list[int]:
    """A question for runs that have none of their own."""
    return chat.ids(chat.render([Message("user", "What is LoRA?")], add_generation_prompt=True))


def rendered(chat: Chat) -> list[str]:
    """Conversations as the chat template writes them, control tokens and all."""
    one = (Message("user", "What is LoRA?"), Message("assistant", "A low-rank update."))
    several = (*one, Message("user", "And  QLoRA?\n"), Message("assistant", "LoRA on a 4-bit base – 你好."))
    return [chat.render(one), chat.render(several), chat.render(several[:3], add_generation_prompt=True)]
