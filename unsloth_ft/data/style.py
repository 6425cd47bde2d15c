"""How answers are written: whether they end with punctuation, begin with a capital, carry white space at their ends, use Markdown."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from .findings import Finding
from .places import LIKE_THE_OTHERS, Place, Places, told

_ENDS = frozenset(".!?…:。！？।॥؟۔。｡")
_CLOSERS = "\"'”’»«“)]*_`」』） "
_FEWEST = 50  # answers: one in fewer is no exception but a twentieth

# What a habit is called when the answers have it, and when they haven't. Markdown, lists and code depend on the question: told, not found.
_HABITS = MappingProxyType(
    {
        "punctuation": ("end with punctuation", "end without punctuation"),
        "capital": ("begin with a capital letter", "begin with a small letter"),
        "white_space": ("begin or end with white space", "begin and end without white space"),
        "markdown": ("use Markdown", "use no Markdown"),
        "list": ("hold a list", "hold no list"),
        "code": ("hold a code block", "hold no code block"),
    }
)
_FINDINGS = ("punctuation", "capital", "white_space")


class Habit(NamedTuple):
    """How many answers have a habit, of `number` that it can be said of, and the first lines of the rarer ones."""

    name: str
    words: str
    having: int
    number: int
    rare_words: str
    rare_lines: tuple[Place, ...]


class Style:
    """Counts of answers that have a habit and that haven't, with the first lines of both; merged in the files' order."""

    def __init__(self) -> None:
        self.habits = {name: (Places(), Places()) for name in _HABITS}

    def add(self, answer: str, file: str, line: int) -> None:
        """One more answer, not empty."""
        bare = answer.strip()
        listed = "\n- " in answer or "\n* " in answer or "\n1. " in answer or bare[:2] in ("- ", "* ")
        found = {
            "punctuation": _punctuated(bare),
            "capital": _capitalised(bare),
            "white_space": bare != answer,
            "markdown": listed or "**" in answer or "```" in answer or "\n#" in answer or bare[:1] == "#",
            "list": listed,
            "code": "```" in answer,
        }
        for name, has in found.items():
            if has is not None:
                self.habits[name][0 if has else 1].add(file, line)

    def merge(self, other: Style) -> None:
        """The answers that come after these."""
        for name, (having, lacking) in self.habits.items():
            having.merge(other.habits[name][0])
            lacking.merge(other.habits[name][1])

    def findings(self) -> tuple[Finding, ...]:
        """A note for each habit that nearly all answers share, with the lines of the others."""
        found = []
        for name in _FINDINGS:
            having, lacking = self.habits[name]
            usual, rare = (having, lacking) if having.number >= lacking.number else (lacking, having)
            number = usual.number + rare.number
            if number < _FEWEST or not rare.number or usual.number < LIKE_THE_OTHERS * number:
                continue
            others, these = _HABITS[name] if usual is having else _HABITS[name][::-1]
            message = (
                f"{rare.number:,} of {number:,} answers {these} ({told(rare.first, rare.number)}); expected that they {others}, as the"
            )
            found.append(Finding(*rare.first[0], "note", "answer-style", f"{message} others do. Write them alike, or leave them."))
        return tuple(found)

    def summary(self) -> tuple[Habit, ...]:
        """Every habit in numbers."""
        return tuple(_habit(name, *places) for name, places in self.habits.items())

    def as_json(self) -> dict[str, dict[str, object]]:
        """Of each habit: how many answers have it, of how many that it can be said of, and the rarer ones' first lines."""
        return {
            habit.name: {
                "answers": habit.having,
                "of": habit.number,
                "rare": habit.rare_words,
                "rare_lines": [f"{file}:{line}" for file, line in habit.rare_lines],
            }
            for habit in self.summary()
        }


def _habit(name: str, having: Places, lacking: Places) -> Habit:
    words, without = _HABITS[name]
    rare, rare_words = (lacking, without) if having.number >= lacking.number else (having, words)
    return Habit(name, words, having.number, having.number + lacking.number, rare_words, tuple(rare.first))


def _punctuated(bare: str) -> bool | None:
    """Whether prose ends as a sentence does; None where an end is something else: code, a list's line, a number, an emoji, few words."""
    if bare.count(" ") < 3 and bare.isascii():
        return None
    last = bare.rstrip(_CLOSERS)[-1:]
    if last in _ENDS:
        return True
    last_line = bare[bare.rfind("\n") + 1 :]
    return False if last.isalpha() and len(last_line) == len(bare) and bare[-1:].isalpha() else None


def _capitalised(bare: str) -> bool | None:
    """Whether prose begins with a capital; None where it begins with no letter that has one, or with a name like iPhone or num_ctx."""
    first = bare[:1]
    if first.isupper():
        return True
    word = bare[:40].partition(" ")[0]
    return False if first.islower() and bare.count(" ") >= 3 and word.isalpha() and word.islower() else None
