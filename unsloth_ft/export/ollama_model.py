"""What an Ollama model is told besides its weights: its name, TEMPLATE, stops and context; and whether a Modelfile says so."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsloth_ft.chat import Chat
from unsloth_ft.chat_tools import TEMPLATE_ERRORS
from unsloth_ft.data.conversation import Message
from unsloth_ft.errors import GateError
from unsloth_ft.export.chat_probe import trimmed_roles
from unsloth_ft.export.modelfile import check_modelfile, parse_modelfile, read_modelfile
from unsloth_ft.export.ollama_template import ChatTemplate, GoTemplate, derive_template
from unsloth_ft.export.probes import CONVERSATIONS, probe_conversations
from unsloth_ft.export.proof import holds

if TYPE_CHECKING:
    from unsloth_ft.export.llamacpp import LlamaCpp

LEAST_CONTEXT = 2048  # tokens of a chat in Ollama, however short the rows were


def model_name(run: str) -> str:
    """The run's name as Ollama takes it for a model, and as any file system takes it: letters, digits, dot, dash, underscore.

    ollama's types/model/name.go: 80 characters at most, the first a letter, a digit or an underscore.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", run).strip("-.")[:80].rstrip("-.") or "model"


def ollama_template(chat: Chat) -> tuple[GoTemplate, ChatTemplate]:
    """Ollama's TEMPLATE derived from the tokenizer's, and the tokenizer's to compare with. Raises UserError when it can't be expressed."""
    template = chat_template(chat)
    return derive_template(template.render, bos_token=template.bos_token, drop_bos=template.drop_bos), template


def chat_template(chat: Chat) -> ChatTemplate:
    """The tokenizer's own template, as TEMPLATE has to equal it."""

    def render(messages: list[dict], add_generation_prompt: bool) -> str:
        return chat.render(
            [Message(message["role"], message["content"]) for message in messages], add_generation_prompt=add_generation_prompt
        )

    bos = chat.tokenizer.bos_token
    # A tokenizer that puts BOS before a text by itself gives a GGUF that tells the runner to.
    adds_bos = bos is not None and chat.tokenizer("a")["input_ids"][:1] == [chat.tokenizer.bos_token_id]
    return ChatTemplate(render, bos, adds_bos)


def end_texts(chat: Chat, model_dir: Path) -> tuple[str, ...]:
    """The texts of every token that ends a generation: the turn end, eos, and what generation_config.json adds to them."""
    file = model_dir / "generation_config.json"
    eos = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.is_file() else None
    ids = [*chat.end_ids, *(eos if isinstance(eos, list) else [] if eos is None else [eos])]
    texts = [chat.turn_end, *(chat.tokenizer.convert_ids_to_tokens(index) for index in ids)]
    return tuple(dict.fromkeys(text for text in texts if text))


def context_tokens(max_seq_length: int, max_position_embeddings: int) -> int:
    """num_ctx: room for what was trained and as much again, within what the model knows; Ollama's default would cut, or waste memory."""
    return min(max(LEAST_CONTEXT, 2 * max_seq_length), max_position_embeddings)


def modelfile_checks(
    path: Path, chat: Chat, *, from_: str, adapter: str | None, ends: Sequence[str], num_ctx: int, system: str | None
) -> list[dict[str, Any]]:
    """The lines of a Modelfile, ours or not: what it starts from, its SYSTEM, its TEMPLATE, its stops and its context."""
    wanted = {
        "FROM": f"./{from_}",
        "ADAPTER": f"./{adapter}" if adapter else None,
        "SYSTEM": system.strip() if system is not None else None,  # outer white space is the template's affair
        "num_ctx": [str(num_ctx)],
    }

    def says() -> str:
        read = parse_modelfile(read_modelfile(path))
        found = {name: read.get(name.lower()) for name in ("FROM", "ADAPTER", "SYSTEM")}
        found["num_ctx"] = read["parameters"].get("num_ctx")
        if isinstance(found["SYSTEM"], str):
            found["SYSTEM"] = found["SYSTEM"].strip()
        wrong = [f"{name} is {found[name]!r}, expected {value!r}" for name, value in wanted.items() if found[name] != value]
        if wrong:
            raise GateError("; ".join(wrong))
        return ", ".join(f"{name} {value if isinstance(value, str) else value[0]}" for name, value in wanted.items() if value)

    def renders() -> str:
        check_modelfile(read_modelfile(path), chat_template(chat), end_tokens=ends)
        return f"renders the tokenizer's own text on every proof conversation; stops at {', '.join(ends)}"

    return [
        holds("FROM and num_ctx", "the exported files, the run's context, SYSTEM only where asked", says),
        holds("TEMPLATE and stops", "equal texts, and a stop for every end token", renders),
    ]


def template_ids(llama: LlamaCpp, modelfile: Path, chat: Chat) -> dict[str, Any]:
    """Whether what TEMPLATE writes gives the ids of the tokenizer's own text in llama.cpp: every probe and every conversation that the
    tokenizer's template takes.

    Both texts are cut by llama.cpp; that it cuts as the tokenizer does is another line.
    """

    def equal() -> str:
        source, template = parse_modelfile(read_modelfile(modelfile))["template"], chat_template(chat)
        bos = template.bos_token if template.drop_bos else ""
        trimmed = trimmed_roles(template)
        compared = 0
        for conversation in (*probe_conversations(), *CONVERSATIONS):
            # Where the tokenizer's template trims texts, Ollama's can't: equal for texts without outer white space, as a note says.
            messages = [replace(each, content=each.content.strip()) if each.role in trimmed else each for each in conversation]
            try:
                expected = chat.render(messages, add_generation_prompt=True)
            except TEMPLATE_ERRORS:
                continue
            plain = [{"role": message.role, "content": message.content} for message in messages]
            text = f"{bos}{''.join(GoTemplate(source).render_pieces(plain))}"
            if llama.tokenize(text) != llama.tokenize(expected):
                raise GateError(f"other ids for {text!r}")
            compared += 1
        return f"{compared} texts and conversations equal"

    return holds("token ids of TEMPLATE in llama.cpp", "those of the tokenizer's own text", equal)
