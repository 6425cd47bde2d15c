"""What is wrong inside the texts of one row, though it can be read: characters nobody sees, secrets, and what should not be learned.

A row is looked at as a whole first, by tests that cost microseconds; only one that they point at is looked at text by text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import boilerplate, characters, control_tokens, personal, secrets
from .content import Problem
from .conversation import Conversation
from .findings import Finding

_LONG = 16  # characters: every secret but a PEM key has such a word, and so has an Italian codice fiscale

Check = Callable[[str, str], Iterator[Problem]]


def inspect(conversation: Conversation) -> Iterator[Finding]:
    """Everything found in the texts of one row, in their order; a clean row has nothing."""
    for problem in _problems(conversation):
        yield Finding(conversation.file, conversation.line, problem.severity, problem.code, problem.message)


def _problems(conversation: Conversation) -> Iterator[Problem]:
    if conversation.text is not None:
        for check in _pointed_at(conversation.text):
            if check is not control_tokens.control_tokens:  # a text that its author rendered is meant to hold them
                yield from check(conversation.text, '"text"')
        return
    whole = "\n".join([message.content for message in conversation.messages])
    checks, phrases = _pointed_at(whole), boilerplate.may_hold(whole)
    before = ""
    for place, message in enumerate(conversation.messages, start=1):
        text = message.content
        for check in checks:
            yield from check(text, f"message {place} ({message.role})")
        if message.tool_calls is not None:
            yield from _call_problems(message.tool_calls, f"a tool call of message {place}")
        if message.role == "assistant" and text:
            if phrases:
                yield from boilerplate.phrases(before, text, f"message {place} (assistant)")
            if "```" in text:
                yield from boilerplate.unclosed(before, text, f"message {place} (assistant)")
            if boilerplate.may_be_empty(before, text):
                yield from boilerplate.empty(before, text, f"message {place} (assistant)")
        before = text


def _call_problems(calls: str, name: str) -> Iterator[Problem]:
    """Secrets and personal data in the JSON of tool calls; its escapes and braces are no prose for the other checks."""
    for check in _pointed_at(calls):
        if check in (secrets.secrets, personal.personal_data):
            yield from check(calls, name)


def _pointed_at(whole: str) -> list[Check]:
    """The checks that may find something in a row whose texts are these."""
    checks: list[Check] = []
    if characters.may_hold(whole):
        checks.append(characters.strange_characters)
    long_words = " ".join([word for word in whole.split() if len(word) >= _LONG])
    if secrets.may_hold(whole, long_words):
        checks.append(secrets.secrets)
    if personal.may_hold(whole, long_words):
        checks.append(personal.personal_data)
    if ("<" in whole or "[" in whole) and any(mark in whole for mark in control_tokens.MARKS):
        checks.append(control_tokens.control_tokens)
    return checks
