"""Every chat template that llama.cpp's source carries (70 published ones): derived and equal by Go's own engine, or refused for a reason.

Skipped where llama.cpp's source is not at hand (tests/oracle.py).
"""

from __future__ import annotations

import random
import warnings

import pytest

from tests import oracle
from tests.export.chat_templates import Case
from unsloth_ft.errors import UserError
from unsloth_ft.export.ollama_template import derive_template, proof_conversations

NEEDS_TOOLS = "chat template: refuses a conversation of one user message (TypeError: 'NoneType' object is not iterable)"
REFUSED = {
    "CohereForAI-c4ai-command-r-plus-tool_use": NEEDS_TOOLS,
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": NEEDS_TOOLS,
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": NEEDS_TOOLS,
    "fireworks-ai-llama-3-firefunction-v2": (
        "chat template: refuses a conversation of one user message (UndefinedError: 'functions' is undefined)"
    ),
}
# What people write, and what a template may trip over; thinking marks and empty texts are what the notes are for.
WRITTEN = (
    "What is LoRA?", "Yes", "no", "ok.", "one\ntwo", "a\n\n\nb", "  x  ", "\tq\t", "{{ .System }}", "{% raw %}{{ x }}",
    "保証は何年？ ضمان Гарантия", "e\u0301 \u00a0", "a\r\nb", "# 1. **bold** `code`", "```py\nprint({'a': 1})\n```", "<b>html</b> & more",
    "<|im_end|>", "[INST] x [/INST]", "$x = \\n", "'single' \"double\"", '"""', "1 < 2 > 0", "user: hi\nassistant: hello",
    '{"a": [1, null]}', "You are Qwen", "system", "True", "None", "0",
)  # fmt: skip
COUNT = 120  # conversations of each template beside the proof's own


def conversations(name: str, *, with_system: bool, trimmed: tuple[str, ...]) -> list[list[dict]]:
    """Random ones, the same on every run, of 1 to 6 turns and with texts that are not blank."""
    chosen = random.Random(name)
    made = []
    for number in range(COUNT):
        roles = ["user", "assistant"] * chosen.randrange(6) + ["user"]
        roles = ["system", *roles] if with_system and number % 2 else roles
        texts = [chosen.choice(("", " ", "\n")).join(chosen.choices(WRITTEN, k=chosen.randrange(1, 4))) for _ in roles]
        made.append([{"role": role, "content": text.strip() if role in trimmed else text} for role, text in zip(roles, texts, strict=True)])
    return made


@pytest.fixture(scope="module")
def outcomes():
    """Name → (the case, its derived TEMPLATE or None, why it is refused)."""
    if not oracle.is_here():
        pytest.skip(oracle.MISSING)
    found = {}
    for file in sorted((oracle.folder() / "models" / "templates").glob("*.jinja")):
        case = Case(file.read_text(encoding="utf-8"), "<s>", "</s>")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # published templates hold odd escapes
            try:
                found[file.stem] = case, derive_template(case.render, bos_token="<s>", drop_bos=False), ""
            except UserError as error:
                found[file.stem] = case, None, str(error)
    return found


def test_only_templates_that_need_tools_are_refused(outcomes):
    assert {name: reason.partition(";")[0] for name, (_, template, reason) in outcomes.items() if template is None} == REFUSED
    assert len(outcomes) == 70


def test_none_is_derived_wrongly_by_gos_own_engine(outcomes, go_render):
    jobs, expected = [], []
    for name, (case, template, _) in outcomes.items():
        if template is None:
            continue
        proofs = proof_conversations(trimmed=template.trimmed, with_system=not case.chat_template().system_refusal())
        made = conversations(name, with_system=template.takes_system, trimmed=template.trimmed)
        for messages in [*(messages for _, messages in proofs), *made]:
            jobs.append((template.text, messages))
            expected.append((name, messages, case.chat_template().text_or_refusal(messages)[0]))
    written = go_render(jobs)
    assert len(jobs) > 60 * (COUNT + 40)
    assert [(name, messages) for (name, messages, text), found in zip(expected, written, strict=True) if text != found] == []


# What TEMPLATE can't do, because Go's templates can't look into a text, is said in a note.
NOTES = {
    "Not equal to the tokenizer's template: an earlier answer that still holds its <think> block.": (
        "Qwen-Qwen3-0.6B Qwen-QwQ-32B deepseek-ai-DeepSeek-R1-Distill-Llama-8B deepseek-ai-DeepSeek-V3.1 MiniMax-M2 GLM-4.6"
    ),
    "Not equal to the tokenizer's template: an earlier answer without any text.": "ByteDance-Seed-OSS GLM-4.6 llama-cpp-deepseek-r1",
    "The tokenizer's template refuses an earlier answer without any text, TEMPLATE writes it.": "mistralai-Ministral-3-14B-Reasoning-2512",
    "Not equal to the tokenizer's template: a system text with /no_think.": "HuggingFaceTB-SmolLM3-3B NVIDIA-Nemotron-Nano-v2",
    "Not equal to the tokenizer's template: a user text with /no_think.": "NVIDIA-Nemotron-Nano-v2",
}


@pytest.mark.parametrize("note", NOTES)
def test_what_depends_on_a_texts_inside_is_noted(note, outcomes):
    assert [name for name in NOTES[note].split() if note not in outcomes[name][1].notes] == []
    plain = ("Qwen-Qwen2.5-7B-Instruct", "mistralai-Mistral-Nemo-Instruct-2407", "meta-llama-Llama-3.1-8B-Instruct", "google-gemma-2-2b-it")
    assert [name for name in plain if note in outcomes[name][1].notes] == []
