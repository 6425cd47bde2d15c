"""Conversation -> token ids and labels: the one function that training, evaluation, export checks and the bench share.

The tokenizer's own chat template is the only template. What is learned is found in the rendered text itself, by rendering
the conversation again with one answer exchanged: where the two texts begin to differ the answer begins, where they end to
differ it ends. So no marker of any model family is known here, and none is needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from unsloth_ft.data.conversation import Conversation, Message
from unsloth_ft.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORE = -100  # torch's cross-entropy skips this label

# Stand-ins for an answer; private-use characters, so that no text begins or ends with both.
STAND_INS = ("\ue0a1", "\ue0a2")


@dataclass(frozen=True)
class Row:
    """One sequence fed to the model. `labels[i]` is `input_ids[i]` where token i is learned, else -100.

    `turn_ends`: for each learned turn the position after its turn-end token, where a row may be cut without harm.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    where: str
    turn_ends: tuple[int, ...]

    @property
    def learned(self) -> int:
        """Number of learned tokens."""
        return sum(label != IGNORE for label in self.labels)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The folder's own tokenizer. Raises UserError when it is not a fast one, or has no chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(os.fspath(folder), local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise UserError(f"{folder.name}: its tokenizer is a {type(tokenizer).__name__} without a tokenizer.json; expected a fast tokenizer.")
    if not tokenizer.chat_template:
        raise UserError(
            f"{folder.name}: its tokenizer has no chat template, as base models have none. Name the instruct model, "
            "or put a chat_template.jinja beside the tokenizer."
        )
    return tokenizer


