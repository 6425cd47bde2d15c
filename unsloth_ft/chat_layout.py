"""Where each message stands in a rendered conversation and where each answer begins, found with the chat template alone.

No marker of any model family is known here: a conversation is rendered again with its contents exchanged for marks, and what
stays is the template's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unsloth_ft.chat_ids import Span
from unsloth_ft.chat_tools import has_calls, marked, with_marked_arguments
from unsloth_ft.data.conversation import Message
from unsloth_ft.errors import UserError

Render = Callable[[Sequence[Message], bool], str]
"""`render(messages, add_generation_prompt)`: the template's text. Raises UserError where the template refuses."""

FIRST_MARK = 0xF0000  # Unicode's supplementary private use area: 65,534 characters that no template writes


@dataclass(frozen=True)
class Layout:
    """A rendered text. `contents[i]` is where message i's content stands, trimmed or otherwise changed by the template (of a message
    with tool calls: from its content or the first function's name to the last one's arguments);
    `starts` is, for each answer, where the prompt ends that asks for it at inference: the model writes everything from there.
    `tails[i]` is what the template writes behind the calls of message i when they are the last: brackets and the turn's end."""

    text: str
    contents: tuple[Span, ...]
    starts: tuple[int, ...]
    tails: tuple[str, ...] = ()


class Template:
    """A chat template, with what it writes around the contents remembered for each order of roles."""

    def __init__(self, render: Render) -> None:
        self.render = render
        self._frames: dict[tuple[tuple[str, ...], bool], tuple[str, ...] | None] = {}

    def lay_out_prompt(self, messages: Sequence[Message]) -> Layout:
        """The text that asks for the answer after these messages."""
        text = self.render(messages, True)
        contents = self._contents(messages, text, True)
        return Layout(text, contents, self._starts(messages, text, contents))

    def lay_out(self, messages: Sequence[Message]) -> Layout:
        """The whole conversation, beginning with the very text that asks for its last answer.

        Mostly the template writes it so. Where it doesn't (Mistral v0.3 writes a system message only before a last question,
        so a conversation that ends with an answer has none), prompt and answer are joined as they would be at inference.
        Raises UserError where the answer can't follow the prompt.
        """
        last = last_answer(messages)
        text = self.render(messages, False)
        prompt = self.render(messages[:last], True)
        contents = self._contents(messages, text, False)
        if text.startswith(prompt) and len(prompt) <= contents[last][0]:
            return Layout(text, contents, (*self._starts(messages[:last], text, contents), len(prompt)), self._tails(messages))
        asked = self.lay_out_prompt(messages[:last])
        before = prompt[asked.contents[-1][1] :]
        answer = contents[last - 1][1] + len(before)
        if not text.startswith(before, contents[last - 1][1]) or answer > contents[last][0]:
            found = text[contents[last - 1][1] :]
            raise UserError(
                f"the chat template asks for an answer with {short(before)}, but writes this conversation's last one as {short(found)}, "
                "which can't follow. Change chat_template_kwargs, or the answer."
            )
        moved = len(prompt) - answer
        begins = [(begin + moved, end + moved) for begin, end in contents[last:]]
        return Layout(prompt + text[answer:], (*asked.contents, *begins), (*asked.starts, len(prompt)), self._tails(messages))

    def _tails(self, messages: Sequence[Message]) -> tuple[str, ...]:
        return tuple("" if message.tool_calls is None else self._tail(messages[: index + 1]) for index, message in enumerate(messages))

    def _tail(self, messages: Sequence[Message]) -> str:
        text = self.render(messages, False)
        return text[self._place(messages, len(messages) - 1, text, False)[1] :]

    def _starts(self, messages: Sequence[Message], text: str, contents: Sequence[Span]) -> tuple[int, ...]:
        return tuple(self._start(messages, index, text, contents) for index, message in enumerate(messages) if message.role == "assistant")

    def _start(self, messages: Sequence[Message], index: int, text: str, contents: Sequence[Span]) -> int:
        """Where the prompt for an earlier answer ends in the text."""
        begin = contents[index][0]
        prompt = self.render(messages[:index], True)
        if text.startswith(prompt) and len(prompt) <= begin:
            return len(prompt)
        # Some templates write a turn otherwise once it lies back (Qwen3 drops an empty <think> block that the prompt ended with,
        # Mistral v0.3 moves the system message): what prompt and text share after the question is still the prompt's.
        _, asked = self._place(messages[:index], index - 1, prompt, True)
        _, after = contents[index - 1]
        return min(begin, after + common_prefix(prompt[asked:], text[after:begin]))

    def _contents(self, messages: Sequence[Message], text: str, add_generation_prompt: bool) -> tuple[Span, ...]:
        # With calls the text around the contents depends on their number and ids: each is looked for by itself.
        frame = None if has_calls(messages) else self._frame(tuple(message.role for message in messages), add_generation_prompt)
        found = frame and _walk(text, frame, messages)
        return found or tuple(self._place(messages, index, text, add_generation_prompt) for index in range(len(messages)))

    def _frame(self, roles: tuple[str, ...], add_generation_prompt: bool) -> tuple[str, ...] | None:
        """What the template writes before, between and after the contents; None when it leaves out or repeats one, or changes the order."""
        key = (roles, add_generation_prompt)
        if key not in self._frames:
            marks = [chr(FIRST_MARK + index) for index in range(len(roles))]
            text = self.render([Message(role, mark) for role, mark in zip(roles, marks)], add_generation_prompt)
            any_mark = f"[{chr(FIRST_MARK)}-{chr(FIRST_MARK + len(roles))}]"
            whole = re.findall(any_mark, text) == marks
            self._frames[key] = tuple(re.split(any_mark, text)) if whole else None
        return self._frames[key]

    def _place(self, messages: Sequence[Message], index: int, text: str, add_generation_prompt: bool) -> Span:
        """Where a message's content stands in the text: the part that changes when the content is another."""
        mark = next(mark for mark in map(chr, range(FIRST_MARK, FIRST_MARK + len(text) + 1)) if mark not in text)
        begin, end = self._changed(messages, index, marked(messages[index], mark), text, add_generation_prompt)
        if messages[index].tool_calls is not None:
            # A function's name may come again, above its result (gpt-oss); the arguments don't.
            arguments = with_marked_arguments(messages[index], mark)
            _, end = self._changed(messages, index, arguments, text, add_generation_prompt)
        return begin, max(begin, end)

    def _changed(self, messages: Sequence[Message], index: int, other: Message, text: str, add_generation_prompt: bool) -> Span:
        """What of the text is another with another message in one's place."""
        changed = self.render([*messages[:index], other, *messages[index + 1 :]], add_generation_prompt)
        begin = common_prefix(text, changed)
        return begin, len(text) - common_prefix(text[begin:][::-1], changed[begin:][::-1])


