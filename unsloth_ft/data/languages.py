"""The languages of the answers, told by py3langid on a sample that depends on the rows alone."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from .findings import Finding
from .places import KEPT, LIKE_THE_OTHERS, Place, told

_SAMPLE = 1000  # answers: what one answer in two hundred is in escapes with a chance of 0.7 %
_SHOWN = 200  # characters of an answer that are kept and looked at
_SHORTEST = 40  # letters; below, py3langid is wrong more often than once in a hundred (5 of 400 short English texts)
_SURE = 0.9  # its probability for what is counted
_CERTAIN = 0.99  # and for what is called an exception
_FEWEST = 30  # answers
_NO_LANGUAGE = "zxx"  # py3langid's class for code, numbers and markup (ISO 639)


class _Answer(NamedTuple):
    rank: int
    file: str
    line: int
    text: str


class Told(NamedTuple):
    """A language's ISO 639 code, py3langid's probability for it, and the answer's place."""

    language: str
    probability: float
    place: Place


class Languages:
    """The answers with the smallest hashes: the same sample however the rows are cut into chunks."""

    def __init__(self) -> None:
        self.sample: list[_Answer] = []
        self._limit = 1 << 32
        self._told: tuple[Told, ...] | None = None  # loading the model takes a second of CPU time

    def add(self, answer: str, file: str, line: int) -> None:
        """One more answer."""
        rank = crc32(answer[:_SHOWN].encode("utf-8", "surrogatepass"), line & 0xFFFFFFFF)
        if rank >= self._limit:
            return
        self._told = None
        self.sample.append(_Answer(rank, file, line, answer[:_SHOWN]))
        if len(self.sample) >= 2 * _SAMPLE:
            self._cut()

    def merge(self, other: Languages) -> None:
        """The answers of other rows."""
        self.sample += [answer for answer in other.sample if answer.rank < self._limit]
        self._told = None
        self._cut()

    def _cut(self) -> None:
        self.sample = heapq.nsmallest(_SAMPLE, self.sample)
        if len(self.sample) == _SAMPLE:
            self._limit = self.sample[-1].rank + 1

    def told(self) -> tuple[Told, ...]:
        """The language of each sampled answer that is told with some certainty, in the files' order; nothing for fewer than 30 answers."""
        if self._told is None:
            self._cut()
            long_enough = [answer for answer in self.sample if sum(map(str.isalpha, answer.text)) >= _SHORTEST]
            self._told = tuple(_tell(long_enough)) if len(long_enough) >= _FEWEST else ()
        return self._told

    def counts(self) -> dict[str, int]:
        """How many of the answers told are in each language, the most frequent first."""
        return dict(Counter(answer.language for answer in self.told()).most_common())


def _tell(answers: list[_Answer]) -> Iterator[Told]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    for answer in sorted(answers, key=lambda answer: (answer.file, answer.line)):
        language, probability = identifier.classify(answer.text)
        if language != _NO_LANGUAGE and probability >= _SURE:
            yield Told(language, float(probability), Place(answer.file, answer.line))


def findings(languages: Languages) -> tuple[Finding, ...]:
    """A note where nearly all answers are in one language, with the lines of the others."""
    told_languages, counts = languages.told(), languages.counts()
    if len(told_languages) < _FEWEST or len(counts) < 2:
        return ()
    usual, number = next(iter(counts.items()))
    others = [answer for answer in told_languages if answer.language != usual and answer.probability >= _CERTAIN]
    if not others or number < LIKE_THE_OTHERS * len(told_languages):
        return ()
    names = ", ".join(sorted({answer.language for answer in others}))
    shown = told([answer.place for answer in others[:KEPT]], len(others))
    message = (
        f"{len(others)} of {len(told_languages)} answers looked at seem to be in another language ({names}; {shown}); expected {usual}, as"
    )
    return (Finding(*others[0].place, "note", "language", f"{message} the others. Translate or remove them, or leave them."),)