class Chat:
    """A tokenizer with its chat template: renders conversations and turns them into rows."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, template_kwargs: dict | None = None, train_on: str = "assistant",
                 special_tokens: str = "refuse") -> None:
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs or {})
        self.train_on = train_on
        self.special_tokens = special_tokens

    @cached_property
    def control_tokens(self) -> dict[str, int]:
        """The tokenizer's special tokens: spelling -> id."""
        added = {token.content: index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        named = {token: self.tokenizer.convert_tokens_to_ids(token) for token in self.tokenizer.all_special_tokens}
        return added | named

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        spellings = sorted(self.control_tokens, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, spellings)) or r"(?!)")

    @cached_property
    def turn_end(self) -> str:
        """What the template writes to end an answer: its first control token, like `<|im_end|>`, or else plain text."""
        messages = (Message("user", "a"), Message("assistant", STAND_INS[0]))
        text = self.render(messages)
        return self._turn_end_in(text[text.rindex(STAND_INS[0]) + 1 :], "the chat template")

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a generation: the turn-end token and the tokenizer's eos."""
        ids = self.tokenizer(self.turn_end, add_special_tokens=False)["input_ids"]
        ends = ids[-1:] if self.turn_end in self.control_tokens else []
        eos = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*ends, *([] if eos is None else [eos])]))

    @cached_property
    def padding_id(self) -> int:
        """What short rows are filled with; never an end token, so that no code downstream can mistake one for the other."""
        candidates = (self.tokenizer.pad_token_id, self.tokenizer.unk_token_id, 0, 1, 2, 3)
        return next(index for index in candidates if index is not None and index not in self.end_ids)

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The template's text for these messages. Raises jinja2.TemplateError where the template refuses them."""
        plain = [{"role": message.role, "content": message.content} for message in messages]
        return self.tokenizer.apply_chat_template(
            plain, tokenize=False, add_generation_prompt=add_generation_prompt, **self.template_kwargs
        )

    def prompt(self, conversation: Conversation) -> tuple[list[int], str]:
        """Ids of everything before the last answer, as at inference, and the answer that was expected."""
        last = max(index for index, message in enumerate(conversation.messages) if message.role == "assistant")
        text = self.render(conversation.messages[:last], add_generation_prompt=True)
        contents = [message.content for message in conversation.messages[:last]]
        return self.ids(text, contents), conversation.messages[last].content

    def ids(self, text: str, contents: Iterable[str] = ()) -> list[int]:
        """Token ids of a rendered text. The template writes BOS where the model wants it; none is added."""
        return [index for index, _, _ in self._tokens(text, contents)]

    def encode(self, conversation: Conversation) -> Row:
        """One row, its labels set on what the assistant says and on what ends its turns.

        Raises UserError, naming file and line, for a conversation that the template refuses or leaves out in part, for
        control tokens inside a message, and for a row in which nothing would be learned.
        """
        if conversation.text is not None:
            return self._encode_text(conversation)
        contents = [message.content for message in conversation.messages]
        self._refuse_control_tokens(conversation)
        try:
            text = self.render(conversation.messages)
        except TemplateError as error:
            raise UserError(f"{conversation.where}: the model's chat template refuses this conversation: {error}") from None
        self._refuse_left_out(conversation, text)
        spans = self._spans(conversation, text)
        tokens = self._tokens(text, contents)
        ids = tuple(index for index, _, _ in tokens)
        if self.train_on == "all":
            learned = [True] * len(ids)
        else:
            learned = _covered(tokens, spans)
        row = Row(ids, tuple(index if yes else IGNORE for index, yes in zip(ids, learned)), conversation.where, _ends(tokens, spans))
        if row.learned == 0:
            raise UserError(f"{conversation.where}: no token of this row would be learned. It renders as {_short(text)}; an answer was looked for in it.")
        self._refuse_double_bos(row)
        return row

    def _encode_text(self, conversation: Conversation) -> Row:
        """A row that its author rendered: every token is learned, BOS and EOS are added where the text lacks them."""
        ids = self.ids(conversation.text or "")
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        adds_bos = bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos]
        if adds_bos and ids[:1] != [bos]:
            ids = [bos, *ids]
        if eos is not None and not set(ids[-2:]) & {eos, *self.end_ids}:
            ids = [*ids, eos]
        row = Row(tuple(ids), tuple(ids), conversation.where, (len(ids),))
        self._refuse_double_bos(row)
        return row

    def _spans(self, conversation: Conversation, text: str) -> list[tuple[int, int]]:
        """Character spans [start, end) of what is learned: from where the prompt ends at inference to the turn's end."""
        messages = conversation.messages
        spans = []
        last = max(index for index, message in enumerate(messages) if message.role == "assistant")
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            begin, end = self._content_span(messages, index, text)
            if begin > end:
                raise UserError(f"{conversation.where}: answer {index} was not found in the rendered text {_short(text)}.")
            start = self._prompt_end(messages, index, text, begin)
            if index == last:
                end += len(self._turn_end_through(text[end:], conversation.where))
            elif text.startswith(self.turn_end, end):
                end += len(self.turn_end)
            elif text[end:].lstrip().startswith(self.turn_end):
                end = text.index(self.turn_end, end) + len(self.turn_end)
            spans.append((start, end))
        return spans

    def _content_span(self, messages: Sequence[Message], index: int, text: str) -> tuple[int, int]:
        """Where message `index` stands in the text: the part that changes when its content does."""
        stand_in = next(mark for mark in STAND_INS if mark not in text)
        other = self.render([*messages[:index], Message(messages[index].role, stand_in), *messages[index + 1 :]])
        begin = _common_prefix(text, other)
        end = len(text) - _common_suffix(text[begin:], other[begin:])
        return begin, end

    def _prompt_end(self, messages: Sequence[Message], index: int, text: str, begin: int) -> int:
        """Where the prompt ends at inference; the model has to write everything from there on."""
        prompt = self.render(messages[:index], add_generation_prompt=True)
        if text.startswith(prompt) and len(prompt) <= begin:
            return len(prompt)
        # Some templates write a turn differently once it lies back (Qwen3 drops its thinking, Mistral v0.3 moves the
        # system text): then the prompt's last piece, after the last message's content, is looked for before the answer.
        stand_in = next(mark for mark in STAND_INS if mark not in prompt)
        other = self.render([*messages[: index - 1], Message(messages[index - 1].role, stand_in)], add_generation_prompt=True)
        tail = prompt[len(prompt) - _common_suffix(prompt, other) :]
        found = text.rfind(tail, 0, begin) if tail else -1
        return found + len(tail) if found >= 0 and found + len(tail) <= begin else begin

    def _turn_end_through(self, rest: str, where: str) -> str:
        """The part of the text after the last answer that is learned: through the turn-end token."""
        end = self._turn_end_in(rest, where)
        return rest[: rest.index(end) + len(end)]

    def _turn_end_in(self, rest: str, where: str) -> str:
        found = self._control_pattern.search(rest)
        if found:
            return found.group()
        if rest.strip():
            return rest.strip()
        raise UserError(
            f"{where}: the chat template writes nothing after an answer, so the model would never learn to stop. "
            "Use a template that ends each answer with an end token."
        )

    def _tokens(self, text: str, contents: Iterable[str]) -> list[tuple[int, int, int]]:
        """(id, start, end) of each token, in characters of the text."""
        if self.special_tokens == "text" and any(self._control_pattern.search(content) for content in contents):
            return self._tokens_with_plain_contents(text, contents)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [(index, start, end) for index, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"])]

    def _tokens_with_plain_contents(self, text: str, contents: Iterable[str]) -> list[tuple[int, int, int]]:
        """As `_tokens`, with control tokens' spellings inside the contents encoded as plain text.

        A control token always ends a piece of text for the tokenizer, so the pieces between the template's own control
        tokens are encoded one by one, without looking for control tokens in them.
        """
        inside = _occurrences(text, contents)
        tokens: list[tuple[int, int, int]] = []
        position = 0
        for found in [*self._control_pattern.finditer(text), None]:
            if found and any(begin <= found.start() and found.end() <= end for begin, end in inside):
                continue
            piece = text[position : found.start() if found else len(text)]
            if piece:
                encoded = self.tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
                pairs = zip(encoded["input_ids"], encoded["offset_mapping"])
                tokens += [(index, position + start, position + end) for index, (start, end) in pairs]
            if found:
                tokens.append((self.control_tokens[found.group()], found.start(), found.end()))
                position = found.end()
        return tokens

    def _refuse_control_tokens(self, conversation: Conversation) -> None:
        if self.special_tokens == "text":
            return
        for message in conversation.messages:
            found = self._control_pattern.search(message.content)
            if found:
                raise UserError(
                    f'{conversation.where}: the {message.role}\'s text contains the control token "{found.group()}", which the model would read as one. '
                    "Remove it, or pass --set data.special_tokens=text to encode it as plain text."
                )

    def _refuse_left_out(self, conversation: Conversation, text: str) -> None:
        for message in conversation.messages:
            if message.role in ("system", "user") and message.content.strip() not in text:
                raise UserError(
                    f"{conversation.where}: the model's chat template leaves out this {message.role} message ({_short(message.content)}). "
                    "Move its text into the user's message."
                )

    def _refuse_double_bos(self, row: Row) -> None:
        bos = self.tokenizer.bos_token_id
        if bos is not None and bos not in self.end_ids and row.input_ids[:2] == (bos, bos):
            raise UserError(f"{row.where}: the row begins with two {self.tokenizer.bos_token}; the template writes one, so take it out of the text.")


def _covered(tokens: Sequence[tuple[int, int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether each token ends inside a span; a token without characters of its own goes with the one before it."""
    learned: list[bool] = []
    for _, start, end in tokens:
        if start == end:
            learned.append(any(begin < end <= stop for begin, stop in spans))
        else:
            learned.append(any(begin < end <= stop or (start < stop < end and start >= begin) for begin, stop in spans))
    return learned


def _ends(tokens: Sequence[tuple[int, int, int]], spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """For each span the number of tokens up to and with its last one."""
    return tuple(sum(start < stop for _, start, _ in tokens) for _, stop in spans)


def _occurrences(text: str, contents: Iterable[str]) -> list[tuple[int, int]]:
    """Where the contents stand in the text, one after the other."""
    found = []
    position = 0
    for content in contents:
        begin = text.find(content.strip(), position)
        if begin >= 0:
            position = begin + len(content.strip())
            found.append((begin, position))
    return found


def _common_prefix(one: str, other: str) -> int:
    return len(os.path.commonprefix((one, other)))


def _common_suffix(one: str, other: str) -> int:
    return len(os.path.commonprefix((one[::-1], other[::-1])))


def _short(text: str, limit: int = 200) -> str:
    return repr(text if len(text) <= limit else text[: limit // 2] + " … " + text[-limit // 2 :])
