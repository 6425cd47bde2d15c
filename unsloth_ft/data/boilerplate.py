"""Answers that teach nothing, or what nobody wants: the question again, another model's phrases, refusals, places left to fill in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .content import Problem
from .wording import quote

# What chat models of others say of themselves; learned from their output, a model says it of itself.
_OF_ITSELF = re.compile(
    r"As an? (?:AI|artificial intelligence)(?: (?:language model|model|assistant|chatbot))?"
    r"(?: (?:developed|created|trained) by \w+)?,? (?:I|my)\b"
    r"|As a (?:large )?language model\b[^.\n]{0,40}?, (?:I|my)\b"
    r"|As of my (?:last|latest|most recent) (?:knowledge|training) (?:update|cut-?off)\b|My (?:knowledge|training) cut-?off\b"
    r"|I(?: am|['’]m) (?:just |only )?an AI (?:language )?model\b"
    r"|Als (?:ein |eine )?(?:KI|künstliche Intelligenz)\b[^.\n]{0,40}? (?:kann|habe|bin|darf) ich\b"
    r"|En tant (?:que modèle de langage|qu['’](?:IA|intelligence artificielle|assistant IA))\b"
    r"|Como (?:un |um )?modelo de (?:lenguaje|linguagem)\b|Como (?:una |uma )?(?:IA|inteligencia artificial|inteligência artificial),",
    re.IGNORECASE,
)
_SENTENCE_BEGINS = re.compile(r"(?:\A|[.!?:,;\n\"“(—–-]|\bbut|\bsorry|\bthat)\s*\Z", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\A(?:I(?:['’]m| am) (?:really |very |so )?sorry|Sorry|I apologi[sz]e|My apologies)?[,.]? ?(?:but )?"
    r"I (?:can(?:not|['’]t)|am unable to|am not able to|won['’]t|will not) (?:be able to )?"
    r"(?:assist|help|comply|fulfill?|provide assistance)(?: you)?(?: with)? (?:that|this|the|your)\b",
    re.IGNORECASE,
)
_TO_FILL_IN = re.compile(
    r"[\[<{](?:please )?insert "
    r"(?:(?:your|the|an?|company|customer|product|first|last|full|current|relevant|appropriate|specific)\b[^\]>}\n]{0,60}"
    r"|[^\]>}\n]{0,60}\bhere|name|date|link|url|number|address|topic|text|image|title|e-?mail)[\]>}](?!\()",
    re.IGNORECASE,
)
_LOREM = "lorem ipsum dolor"
_ASKED_FOR_IT = re.compile(r"lorem|place ?holder|filler|dummy|sample text|blindtext|template|mock", re.IGNORECASE)
_NOTHING = re.compile(
    r"\A\W*(?:n/?a|tbd|todo|t\.b\.d\.|\.+|…|-+|–|—|\?{2,}|x{3,}|asdf\w*|qwerty|foo|bar|blah(?: blah)*|lorem ipsum|test test)\W*\Z",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^ {0,3}```", re.MULTILINE)  # CommonMark 0.31, section 4.5
_LONGEST_NOTHING = 20  # characters
_DIFFERENCE = 4  # characters of punctuation and space that an answer and the question that it repeats may differ in
_SHORTEST_REPEAT = 12  # characters: "Hello!" is a fair answer to "Hello!"
# One of them, in small letters, is in every text that the patterns above find.
_MARKS = (
    "as an a", "an ai ", "language model", "as of my", "my knowledge cut", "my training cut", "als ki", "als ein ki", "als eine ki",
    "künstliche in", "en tant qu", "como ", "insert ", "lorem", "i can", "i won", "i will", "i am ",
)  # fmt: skip


def may_hold(whole: str) -> bool:
    """Whether a row's texts, joined, are worth a search for phrases."""
    small = whole.lower()
    for mark in _MARKS:  # a loop: half the time of any()
        if mark in small:
            return True
    return False


def may_be_empty(question: str, answer: str) -> bool:
    """Whether an answer is worth a look at what it says at all."""
    return len(answer) < _LONGEST_NOTHING or abs(len(question) - len(answer)) < _DIFFERENCE


def phrases(question: str, answer: str, name: str) -> Iterator[Problem]:
    """What is wrong with an answer by its words; `question` is the message before it, `name` what messages call the answer."""
    found = _OF_ITSELF.search(answer)
    if found is not None and _SENTENCE_BEGINS.search(answer[max(0, found.start() - 8) : found.start()]):
        said = quote(found[0].strip(), limit=50)
        message = f"{name} says {said} of itself, as other chat models do; expected an answer. Rewrite it, or remove the row."
        yield Problem("ai-boilerplate", message, "warning")
    elif _REFUSAL.search(answer):
        message = (
            f"{name} is a refusal, {quote(answer, limit=50)}; expected an answer. Remove the row, unless the model should refuse this."
        )
        yield Problem("refusal", message, "note")
    found = _TO_FILL_IN.search(answer)
    if found is not None:
        yield _unfilled(name, quote(found[0], limit=50))
    elif _LOREM in answer.casefold() and not _ASKED_FOR_IT.search(question):
        yield _unfilled(name, '"Lorem ipsum"')


def empty(question: str, answer: str, name: str) -> Iterator[Problem]:
    """An answer without content, or one that is the question again."""
    if len(answer) < _LONGEST_NOTHING and _NOTHING.search(answer):
        message = f"{name} is only {quote(answer)}; expected an answer. Write one, or remove the row."
        yield Problem("placeholder", message, "warning")
    elif abs(len(question) - len(answer)) < _DIFFERENCE and len(answer) >= _SHORTEST_REPEAT and _bare(question) == _bare(answer):
        yield Problem("repeats-question", f"{name} only repeats the question; expected an answer. Write one, or remove the row.", "warning")


def unclosed(question: str, answer: str, name: str) -> Iterator[Problem]:
    """A code block that ends with the answer: as a rule the answer was cut off. One that the question opened the answer may close."""
    if len(_FENCE.findall(answer)) % 2 and not len(_FENCE.findall(question)) % 2:
        message = f"{name} opens a code block and doesn't close it; expected ``` after it. Close it, or write the whole answer."
        yield Problem("unclosed-code", message, "warning")


def _bare(text: str) -> str:
    return text.casefold().strip(" \t\n.?!:;\"'“”„»«")


def _unfilled(name: str, shown: str) -> Problem:
    return Problem("placeholder", f"{name} holds the placeholder {shown}; expected it filled in. Fill it in, or remove the row.", "warning")
