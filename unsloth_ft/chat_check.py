"""What a check can say once a tokenizer is known: rows that its chat template refuses, lengths in tokens, rows that are too long."""

from __future__ import annotations

import copy
from array import array
from dataclasses import replace

from unsloth_ft.chat import CHARACTERS_TOGETHER, TOGETHER, Chat
from unsloth_ft.data import Conversation, Examination, Finding
from unsloth_ft.data.findings import Collector
from unsloth_ft.data.places import Place
from unsloth_ft.data.whereabouts import Whereabouts
from unsloth_ft.errors import UserError
from unsloth_ft.plan_values import DataFacts


BATCHES = 4  # that the tokenizer and the template work on side by side


class TokenCheck:
    """Takes rows as they are read and holds 20 bytes of each: its length, what is learned of it, its file and line."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._waiting: list[Conversation] = []
        self._held_out: list[Conversation] = []
        self._characters = 0
        self._found = Collector()
        self._places = Whereabouts()
        self._tokens, self._learned = array("i"), array("i")

    def take(self, conversation: Conversation) -> None:
        """One more row to train on."""
        self._take(conversation, self._waiting)

    def take_held_out(self, conversation: Conversation) -> None:
        """One more held-out row: the template must take it; its length decides nothing."""
        self._take(conversation, self._held_out)

    def _take(self, conversation: Conversation, waiting: list[Conversation]) -> None:
        waiting.append(conversation)
        self._characters += conversation.characters
        if len(waiting) == BATCHES * TOGETHER or self._characters > CHARACTERS_TOGETHER:
            self._encode()

    def facts(self) -> DataFacts | None:
        """The lengths of the rows that could be encoded; None where there is none."""
        self._encode()
        return DataFacts.measured(self._tokens, held_out_rows=0) if self._tokens else None

    def added_to(self, examination: Examination, *, max_seq_length: int, reason: str, positions: int) -> Examination:
        """The examination with what is known of tokens; `reason` says why rows may not be longer, `positions` how long the model's may be."""
        self._encode()
        survey = copy.deepcopy(examination.survey)
        survey.positions = positions
        for at, (tokens, learned) in enumerate(zip(self._tokens, self._learned, strict=True)):
            survey.add_tokens(tokens, learned)
            if tokens > max_seq_length:
                self._found.add(_too_long(self._places[at], tokens, max_seq_length, reason, positions))
        return replace(examination, survey=survey, findings=examination.findings + self._found.findings())

    def _encode(self) -> None:
        for conversation, row in zip(self._waiting, self._chat.tokenize_all(self._waiting), strict=True):
            if isinstance(row, UserError):
                self._found.add(_refused(conversation, row))
                continue
            self._tokens.append(len(row.ids))
            self._learned.append(row.learned_tokens)
            self._places.add(conversation)
        for conversation, row in zip(self._held_out, self._chat.tokenize_all(self._held_out), strict=True):
            if isinstance(row, UserError):
                self._found.add(_refused(conversation, row))
        self._waiting, self._held_out, self._characters = [], [], 0


def _refused(conversation: Conversation, error: UserError) -> Finding:
    message = str(error).removeprefix(f"{conversation.where}: ")
    return Finding(conversation.file, conversation.line, "error", "chat-template", message)


def _too_long(place: Place, tokens: int, max_seq_length: int, reason: str, positions: int) -> Finding:
    found = f"{tokens:,} tokens; max_seq_length is {max_seq_length:,} ({reason})"
    way_out = "It is cut behind the last whole answer that fits, or left out. Shorten it"
    if tokens <= positions:
        way_out += f", or pass --set max_seq_length={tokens}"
    return Finding(*place, "warning", "too-long", f"{found}. {way_out}.")
