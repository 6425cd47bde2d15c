"""An Ollama TEMPLATE derived from a tokenizer's own chat template, and shown to write the same text before anyone uses it.

No family is looked up. Conversations of marker words are rendered with the tokenizer's template; what stands between the markers is the
template's text, and how it changes (first or last user message, with or without a system message) becomes `if`s of a Go template. Then
that Go template is evaluated on conversations full of quotes, braces, white space and other scripts, and compared with the tokenizer's.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

from unsloth_ft.errors import UserError
from unsloth_ft.export import go_source
from unsloth_ft.export.go_template import evaluate

Render = Callable[[list[dict], bool], str]
"""`render(messages, add_generation_prompt)`: the tokenizer's template; raises jinja2.TemplateError when it refuses."""

_TURN_CONDITIONS = (
    "$first",
    "eq (len (slice $.Messages $i)) 1",
    "$.System",
)  # of a user message: the first, the last, beside a system text
_NOTES_ALWAYS = (
    "Tool calls, tool results and images are not part of this TEMPLATE. Where the GGUF's own chat template knows tools, newer Ollama"
    " versions prefer that one; OLLAMA_GO_TEMPLATE=1 makes them use TEMPLATE.",  # ollama's server/images.go, shouldPreferChatTemplate
    "An empty system message counts as none, and neighbouring messages of one role are joined by an empty line: Ollama does both.",
)


@dataclass(frozen=True)
class GoTemplate:
    """The source of a TEMPLATE, whether a system message reaches the model through it, and what its equality is not claimed for."""

    text: str
    takes_system: bool = True
    notes: tuple[str, ...] = ()

    def render_pieces(self, messages: Sequence[dict]) -> tuple[str, ...]:
        """What Ollama sends for these messages, piece by piece as the template writes it; joined, it is the prompt."""
        return evaluate(self.text, messages)


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
        """(text, "") or (None, why the template refuses)."""
        from jinja2 import TemplateError

        try:
            return self.text(messages, add_generation_prompt), ""
        except TemplateError as error:
            return None, f"{type(error).__name__}: {error}"


def derive_template(render: Render, *, bos_token: str | None, drop_bos: bool) -> GoTemplate:
    """The TEMPLATE that writes what `render` writes, for every conversation of `proof_conversations`.

    `drop_bos` is true when the GGUF says `add_bos_token`: the runner adds it, and TEMPLATE must not repeat it.

    Raises:
        UserError: the template refuses plain conversations, or no TEMPLATE of this form equals it; names the first conversation that
            differs and the place.
    """
    chat_template = ChatTemplate(render, bos_token, drop_bos)
    between = _probe(chat_template)
    source = _source(between)
    trimmed = trimmed_roles(chat_template, between.takes_system)
    check_template(source, chat_template, trimmed=trimmed, with_system=between.takes_system)
    return GoTemplate(source, between.takes_system, _notes(source, chat_template, between, trimmed))


def check_template(source: str, chat_template: ChatTemplate, *, trimmed: Sequence[str] = (), with_system: bool = True) -> None:
    """Compares TEMPLATE with the tokenizer's template on `proof_conversations`.

    `trimmed` are the roles whose texts the tokenizer's template trims: theirs are compared without outer white space.

    Raises:
        UserError: names the first conversation that differs, the place, and both texts there.
    """
    for name, messages in proof_conversations(trimmed=trimmed, with_system=with_system):
        expected, refusal = chat_template.text_or_refusal(messages)
        if expected is None:
            raise UserError(f"chat template: refuses the conversation '{name}' ({refusal}); no TEMPLATE can be shown equal to it.")
        found = "".join(evaluate(source, messages))
        if found != expected:
            raise UserError(f"TEMPLATE: conversation '{name}' differs from the tokenizer's chat template {_place(expected, found)}.")


def _place(expected: str, found: str) -> str:
    at = next((index for index, pair in enumerate(zip(expected, found)) if pair[0] != pair[1]), min(len(expected), len(found)))  # noqa: B905
    before = expected[max(0, at - 24) : at]
    return f"at character {at}, after {before!r}: the tokenizer writes {expected[at : at + 40]!r}, TEMPLATE {found[at : at + 40]!r}"


# -- conversations that prove ------------------------------------------------------------------------------------------------------------

_TEXTS = {
    "plain text": "What does the warranty cover?",
    "quotes": 'He said "no", she said \'yes\', `maybe` """really"""',
    "braces": "{{ .System }} {% if x %}{{- end }} {a: {b: 1}} }}",
    "backslashes": "C:\\new\\table \\n is not a line \\\\",
    "lines": "one\n\n\ttwo  \n three\r\nfour",
    "other scripts": "保証は何年ですか？ Гарантия ضمان 🙂 e\u0301 \u00a0x",
    "marks and numbers": "1 < 2 & 3 > 2; <b>50%</b> $x @y #z [x] <<y>> | 0",
}
_OUTER_SPACE = {
    "spaces around": "  two before, one after ",
    "line ends around": "\n\nbefore and after\n",
    "tab and line end around": "\t\nmixed \t\n",
}


