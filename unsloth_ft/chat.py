"""Conversation -> token ids and labels: the one function that training, evaluation, export checks and the bench share.

The tokenizer's own chat template is the only template, and what is learned is found in the text that it renders
(`chat_layout`): each answer, from where its prompt ends at inference through the token that ends the turn.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from unsloth_ft.chat_ids import Encoder, Span, all_cores
from unsloth_ft.chat_layout import Layout, Template, common_prefix, last_answer, short
from unsloth_ft.chat_row import IGNORE, Row, Tokenized, all_but
from unsloth_ft.chat_tools import TEMPLATE_ERRORS, ToolSupport, has_calls, own_texts, plain
from unsloth_ft.data.conversation import Conversation, Message
from unsloth_ft.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

T = TypeVar("T")

KEPT_TEMPLATES = 64  # lists of tools at a time whose templates are kept; most data have one, some have one a row
TOGETHER = 1024  # conversations at a time: what the tokenizer keeps of them takes about 15 MB
CHARACTERS_TOGETHER = 2**24  # or fewer where they are long: a row may have as many alone


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The folder's own tokenizer. Raises UserError when it is not a fast one, or has no chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(os.fspath(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:  # what a missing, torn or foreign tokenizer.json raises
        raise UserError(f"{folder.name}: its tokenizer can't be read ({short(str(error))}). Copy the tokenizer's files again.") from None
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise UserError(f"{folder.name}: its tokenizer is a {kind} without a tokenizer.json; expected a fast tokenizer.")
    if not tokenizer.chat_template:
        raise UserError(
            f"{folder.name}: its tokenizer has no chat template, as base models have none. Name the instruct model, "
            "or put a chat_template.jinja beside the tokenizer."
        )
    return tokenizer


class Chat:
    """A tokenizer with its chat template: renders conversations and turns them into rows."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        *,
        template_kwargs: dict | None = None,
        train_on: str = "assistant",
        special_tokens: str = "refuse",
    ) -> None:
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs or {})
        self.train_on = train_on
        self.special_tokens = special_tokens
        self._encoder = Encoder(tokenizer)
        self._templates: dict[str | None, Template] = {}
        self._tools = ToolSupport(partial(self._applied, add_generation_prompt=True))

    @property
    def control_tokens(self) -> dict[str, int]:
        """The tokenizer's special tokens: spelling -> id."""
        return self._encoder.control_tokens

    @cached_property
    def turn_end(self) -> str:
        """What the template writes to end an answer: its first control token, like `<|im_end|>`, or else plain text."""
        return self._turn_end_in(self._behind_an_answer)

    @cached_property
    def _behind_an_answer(self) -> str:
        layout = self._template(None).lay_out((Message("user", "a"), Message("assistant", "b")))
        return layout.text[layout.contents[-1][1] :]

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a generation: the turn-end token and the tokenizer's eos."""
        ids = self._encoder.encode(self.turn_end)[0].ids
        ends = ids if len(ids) == 1 and ids[0] in self.tokenizer.added_tokens_decoder else []
        eos = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*ends, *([] if eos is None else [eos])]))

    @cached_property
    def padding_id(self) -> int:
        """What short rows are filled with; never an end token, so that no code downstream can mistake one for the other."""
        candidates = (self.tokenizer.pad_token_id, self.tokenizer.unk_token_id, 0, 1, 2, 3)
        return next(index for index in candidates if index is not None and index not in self.end_ids)

    def fingerprint(self) -> str:
        """sha256 of all that decides what a conversation becomes, but for this program itself: tokenizer, template, settings, libraries."""
        template = str(self.tokenizer.chat_template)
        asked = {
            "tokenizer": self._encoder.fingerprint(),
            "special_tokens": {name: str(token) for name, token in self.tokenizer.special_tokens_map.items()},
            "template": template,
            "template_kwargs": self.template_kwargs,
            # Llama 3.2's template writes the day on which it is rendered into a system message.
            "day": datetime.date.today().isoformat() if "strftime_now" in template else None,
            "train_on": self.train_on,
            "special_tokens_in_text": self.special_tokens,
            "versions": {name: importlib.metadata.version(name) for name in ("tokenizers", "transformers", "jinja2")},
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False, tools: str | None = None) -> str:
        """The template's text for these messages. Raises jinja2.TemplateError where the template refuses them."""
        return self._applied(plain(messages, self._tools.form(messages)), tools, add_generation_prompt=add_generation_prompt)

    def prompt(self, conversation: Conversation) -> tuple[list[int], str]:
        """Ids of everything before the last learned answer, as at inference, and the answer that was expected.

        They are the first ids of the row of the conversation through that answer. Raises UserError as `encode` does.
        """
        try:
            last = last_answer(conversation.messages, learned=True)
            before = conversation.messages[:last]
            layout = self._template(conversation.tools).lay_out_prompt(before)
        except UserError as error:
            raise UserError(f"{conversation.where}: {error}") from None
        tokens, _ = self._encoder.encode(layout.text, cuts=layout.starts, plain=self._plain(before, layout))
        answer = conversation.messages[last]
        if answer.tool_calls is None:
            return tokens.ids, answer.content
        row = self.encode(replace(conversation, messages=conversation.messages[: last + 1]))
        written = [label for label in row.labels[len(tokens.ids) :] if label != IGNORE]
        return tokens.ids, self.tokenizer.decode(written, skip_special_tokens=True).strip()

    def ids(self, text: str) -> list[int]:
        """Token ids of a rendered text. The template writes BOS where the model wants it; none is added."""
        return self._encoder.encode(text)[0].ids

    def encode(self, conversation: Conversation) -> Row:
        """One row, its labels set on what the assistant says and on what ends its turns.

        Raises UserError, naming file and line, for a conversation that the template refuses, changes or leaves out in part,
        for control tokens inside a message, and for an answer of which nothing would be learned.
        """
        (found,) = self.tokenize_all([conversation])
        if isinstance(found, UserError):
            raise found
        return found.row(conversation.where)

    def tokenize_all(self, conversations: Iterable[Conversation]) -> Iterator[Tokenized | UserError]:
        """What each row comes to, or what `encode` would raise, in order.

        TOGETHER conversations at a time are rendered, or fewer long ones, while the tokenizer has those before them on all cores.
        """
        with all_cores(), ThreadPoolExecutor(1) as beside:
            before = None
            for part in _parts(conversations):
                layouts = [self._or_error(conversation, self._lay_out) for conversation in part]
                ids = beside.submit(self._encoder.whole, [layout.text for layout in layouts if isinstance(layout, Layout)])
                if before:
                    yield from self._masked(*before)
                before = (part, layouts, ids)
            if before:
                yield from self._masked(*before)

    def _masked(
        self, part: Sequence[Conversation], layouts: Sequence[Layout | UserError | None], ids: Future[list[list[int]]]
    ) -> Iterator[Tokenized | UserError]:
        whole = iter(ids.result())
        for conversation, layout in zip(part, layouts):
            if isinstance(layout, Layout):
                yield self._or_error(conversation, partial(self._encode, layout=layout, whole=next(whole)))
            else:
                yield layout or self._or_error(conversation, self._encode_text)

    def _or_error(self, conversation: Conversation, do: Callable[[Conversation], T]) -> T | UserError:
        """What `do` makes of the conversation, or its error with file and line."""
        try:
            return do(conversation)
        except UserError as error:
            return UserError(f"{conversation.where}: {error}")

    def _lay_out(self, conversation: Conversation) -> Layout | None:
        """None: its author rendered it."""
        if conversation.text is not None:
            return None
        self._refuse_control_tokens(conversation.messages)
        self._refuse_tools(conversation)
        layout = self._template(conversation.tools).lay_out(conversation.messages)
        _refuse_changed(conversation.messages, layout)
        return layout

    def _encode(self, conversation: Conversation, *, layout: Layout, whole: list[int]) -> Tokenized:
        messages = conversation.messages
        places, closed = self._ends(messages, layout)
        ids, starts, ends = self._counted(messages, layout, places, whole)
        self._refuse_double_bos(ids)
        learned, others = [], []
        for number, message in enumerate(message for message in messages if message.role == "assistant"):
            start, end = starts[number], ends[number]
            if start >= end and message.learned:
                looked = f"It was looked for at character {layout.starts[number]} of {short(layout.text)}"
                raise UserError(f"no token of answer {number + 1} would be learned. {looked}.")
            (learned if message.learned else others).append((start, end))
        turn_ends = [end for end, yes in zip(ends, closed) if yes]
        return Tokenized(ids, all_but(others, len(ids)) if self.train_on == "all" else learned, turn_ends)

    def _counted(
        self, messages: Sequence[Message], layout: Layout, places: Sequence[int], whole: list[int]
    ) -> tuple[list[int], list[int], list[int]]:
        """(the row's ids, for each answer the number of tokens before it, and through its turn end). `whole`: the text's ids."""
        plain = self._plain(messages, layout)
        counts = None if plain else self._encoder.counted(layout.text, whole, cuts=(*layout.starts, *places))
        if counts:
            return whole, counts[: len(places)], counts[len(places) :]
        tokens, starts = self._encoder.encode(layout.text, cuts=layout.starts, plain=plain)
        # A token that begins inside the turn belongs to it whole: "###\n" is one token, and it is what the model writes.
        return tokens.ids, starts, [tokens.first_from(place) for place in places]

    def _encode_text(self, conversation: Conversation) -> Tokenized:
        """A row that its author rendered: every token is learned, BOS and EOS are added where the text lacks them."""
        ids = self.ids(conversation.text or "")
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if self._adds_bos and ids[:1] != [bos]:
            ids = [bos, *ids]
        if eos is not None and not set(ids[-2:]) & {eos, *self.end_ids}:
            ids = [*ids, eos]
        self._refuse_double_bos(ids)
        return Tokenized(ids, [(0, len(ids))], [len(ids)])

    @cached_property
    def _adds_bos(self) -> bool:
        bos = self.tokenizer.bos_token_id
        return bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos]

    def _template(self, tools: str | None) -> Template:
        """The template with these tools."""
        if tools not in self._templates:
            if len(self._templates) > KEPT_TEMPLATES:
                self._templates.clear()
            self._templates[tools] = Template(partial(self._render, tools=tools))
        return self._templates[tools]

    def _applied(self, messages: list[dict], tools: str | None, *, add_generation_prompt: bool) -> str:
        more = {} if tools is None else {"tools": json.loads(tools)}
        kwargs = {**self.template_kwargs, **more}
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt, **kwargs)

    def _refuse_tools(self, conversation: Conversation) -> None:
        """Raises UserError for tools and calls that the template leaves out, and for control tokens in them."""
        if conversation.tools is None and not has_calls(conversation.messages):
            return
        self._tools.refuse_hidden(conversation)
        for name, text in (("tools", conversation.tools), *(("tool calls", message.tool_calls) for message in conversation.messages)):
            found = self._encoder.control_token(text or "")
            if found:
                raise UserError(f'the row\'s {name} contain the control token "{found}", which the model would read as one. Remove it.')

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool, *, tools: str | None) -> str:
        try:
            return self.render(messages, add_generation_prompt=add_generation_prompt, tools=tools)
        except TEMPLATE_ERRORS as error:
            raise UserError(f"the model's chat template refuses this conversation: {error}") from None

    def _ends(self, messages: Sequence[Message], layout: Layout) -> tuple[list[int], list[bool]]:
        """(for each answer where its turn ends in the text, whether it is learned and ends with what ends a turn)."""
        last = last_answer(messages)
        behind = layout.text[layout.contents[last][1] :] if messages[last].tool_calls is None else self._behind_an_answer
        turn_end = self._turn_end_in(behind)
        ending = behind[: behind.index(turn_end) + len(turn_end)]
        following = [begin for begin, _ in layout.contents[1:]] + [len(layout.text)]
        places, closed = [], []
        for message, (_, end), until, tail in zip(messages, layout.contents, following, layout.tails):
            if message.role != "assistant":
                continue
            if message.tool_calls is None:
                length = len(ending) * layout.text.startswith(ending, end)
            else:
                length = self._call_ending(layout.text[end:until], tail, turn_end)
            places.append(end + length)
            closed.append(length > 0 and message.learned)
        return places, closed

    def _call_ending(self, behind: str, tail: str, turn_end: str) -> int:
        """Length of what ends a turn of calls in the text behind them: brackets, and the token that ends the turn.

        That token is the last of the tail; but the answers' turn end, where only control tokens follow it. The brackets may be
        control tokens too, and a template may write another token at a conversation's end.
        """
        found = self._encoder.last_control_token(tail) or (turn_end if turn_end in tail else None)
        if turn_end in tail and not self._encoder.without_control_tokens(tail[tail.rindex(turn_end) :].removeprefix(turn_end)).strip():
            found = turn_end
        if found is None:
            return common_prefix(tail.rstrip(), behind)
        return behind.index(found) + len(found) if found in behind else 0

    def _turn_end_in(self, rest: str) -> str:
        """What ends the turn in the text that the template writes after an answer."""
        found = self._encoder.control_token(rest) or rest.strip()
        if not found:
            raise UserError(
                "the chat template writes nothing after an answer, so the model would never learn to stop. "
                "Use a template that ends each answer with an end token."
            )
        return found

    def _plain(self, messages: Sequence[Message], layout: Layout) -> list[Span]:
        """Contents that spell control tokens, where those are to be plain text."""
        if self.special_tokens != "text":
            return []
        return [span for span, message in zip(layout.contents, messages) if self._encoder.control_token(message.content)]

    def _refuse_control_tokens(self, messages: Sequence[Message]) -> None:
        if self.special_tokens == "text":
            return
        for message in messages:
            found = self._encoder.control_token(message.content)
            if found:
                raise UserError(
                    f'the {message.role}\'s text contains the control token "{found}", which the model would read as one. '
                    "Remove it, or pass --set data.special_tokens=text to encode it as plain text."
                )

    def _refuse_double_bos(self, ids: Sequence[int]) -> None:
        bos = self.tokenizer.bos_token_id
        if bos is not None and bos not in self.end_ids and ids[:2] == [bos, bos]:
            raise UserError(f"the row begins with two {self.tokenizer.bos_token}; the template writes one, so take it out of the text.")


