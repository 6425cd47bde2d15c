"""What a data file is like as a whole: lengths, turns, scripts, languages, the style of its answers."""

from __future__ import annotations

from . import languages, sequence_length
from .conversation import Conversation
from .findings import Finding
from .histogram import RESOLUTION, Histogram
from .languages import Languages
from .places import LIKE_THE_OTHERS, Extreme, Extremes, Places, told
from .scripts import NONE, script
from .style import Style
from .wording import count

# An answer stands out where it is 20 times as long as the middle half of the answers, or a tenth as long, and further from it than three
# times the middle half is wide, in the logarithm (Tukey's far-out fence): words beside pages are a style, not a mistake.
_LONG, _SHORT, _FENCE = 20, 10, 3
_FEWEST = 50  # answers: with fewer, quartiles say little


class Survey:
    """Adds up conversations in memory that does not grow with their number.

    Chunks of a file are surveyed apart and merged in the file's order; how they were cut makes no difference.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.questions = Histogram()
        self.answers = Histogram()
        self.lengths = Histogram()
        self.messages = Histogram()
        self.tokens = Histogram()
        self.learned_tokens = Histogram()
        self.positions: int | None = None  # the model's max_position_embeddings, for who counts tokens to say
        self.roles: dict[str, int] = {}
        self.scripts: dict[str, Places] = {}
        self.longest = Extremes()
        self.shortest = Extremes(sign=-1)
        self.languages = Languages()
        self.style = Style()

    def add(self, conversation: Conversation) -> None:
        """Survey one row."""
        self.rows += 1
        if conversation.text is not None:
            self.lengths.add(len(conversation.text))
            return
        whole = 0
        roles = self.roles
        for message in conversation.messages:
            length = len(message.content)
            whole += length
            role = message.role
            roles[role] = roles.get(role, 0) + 1
            if role == "user":
                self.questions.add(length)
            elif role == "assistant" and length:  # beside tool calls there may be no text
                self._add_answer(message.content, conversation.file, conversation.line)
        self.lengths.add(whole)
        self.messages.add(len(conversation.messages))

    def _add_answer(self, answer: str, file: str, line: int) -> None:
        length = len(answer)
        self.answers.add(length)
        self.longest.add(length, file, line)
        self.shortest.add(length, file, line)
        name = script(answer)
        places = self.scripts.get(name)
        if places is None:
            places = self.scripts[name] = Places()
        places.add(file, line)
        self.languages.add(answer, file, line)
        self.style.add(answer, file, line)

    def add_tokens(self, tokens: int, learned: int) -> None:
        """Survey one row's tokens: all of them, and those that are learned."""
        self.tokens.add(tokens)
        self.learned_tokens.add(learned)

    def merge(self, other: Survey) -> None:
        """Add what was found in the rows that come after these."""
        self.rows += other.rows
        for mine, its in zip(self._histograms(), other._histograms(), strict=True):
            mine.merge(its)
        for role, number in other.roles.items():
            self.roles[role] = self.roles.get(role, 0) + number
        for name, places in other.scripts.items():
            self.scripts.setdefault(name, Places()).merge(places)
        self.longest.merge(other.longest)
        self.shortest.merge(other.shortest)
        self.languages.merge(other.languages)
        self.style.merge(other.style)

    def _histograms(self) -> tuple[Histogram, ...]:
        return self.questions, self.answers, self.lengths, self.messages, self.tokens, self.learned_tokens

    def findings(self) -> tuple[Finding, ...]:
        """Notes on what stands out: answers far longer or shorter than the others, in another script or language, in another style."""
        return (*self._lengths(), *self._scripts(), *languages.findings(self.languages), *self.style.findings())

    def _lengths(self) -> tuple[Finding, ...]:
        if self.answers.number < _FEWEST:
            return ()
        low, middle, high = (max(1, self.answers.percentile(percent)) for percent in (25, 50, 75))
        fence = (high / low) ** _FENCE
        most, least = high * max(_LONG, fence), low / max(_SHORT, fence)
        long = [row for row in self.longest.rows if row.length > most]
        short = [row for row in self.shortest.rows if row.length < least]
        found = []
        if long:
            number = max(len(long), self.answers.above(most))
            found.append(_outliers("long-answer", long, number, "longer", middle, "Cut them, or leave them"))
        if short:
            number = max(len(short), self.answers.below(least))
            found.append(_outliers("short-answer", short, number, "shorter", middle, "Fill them in, or leave them"))
        return tuple(found)

    def _scripts(self) -> tuple[Finding, ...]:
        lettered = {name: places for name, places in self.scripts.items() if name != NONE}
        number = sum(places.number for places in lettered.values())
        usual = max(lettered, key=lambda name: lettered[name].number, default="")
        if number < _FEWEST or len(lettered) < 2 or lettered[usual].number < LIKE_THE_OTHERS * number:
            return ()
        found = []
        for name, places in sorted(lettered.items()):
            if name != usual:
                message = f"{places.number:,} of {number:,} answers {'is' if places.number == 1 else 'are'} in the script {name}"
                message += f" ({told(places.first, places.number)}); expected"
                message += f" {usual}, as the others. Translate or remove them, or leave them."
                found.append(Finding(*places.first[0], "note", "script", message))
        return tuple(found)

    def recommended_max_seq_length(self) -> tuple[int | None, str]:
        """(tokens, why): the plan's rule; None where tokens are not counted."""
        if not self.tokens.number:
            return None, "tokens are not counted without a tokenizer; name a recipe or a model"
        return sequence_length.recommended(self.tokens.percentile(95), self.positions)

    def as_json(self) -> dict[str, object]:
        """Everything surveyed, as plain values; lengths in characters unless they are called tokens."""
        length, why = self.recommended_max_seq_length()
        return {
            "rows": self.rows,
            "resolution": RESOLUTION,
            "question_characters": self.questions.as_json(),
            "answer_characters": self.answers.as_json(),
            "row_characters": self.lengths.as_json(),
            "row_tokens": self.tokens.as_json(),
            "learned_tokens": self.learned_tokens.as_json(),
            "recommended_max_seq_length": {"value": length, "reason": why},
            "messages": self.messages.as_json(),
            "roles": dict(self.roles),
            "longest_answers": [row._asdict() for row in self.longest.rows],
            "shortest_answers": [row._asdict() for row in self.shortest.rows],
            "scripts": {name: places.number for name, places in sorted(self.scripts.items(), key=lambda item: -item[1].number)},
            "languages": self.languages.counts(),
            "style": self.style.as_json(),
        }


def _outliers(code: str, rows: list[Extreme], number: int, comparison: str, middle: int, way_out: str) -> Finding:
    lengths = f"{rows[0].length:,} characters" if number == 1 else f"{rows[0].length:,} to {rows[-1].length:,} characters"
    if number > len(rows):
        lengths = f"{rows[0].length:,} characters and {'fewer' if code == 'long-answer' else 'more'}"
    found = f"{count(number, 'answer')} {'is' if number == 1 else 'are'} far {comparison} than the others ({told(rows, number)}; {lengths})"
    message = f"{found}; expected about {middle:,} characters, the median of the answers. {way_out}."
    return Finding(rows[0].file, rows[0].line, "note", code, message)