def last_answer(messages: Sequence[Message], *, learned: bool = False) -> int:
    """Index of the last assistant message, with `learned` of the last that is learned. Raises UserError when there is none."""
    found = [index for index, message in enumerate(messages) if message.role == "assistant" and (message.learned or not learned)]
    if not found:
        raise UserError("there is no assistant message, so nothing to learn. Add the answer, or remove the row.")
    return found[-1]


def short(text: str, limit: int = 200) -> str:
    """The text in quotes, its middle left out when it is long."""
    return repr(text if len(text) <= limit else text[: limit // 2] + " … " + text[-limit // 2 :])


def _walk(text: str, frame: Sequence[str], messages: Sequence[Message]) -> tuple[Span, ...] | None:
    """The contents' places when the text is the frame filled with them, as they are or trimmed; otherwise None."""
    places = []
    position = 0
    for piece, message in zip(frame, messages):
        begin = position + len(piece)
        content = next((content for content in (message.content, message.content.strip()) if text.startswith(content, begin)), None)
        if content is None or not text.startswith(piece, position):
            return None
        position = begin + len(content)
        places.append((begin, position))
    return tuple(places) if text[position:] == frame[-1] else None


def common_prefix(one: str, other: str) -> int:
    """Length of the common beginning, by halving: comparing character by character took most of a row's time."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low
