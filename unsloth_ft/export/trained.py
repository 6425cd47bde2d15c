"""A trained run as the measure of its exports: what its adapter and its merged model say, each asked once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unsloth_ft.base_model import BaseModel
from unsloth_ft.chat import Chat
from unsloth_ft.data.conversation import Message
from unsloth_ft.errors import MachineError, UserError
from unsloth_ft.export import proof, references
from unsloth_ft.export.proof import Reference, Step
from unsloth_ft.record import RunDirectory

MERGED_ANSWERS = "merged model answers as the adapter"
MERGED_PROBABILITIES = "merged model's probabilities are the adapter's"
OWN_QUESTION = "What is LoRA?"  # where the run has none
LONGEST_LINE = 16 * 2**20  # bytes of a line of prompts.jsonl; a prompt of 128,000 ids has 1 MB
NOTHING_ASKED = "not compared: the run has no question to ask (evaluate.answers is 0, or the rows are plain text)"


@dataclass(frozen=True)
class Answers:
    """What the merged model and the adapter on its 16-bit base say to the held-out questions.

    `merged` answers the run's prompts (one of ours where it has none); the others are empty then. `followed`: the merged model's
    probabilities along the adapter's answers.
    """

    merged: tuple[Reference, ...]
    adapter: tuple[Reference, ...]
    followed: tuple[tuple[Step, ...], ...]


class Trained:
    """A run directory, its base and its chat, and its answers."""

    def __init__(self, directory: RunDirectory, base: BaseModel, chat: Chat) -> None:
        self.directory = directory
        self.base = base
        self.chat = chat
        self._answers: Answers | None = None

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json as training left it; exports are not looked up here."""
        return self.directory.read()

    @property
    def dtype(self) -> str:
        return self.record["plan"]["dtype"]["value"]

    @property
    def longest(self) -> int:
        """Tokens of an answer, at most."""
        return self.record["recipe"]["values"]["evaluate"]["max_new_tokens"]

    @cached_property
    def questions(self) -> list[dict[str, Any]]:
        """The first held-out questions with the trained model's answers; none when the run asked none."""
        facts = self.base.facts()
        longest, rows = facts.max_position_embeddings, facts.vocab_size
        lines = first_lines(self.directory.evaluation / "prompts.jsonl", proof.QUESTIONS)
        for number, line in enumerate(lines, 1):
            prompt, answer = line.get("prompt_ids"), line.get("answer_ids")
            if not (_are_ids(prompt, rows) and _are_ids(answer, rows) and 0 < len(prompt) <= longest):
                raise UserError(
                    f"{self.directory.name}/eval/prompts.jsonl:{number}: expected prompt_ids and answer_ids, lists of ids below {rows:,}, "
                    f"the prompt of 1 to {longest:,}. The run directory is damaged."
                )
        return lines

    @cached_property
    def prompts(self) -> list[list[int]]:
        """Ids of the held-out questions, or of one of ours for a run that has none."""
        chat = self.chat
        own = [chat.ids(chat.render([Message("user", OWN_QUESTION)], add_generation_prompt=True))] if not self.questions else []
        return [line["prompt_ids"] for line in self.questions] or own

    @cached_property
    def first_question(self) -> str:
        """The first held-out question in words, or one of ours."""
        lines = first_lines(self.directory.evaluation / "answers.jsonl", 1)
        return str(lines[0].get("question")) if lines else OWN_QUESTION

    @property
    def ends_first_answer(self) -> bool:
        """Whether the trained model ended its answer to the first question; False where it was not asked."""
        return bool(self.questions) and len(self.questions[0]["answer_ids"]) < self.longest

    def answers(self, merged: Path) -> tuple[Answers | None, list[str]]:
        """(what both say, notes). None, and a note, where no device has room for the merged model."""
        try:
            device, reason = references.room(merged, dtype=self.dtype, device=self.record["plan"]["device"]["value"])
        except MachineError as error:
            return None, [f"not compared with the adapter: {error}"]
        if self._answers is None:
            self._answers = self._ask(merged, device)
        return self._answers, [note for note in (reason, self._nf4_note(self._answers)) if note]

    def _ask(self, merged: Path, device: str) -> Answers:
        adapter: Sequence[Reference] = ()
        if self.questions:
            with references.loaded(self.base.folder, dtype=self.dtype, device=device, adapter=self.directory.adapter) as model:
                adapter = references.answers(model, self.chat, self.prompts, max_new_tokens=self.longest)
        with references.loaded(merged, dtype=self.dtype, device=device) as model:
            own = references.answers(model, self.chat, self.prompts, max_new_tokens=self.longest)
            followed = references.follow(model, self.prompts, [reference.ids for reference in adapter]) if adapter else []
        return Answers(tuple(own), tuple(adapter), tuple(followed))

    def merge_checks(self, answers: Answers) -> list[dict[str, Any]]:
        """The merged model against the adapter; without questions there is nothing to compare, and the line says so."""
        if not answers.adapter:
            return [proof.check(MERGED_ANSWERS, True, NOTHING_ASKED, "")]
        limit = proof.LIMITS["merged"]
        # After QLoRA the trained model answered on NF4 weights, whose rounding moves answers by more than a merge does.
        before = [reference.ids for reference in answers.adapter] if self._on_nf4 else [line["answer_ids"] for line in self.questions]
        steps = [reference.likeliest for reference in answers.adapter]
        return [
            proof.agree(MERGED_ANSWERS, before, answers.merged, limit, end_ids=self.chat.end_ids),
            proof.probabilities(MERGED_PROBABILITIES, answers.followed, steps, limit.divergence_nats),
        ]

    @property
    def _on_nf4(self) -> bool:
        return bool(self.record["plan"]["load_in_4bit"]["value"])

    def _nf4_note(self, answers: Answers) -> str:
        if not (self._on_nf4 and answers.adapter):
            return ""
        shares = [proof.agreement(line["answer_ids"], reference.ids) for line, reference in zip(self.questions, answers.adapter)]
        return (
            f"the adapter was trained on NF4 weights; on the 16-bit base, which is what is exported, "
            f"{shares.count(1.0)} of {len(shares)} answers are the same, "
            f"{sum(shares) / len(shares):.1%} of their tokens up to the first difference"
        )


def first_lines(file: Path, count: int) -> list[dict[str, Any]]:
    """The first JSON objects of a .jsonl file, none where it is missing; no more of it is read.

    Raises UserError for a line that is none, or is longer than LONGEST_LINE.
    """
    if not file.is_file():
        return []
    with file.open("rb") as stream:
        lines = [stream.readline(LONGEST_LINE) for _ in range(count)]
    return [_object(line, f"{file.parent.name}/{file.name}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}); the run directory is damaged.") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: a {type(value).__name__}; expected a JSON object. The run directory is damaged.")
    return value


def _are_ids(value: Any, rows: int) -> bool:
    """Whether it is a list of ids that an embedding of so many rows knows."""
    return isinstance(value, list) and all(type(index) is int and 0 <= index < rows for index in value)