def _parts(conversations: Iterable[Conversation]) -> Iterator[list[Conversation]]:
    part: list[Conversation] = []
    characters = 0
    for conversation in conversations:
        part.append(conversation)
        characters += conversation.characters
        if len(part) == TOGETHER or characters > CHARACTERS_TOGETHER:
            yield part
            part, characters = [], 0
    if part:
        yield part


def _refuse_changed(messages: Sequence[Message], layout: Layout) -> None:
    """Raises UserError for a message that the template leaves out or rewrites; white space is the template's own affair.

    Of an answer a part may stay away (Qwen3 drops the thoughts of earlier turns), and tool results may be quoted.
    """
    for message, (begin, end) in zip(messages, layout.contents):
        shown = layout.text[begin:end]
        if message.tool_calls is not None:
            _refuse_hidden(message, shown)
            continue
        if shown == message.content or shown.split() == message.content.split():
            continue
        if not shown.strip():
            move = " Move its text into the user's message." if message.role == "system" else " Change it, or remove the row."
            raise UserError(f"the model's chat template leaves out this {message.role} message ({short(message.content)}).{move}")
        part = message.role == "assistant" and "".join(shown.split()) in "".join(message.content.split())
        if not part and message.role != "tool":
            raise UserError(
                f"the model's chat template changes this {message.role} message: {short(message.content)} becomes {short(shown)}. "
                "Use a template that writes messages as they are."
            )


def _refuse_hidden(message: Message, shown: str) -> None:
    squeezed = "".join(shown.split())
    hidden = next((text for text in own_texts(message) if "".join(text.split()) not in squeezed), None)
    if hidden is not None:
        raise UserError(
            f"the model's chat template leaves out {short(hidden)} of an assistant message with tool calls. Change it, or remove the row."
        )
