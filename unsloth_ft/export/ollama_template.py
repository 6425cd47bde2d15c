"""An Ollama TEMPLATE derived from a tokenizer's own chat template, and shown to write the same text before anyone uses it.

No family is looked up. Conversations of marker words are rendered with the tokenizer's template; what stands between the markers is the
template's text, and how it changes (first or last user message, with or without a system message) becomes `if`s of a Go template. Then
that Go template is evaluated on conversations full of quotes, braces, white space and other scripts, and compared with the tokenizer's.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from unsloth_ft.errors import UserError
from unsloth_ft.export import go_source
from unsloth_ft.export.chat_probe import Between, ChatTemplate, Render, probe, trimmed_roles
from unsloth_ft.export.go_template import evaluate

# Of a user message: it is the first, it is the last message, there is a system text.
_TURN_CONDITIONS = ("$first", "eq (len (slice $.Messages $i)) 1", "$.System")
_NOTES_ALWAYS = (
    "Tool calls, tool results and images are not part of this TEMPLATE. Where the GGUF's own chat template knows tools, newer Ollama"
    " versions prefer that one; OLLAMA_GO_TEMPLATE=1 makes them use TEMPLATE.",  # ollama's server/images.go, shouldPreferChatTemplate
    "An empty system message counts as none, and neighbouring messages of one role are joined by an empty line: Ollama does both.",
)
# 26 Jul 2024, the form that llama.cpp gives templates as `date_string` (common/chat.cpp).
_DATE = re.compile(r"\b\d{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4}\b")


@dataclass(frozen=True)
class GoTemplate:
    """The source of a TEMPLATE, and what its equality with the tokenizer's template is not claimed for.

    `takes_system`: a system message reaches the model. `trimmed`: the roles whose texts the tokenizer's template trims.
    """

    text: str
    takes_system: bool = True
    trimmed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def render_pieces(self, messages: Sequence[dict]) -> tuple[str, ...]:
        """What Ollama sends for these messages, piece by piece as the template writes it; joined, it is the prompt."""
        return evaluate(self.text, messages)


def derive_template(render: Render, *, bos_token: str | None, drop_bos: bool) -> GoTemplate:
    """The TEMPLATE that writes what `render` writes, for every conversation of `proof_conversations`.

    `drop_bos` is true when the GGUF says `add_bos_token`: the runner adds it, and TEMPLATE must not repeat it.

    Raises:
        UserError: the template refuses plain conversations, or no TEMPLATE of this form equals it; names the first conversation that
            differs and the place.
    """
    chat_template = ChatTemplate(render, bos_token, drop_bos)
    between = probe(chat_template)
    source = _source(between)
    check_template(source, chat_template)
    trimmed = trimmed_roles(chat_template)
    return GoTemplate(source, between.takes_system, trimmed, _notes(source, chat_template, between, trimmed))


def check_template(source: str, chat_template: ChatTemplate) -> None:
    """Compares TEMPLATE with the tokenizer's template on `proof_conversations`.

    Where the tokenizer's template trims a role's texts, theirs are compared without outer white space; where it refuses system messages,
    there are none.

    Raises:
        UserError: names the first conversation that differs, the place, and both texts there.
    """
    conversations = proof_conversations(trimmed=trimmed_roles(chat_template), with_system=not chat_template.system_refusal())
    for name, messages in conversations:
        expected, refusal = chat_template.text_or_refusal(messages)
        if expected is None:
            raise UserError(f"chat template: refuses the conversation '{name}' ({refusal}); no TEMPLATE can be shown equal to it.")
        found = "".join(evaluate(source, messages))
        if found != expected:
            place = _place(expected, found)
            raise UserError(f"TEMPLATE: conversation '{name}' differs from the tokenizer's chat template {place}.")


def _place(expected: str, found: str) -> str:
    at = len(os.path.commonprefix([expected, found]))
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


# -- from what stands between to Go ------------------------------------------------------------------------------------------------------


def _source(between: Between) -> str:
    """Divides what stands between two messages into the end of one and the beginning of the next; the sum is what counts."""
    after_user = [*between.before_assistant.values(), *between.generation_prompt.values()]
    user_end = go_source.common_prefix([*after_user, *between.user_ends])
    later = {key: gap for key, gap in between.before_user.items() if not key[0]}
    assistant_end = go_source.common_prefix([*later.values(), *between.assistant_ends])
    before_user = {key: gap.removeprefix(assistant_end) for key, gap in later.items()}
    beginning: dict[tuple[bool, ...], str] = {}
    for has_system in (False, True):
        firsts = [between.before_user[True, last, has_system] for last in (True, False)]
        laters = [before_user[False, last, has_system] for last in (True, False)]
        head = _head(firsts, laters, beginning.get((False,), ""))
        beginning[has_system,] = head
        for last, first in zip((True, False), firsts, strict=True):
            before_user[True, last, has_system] = first.removeprefix(head)
    return go_source.write(
        beginning=go_source.branches(beginning, (".System",), system=".System"),
        before_user=go_source.branches(before_user, _TURN_CONDITIONS),
        user_end=go_source.literal(user_end),
        before_assistant=go_source.branches(_without(user_end, between.before_assistant), ("$.System",)),
        assistant_end=go_source.literal(assistant_end),
        generation_prompt=go_source.branches(_without(user_end, between.generation_prompt), (".System",), system=".System"),
    )


def _head(firsts: Sequence[str], laters: Sequence[str], without_system: str) -> str:
    """What stands before the first message: all that a first user message has more than a later one, when that is one text."""
    heads = {first.removesuffix(later) if first.endswith(later) else None for first, later in zip(firsts, laters, strict=True)}
    head = heads.pop()
    return head if head is not None and not heads else go_source.common_prefix([without_system, *firsts])


def _without(prefix: str, gaps: dict[tuple[bool, ...], str]) -> dict[tuple[bool, ...], str]:
    return {key: gap.removeprefix(prefix) for key, gap in gaps.items()}


# -- what equality is not claimed for ----------------------------------------------------------------------------------------------------


def _notes(source: str, chat_template: ChatTemplate, between: Between, trimmed: Sequence[str]) -> tuple[str, ...]:
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
    for date in dict.fromkeys(_DATE.findall(source)):
        notes.append(
            f"TEMPLATE writes {date!r}, as the tokenizer's template does; llama.cpp's own engine on the template inside the GGUF file may "
            "write the day of the question there (its date_string), and newer Ollama uses that where the file's template knows tools."
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
    asks_to_think = user | {"content": "some user text /no_think"}
    cases = [
        ("a conversation that ends with the assistant", [user, assistant]),
        ("a conversation that begins with the assistant (Ollama cuts long ones at the front)", [assistant, user]),
        ("an earlier answer that still holds its <think> block", [user, thought, user]),
        ("an earlier answer without any text", [user, assistant | {"content": ""}, user]),
        ("a user text with /no_think", [asks_to_think, assistant, asks_to_think]),
    ]
    with_system = [
        ("a system message after the first turn", [user, assistant, system, user]),
        ("a system text with /no_think", [system | {"content": "some system text /no_think"}, user]),
    ]
    return [*cases, *with_system] if takes_system else cases


def _dates_of_today() -> list[str]:
    formats = ("%d %b %Y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y", "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%A, %B %d")
    return [datetime.date.today().strftime(format) for format in formats]
