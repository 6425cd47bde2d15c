"""A GGUF asked in real llama.cpp: its token ids, greedy answers, probabilities and ends, beside the merged model's."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unsloth_ft.chat import Chat
from unsloth_ft.errors import UserError
from unsloth_ft.export.gguf_text import encode, llama_cpp_tokenizer
from unsloth_ft.export.llamacpp import INSTALL, LlamaCpp
from unsloth_ft.export.probes import rendered_conversations, rendered_probes
from unsloth_ft.export.proof import LIKELIEST, Limits, Reference, Step, agree, check, probabilities, stops

# A GGUF below this is run by one thread: of a 9 MB one, two threads on two cores took 7 to 15 times as long, waiting for each other.
SMALL_BYTES = 64 * 2**20
FOLLOWED = 8  # steps of each answer whose probabilities are compared; llama.cpp is asked once for each
MISSING = f"not compared in llama.cpp: xllamacpp is not installed ({INSTALL})"


def missing() -> bool:
    """Whether this machine has no llama.cpp to ask."""
    return find_spec("xllamacpp") is None


def in_llamacpp(
    path: Path,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    merged: Sequence[Reference],
    *,
    limit: Limits,
    max_new_tokens: int,
    lora: Path | None = None,
) -> list[dict[str, Any]]:
    """The checks of a GGUF, or of an adapter's (`lora`) on top of its base's.

    A file that llama.cpp refuses is a check that failed. Raises MachineError when llama.cpp dies or hangs.
    """
    context = max([len(prompt) for prompt in prompts], default=0) + max_new_tokens + 64
    threads = 1 if path.stat().st_size < SMALL_BYTES else None
    try:
        with LlamaCpp(path, lora=lora, context_length=context, threads=threads) as llama:
            return [token_ids(llama, chat), *_asked(llama, chat, prompts, merged, limit, max_new_tokens)]
    except UserError as error:
        return [unopened(error)]


def unopened(error: UserError) -> dict[str, Any]:
    """The line of a file that llama.cpp refused."""
    return check("opens in llama.cpp", False, str(error), "loads and answers")


def token_ids(llama: LlamaCpp, chat: Chat) -> dict[str, Any]:
    """Whether llama.cpp cuts every probe and every conversation as the tokenizer does, or as the same rule does in llama.cpp."""
    probes, conversations = rendered_probes(chat), rendered_conversations(chat)
    other = {text: ids for text in (*probes, *conversations) if (ids := llama.tokenize(text)) != chat.ids(text)}
    foreseen = llama_cpp_tokenizer(chat.tokenizer.backend_tokenizer) if other else None
    wrong = [text for text, ids in other.items() if ids != encode(foreseen, text)]
    said = f"{len(probes)} texts and {len(conversations)} conversations, {len(wrong)} with other ids"
    if len(other) > len(wrong):
        said += f"; {len(other) - len(wrong)} cut otherwise by llama.cpp's own rule, as from every GGUF of this tokenizer"
    return check("token ids in llama.cpp", not wrong, said + (f", the first: {wrong[0]!r}" if wrong else ""), "the tokenizer's own ids")


def _asked(
    llama: LlamaCpp, chat: Chat, prompts: Sequence[Sequence[int]], merged: Sequence[Reference], limit: Limits, max_new_tokens: int
) -> list[dict[str, Any]]:
    if not merged:
        return []
    answers = [llama.generate(list(prompt), max_new_tokens=max_new_tokens) for prompt in prompts]
    expected = [reference.likeliest[:FOLLOWED] for reference in merged]
    found = [_followed(llama, prompt, reference.ids, len(steps)) for prompt, reference, steps in zip(prompts, merged, expected)]
    return [
        agree("llama.cpp answers as the merged model", [answer.ids for answer in answers], merged, limit, end_ids=chat.end_ids),
        probabilities("probabilities in llama.cpp", found, expected, limit.divergence_nats),
        stops(answers, merged, max_new_tokens),
    ]


def _followed(llama: LlamaCpp, prompt: Sequence[int], answer: Sequence[int], steps: int) -> list[Step]:
    """llama.cpp's probabilities at the first steps of an answer that is given to it."""
    return [llama.next_logprobs([*prompt, *answer[:step]], count=LIKELIEST) for step in range(steps)]