def proof_conversations(*, trimmed: Sequence[str] = (), with_system: bool = True) -> list[tuple[str, list[dict]]]:
    """(name, messages): 1 to 5 turns, with and without system, every kind of text in every role; each ends with a user message.

    Plain texts differ from message to message, the others are the same in all: templates that look a message up by its value show it.
    """
    conversations = []
    systems = (False, True) if with_system else (False,)
    for has_system, (name, text), turns in product(systems, (_TEXTS | _OUTER_SPACE).items(), (1, 2, 3, 5)):
        label = f"{turns} turn{'s' if turns > 1 else ''}, {'with' if has_system else 'without'} system, {name}"
        conversations.append((label, _conversation(text, turns, has_system, trimmed)))
    return conversations


def _conversation(text: str, turns: int, has_system: bool, trimmed: Sequence[str]) -> list[dict]:
    roles = (["system"] if has_system else []) + ["user", "assistant"] * (turns - 1) + ["user"]
    numbered = [(role, text.replace("warranty", f"warranty of part {index}")) for index, role in enumerate(roles)]
    return [{"role": role, "content": content.strip() if role in trimmed else content} for role, content in numbered]


# -- probing -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Between:
    """What the template writes between the texts. The system text in it is go_source.SYSTEM; True in a key is "with system".

    `before_user` is keyed (first user message, last message, with system); the ends are of conversations without a generation prompt.
    """

    before_user: dict[tuple[bool, ...], str] = field(default_factory=dict)
    before_assistant: dict[tuple[bool, ...], str] = field(default_factory=dict)
    generation_prompt: dict[tuple[bool, ...], str] = field(default_factory=dict)
    user_ends: tuple[str, ...] = ()
    assistant_ends: tuple[str, ...] = ()
    takes_system: bool = True
    system_refusal: str = ""


def _marker(role: str, number: int = 0) -> str:
    return f"xqz{role}{number}zqx"


def _messages(turns: int, has_system: bool, *, answered: bool = False) -> list[dict]:
    roles = ["user", "assistant"] * turns if answered else ["user", "assistant"] * (turns - 1) + ["user"]
    spoken = [{"role": role, "content": _marker(role, number)} for number, role in enumerate(roles)]
    return [{"role": "system", "content": _marker("system")}, *spoken] if has_system else spoken


def _gaps(text: str, messages: Sequence[dict]) -> list[str]:
    """The text before, between and after the user's and assistant's markers."""
    if go_source.SYSTEM in text:
        raise UserError(f"chat template: writes {go_source.SYSTEM!r} (U+E000), which stands for the system text here; it can't be derived.")
    rest = text.replace(_marker("system"), go_source.SYSTEM)
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


def _probe(chat_template: ChatTemplate) -> _Between:
    one, refusal = chat_template.text_or_refusal(_messages(1, False))
    if one is None:
        raise UserError(f"chat template: refuses a conversation of one user message ({refusal}); no TEMPLATE can be derived from it.")
    _, system_refusal = chat_template.text_or_refusal(_messages(1, True))
    between = _Between(
        user_ends=_end(chat_template, answered=False),
        assistant_ends=_end(chat_template, answered=True),
        system_refusal=system_refusal,
        takes_system=not system_refusal and _marker("system") in chat_template.text(_messages(1, True)),
    )
    for has_system in (False, True):
        messages_one, messages_three = (_messages(turns, has_system and not system_refusal) for turns in (1, 3))
        three, refusal = chat_template.text_or_refusal(messages_three)
        if three is None:
            raise UserError(f"chat template: refuses a conversation of three turns ({refusal}); no TEMPLATE can be derived from it.")
        single = _gaps(chat_template.text(messages_one), messages_one)
        gaps = _gaps(three, messages_three)
        for (first, last), gap in {
            (True, True): single[0],
            (True, False): gaps[0],
            (False, False): gaps[2],
            (False, True): gaps[4],
        }.items():
            between.before_user[first, last, has_system] = gap
        between.before_assistant[has_system,] = gaps[1]
        between.generation_prompt[has_system,] = single[1]
    return between


def _end(chat_template: ChatTemplate, *, answered: bool) -> tuple[str, ...]:
    """What follows the last message when nothing is to be generated: its own end, told apart from the next one's beginning."""
    messages = _messages(1, False, answered=answered)
    text, _ = chat_template.text_or_refusal(messages, False)
    return () if text is None else (_gaps(text, messages)[-1],)


# -- from what stands between to Go ------------------------------------------------------------------------------------------------------


