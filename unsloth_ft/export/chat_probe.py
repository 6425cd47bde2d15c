"""What a tokenizer's chat template writes between the texts of a conversation, found by rendering marker words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unsloth_ft.errors import UserError
from unsloth_ft.export.go_source import SYSTEM

Render = Callable[[list[dict], bool], str]
"""`render(messages, add_generation_prompt)`: the tokenizer's template; raises jinja2.TemplateError when it refuses."""


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's own template, and the BOS that the runner writes in its place when `drop_bos`."""

    render: Render
    bos_token: str | None
    drop_bos: bool

    def text(self, messages: Sequence[dict], add_generation_prompt: bool = True) -> str:
        """The text that TEMPLATE has to equal: the rendered conversation, without the BOS when the runner adds it.

        Raises:
            UserError: the runner adds a BOS that the template does not write.
            jinja2.TemplateError: the template refuses the conversation.
        """
        text = self.render([dict(message) for message in messages], add_generation_prompt)
        if not self.drop_bos:
            return text
        if not self.bos_token or not text.startswith(self.bos_token):
            raise UserError(
                f"chat template: begins with {text[:24]!r}, but the GGUF's add_bos_token makes Ollama put {self.bos_token!r} before it;"
                f" expected the template to begin with {self.bos_token!r}. Write the GGUF with add_bos_token false and pass drop_bos=False."
            )
        return text.removeprefix(self.bos_token)

    def text_or_refusal(self, messages: Sequence[dict], add_generation_prompt: bool = True) -> tuple[str | None, str]:
        """(text, "") or (None, why the template refuses).

        A TypeError counts too: templates that need tools loop over `tools`, which is None.
        """
        from jinja2 import TemplateError

        try:
            return self.text(messages, add_generation_prompt), ""
        except (TemplateError, TypeError) as error:
            return None, f"{type(error).__name__}: {error}"

    def system_refusal(self) -> str:
        """Why the template refuses a system message, or ''."""
        return self.text_or_refusal(_messages(1, True))[1]


@dataclass(frozen=True)
class Between:
    """What the template writes between the texts. The system text in it is SYSTEM; True in a key is "with system".

    `before_user` is keyed (first user message, last message, with system); the ends are of conversations without a generation prompt.
    """

    before_user: dict[tuple[bool, ...], str]
    before_assistant: dict[tuple[bool, ...], str]
    generation_prompt: dict[tuple[bool, ...], str]
    user_ends: tuple[str, ...]
    assistant_ends: tuple[str, ...]
    takes_system: bool
    system_refusal: str


def _marker(role: str, number: int = 0) -> str:
    return f"xqz{role}{number}zqx"


def _messages(turns: int, has_system: bool, *, answered: bool = False) -> list[dict]:
    roles = ["user", "assistant"] * turns if answered else ["user", "assistant"] * (turns - 1) + ["user"]
    spoken = [{"role": role, "content": _marker(role, number)} for number, role in enumerate(roles)]
    return [{"role": "system", "content": _marker("system")}, *spoken] if has_system else spoken


def _gaps(text: str, messages: Sequence[dict]) -> list[str]:
    """The text before, between and after the user's and assistant's markers."""
    if SYSTEM in text:
        raise UserError(f"chat template: writes {SYSTEM!r} (U+E000), which stands for the system text here; it can't be derived.")
    rest = text.replace(_marker("system"), SYSTEM)
    gaps = []
    for number, message in enumerate(message for message in messages if message["role"] != "system"):
        if text.count(message["content"]) != 1 or message["content"] not in rest:
            times = text.count(message["content"])
            raise UserError(
                f"chat template: writes message {number} ({message['role']}) {times} times or out of order in {text[:200]!r};"
                " expected every message once, in order. A TEMPLATE for it can't be derived: write one by hand and check it."
            )
        gap, rest = rest.split(message["content"])
        gaps.append(gap)
    return [*gaps, rest]


def probe(chat_template: ChatTemplate) -> Between:
    """Renders one and three turns of marker words, with and without a system message, and cuts at the markers.

    Raises:
        UserError: the template refuses these conversations, or does not write every message once and in order.
    """
    one, refusal = chat_template.text_or_refusal(_messages(1, False))
    if one is None:
        raise UserError(f"chat template: refuses a conversation of one user message ({refusal}); no TEMPLATE can be derived from it.")
    system_refusal = chat_template.system_refusal()
    before_user, before_assistant, generation_prompt = {}, {}, {}
    for has_system in (False, True):
        messages_one, messages_three = (_messages(turns, has_system and not system_refusal) for turns in (1, 3))
        three, refusal = chat_template.text_or_refusal(messages_three)
        if three is None:
            raise UserError(f"chat template: refuses a conversation of three turns ({refusal}); no TEMPLATE can be derived from it.")
        only, prompt = _gaps(chat_template.text(messages_one), messages_one)
        first, answer, middle, _, last, _ = _gaps(three, messages_three)
        before_user |= {(True, True, has_system): only, (True, False, has_system): first}
        before_user |= {(False, False, has_system): middle, (False, True, has_system): last}
        before_assistant[has_system,] = answer
        generation_prompt[has_system,] = prompt
    return Between(
        before_user=before_user,
        before_assistant=before_assistant,
        generation_prompt=generation_prompt,
        user_ends=_end(chat_template, answered=False),
        assistant_ends=_end(chat_template, answered=True),
        takes_system=not system_refusal and _marker("system") in chat_template.text(_messages(1, True)),
        system_refusal=system_refusal,
    )


def _end(chat_template: ChatTemplate, *, answered: bool) -> tuple[str, ...]:
    """What follows the last message when nothing is to be generated: its own end, told apart from the next one's beginning."""
    messages = _messages(1, False, answered=answered)
    text, _ = chat_template.text_or_refusal(messages, False)
    return () if text is None else (_gaps(text, messages)[-1],)


_PADS = (" \n\t ", "\n\n")  # some templates take away line ends only


def trimmed_roles(chat_template: ChatTemplate) -> tuple[str, ...]:
    """The roles whose texts lose outer white space, all or some of it, in the tokenizer's template, anywhere in a conversation."""
    messages = _messages(3, not chat_template.system_refusal())
    bare, _ = chat_template.text_or_refusal(messages)
    roles = set()
    for number, message in enumerate(messages if bare is not None else ()):
        for pad in _PADS:
            padded = message | {"content": pad + message["content"] + pad}
            text, _ = chat_template.text_or_refusal([*messages[:number], padded, *messages[number + 1 :]])
            if text is not None and _is_trimmed(bare or "", text, message["content"], padded["content"]):
                roles.add(message["role"])
    return tuple(role for role in ("system", "user", "assistant") if role in roles)


def _is_trimmed(bare: str, text: str, marker: str, padded: str) -> bool:
    before, _, after = bare.partition(marker)
    written = text[len(before) : len(text) - len(after)]
    around = text.startswith(before) and text.endswith(after)
    return marker in bare and around and written != padded and written.strip() == marker