def _source(between: _Between) -> str:
    """Divides what stands between two messages into the end of one and the beginning of the next; the sum is what counts."""
    after_user = [*between.before_assistant.values(), *between.generation_prompt.values()]
    user_end = go_source.common_prefix([*after_user, *between.user_ends])
    later = {key: gap for key, gap in between.before_user.items() if not key[0]}
    assistant_end = go_source.common_prefix([*later.values(), *between.assistant_ends])
    before_user = {key: gap.removeprefix(assistant_end) for key, gap in later.items()}
    beginning = {}
    for has_system in (False, True):
        heads = {
            between.before_user[True, last, has_system].removesuffix(before_user[False, last, has_system])
            for last in (True, False)
            if between.before_user[True, last, has_system].endswith(before_user[False, last, has_system])
        }
        whole = all(between.before_user[True, last, has_system].endswith(before_user[False, last, has_system]) for last in (True, False))
        firsts = [between.before_user[True, last, has_system] for last in (True, False)]
        head = heads.pop() if whole and len(heads) == 1 else go_source.common_prefix([beginning.get((False,), ""), *firsts])
        beginning[has_system,] = head
        for last in (True, False):
            before_user[True, last, has_system] = between.before_user[True, last, has_system].removeprefix(head)
    return go_source.write(
        beginning=go_source.branches(beginning, (".System",), system=".System"),
        before_user=go_source.branches(before_user, _TURN_CONDITIONS),
        user_end=go_source.literal(user_end),
        before_assistant=go_source.branches(_without(user_end, between.before_assistant), ("$.System",)),
        assistant_end=go_source.literal(assistant_end),
        generation_prompt=go_source.branches(_without(user_end, between.generation_prompt), (".System",), system=".System"),
    )


def _without(prefix: str, gaps: dict[tuple[bool, ...], str]) -> dict[tuple[bool, ...], str]:
    return {key: gap.removeprefix(prefix) for key, gap in gaps.items()}


# -- what equality is not claimed for ----------------------------------------------------------------------------------------------------


def trimmed_roles(chat_template: ChatTemplate, takes_system: bool) -> tuple[str, ...]:
    """The roles whose texts lose outer white space in the tokenizer's template, anywhere in a conversation."""
    messages = _messages(3, takes_system)
    bare = chat_template.text(messages)
    roles = set()
    for number, message in enumerate(messages):
        marker = message["content"]
        padded = f" \n\t {marker} \n\t "
        text = chat_template.text([*messages[:number], message | {"content": padded}, *messages[number + 1 :]])
        before, _, after = bare.partition(marker)
        if text != before + padded + after and text.startswith(before) and text.endswith(after):
            if text[len(before) : len(text) - len(after)].strip() == marker:
                roles.add(message["role"])
    return tuple(role for role in ("system", "user", "assistant") if role in roles)


def _notes(source: str, chat_template: ChatTemplate, between: _Between, trimmed: Sequence[str]) -> tuple[str, ...]:
    notes = list(_NOTES_ALWAYS)
    if between.system_refusal:
        notes.append(f"The tokenizer's template refuses system messages ({between.system_refusal}); TEMPLATE leaves them out.")
    elif not between.takes_system:
        notes.append("The tokenizer's template leaves system messages out, and so does TEMPLATE.")
    if trimmed:
        roles = ", ".join(trimmed)
        notes.append(f"The tokenizer's template trims {roles} texts, Ollama's templates do not: equal for texts without outer white space.")
    for date in _dates_of_today():
        if date in source:
            notes.append(
                f"The tokenizer's template writes the day it is used; TEMPLATE writes {date!r}, the day of this export, on every day."
            )
    for name, messages in _beyond(between.takes_system):
        try:
            expected, refusal = chat_template.text_or_refusal(messages)
        except UserError:  # it does not begin with the BOS, so the runner's prompt differs whatever TEMPLATE says
            expected, refusal = None, ""
        if refusal:
            notes.append(f"The tokenizer's template refuses {name}, TEMPLATE writes it.")
        elif expected != "".join(evaluate(source, messages)):
            notes.append(f"Not equal to the tokenizer's template: {name}.")
    return tuple(notes)


def _beyond(takes_system: bool) -> list[tuple[str, list[dict]]]:
    """Conversations that Ollama may send and a TEMPLATE need not get right; where it does not, a note says so."""
    user, assistant, system = ({"role": role, "content": f"some {role} text"} for role in ("user", "assistant", "system"))
    thought = assistant | {"content": "<think>\nreasons\n</think>\n\nanswer"}
    cases = [
        ("a conversation that ends with the assistant", [user, assistant]),
        ("a conversation that begins with the assistant (Ollama cuts long ones at the front)", [assistant, user]),
        ("an earlier answer that still holds its <think> block", [user, thought, user]),
    ]
    return [*cases, ("a system message after the first turn", [user, assistant, system, user])] if takes_system else cases


def _dates_of_today() -> list[str]:
    formats = ("%d %b %Y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y", "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%A, %B %d")
    return [datetime.date.today().strftime(format) for format in formats]
