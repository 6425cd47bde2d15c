"""What a data file is like as a whole: lengths, turns, scripts, languages, the style of its answers."""

from __future__ import annotations

from .conversation import Conversation
from .findings import Finding
from .histogram import RESOLUTION, Histogram


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
        self.roles: dict[str, int] = {}

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
            if role == "assistant":
                self.answers.add(length)
            elif role == "user":
                self.questions.add(length)
        self.lengths.add(whole)
        self.messages.add(len(conversation.messages))

    def add_tokens(self, where: str, tokens: int, learned: int) -> None:
        """Survey one row's tokens: all of them, and those that are learned. `where` is its file:line."""
        self.tokens.add(tokens)
        self.learned_tokens.add(learned)

    def merge(self, other: Survey) -> None:
        """Add what was found in the rows that come after these."""
        self.rows += other.rows
        for name in ("questions", "answers", "lengths", "messages", "tokens", "learned_tokens"):
            getattr(self, name).merge(getattr(other, name))
        for role, number in other.roles.items():
            self.roles[role] = self.roles.get(role, 0) + number

    def findings(self) -> tuple[Finding, ...]:
        """What stands out in the file as a whole."""
        return ()

    def as_json(self) -> dict[str, object]:
        """Everything surveyed, as plain values."""
        return {
            "rows": self.rows,
            "resolution": RESOLUTION,
            "question_characters": self.questions.as_json(),
            "answer_characters": self.answers.as_json(),
            "row_characters": self.lengths.as_json(),
            "messages": self.messages.as_json(),
            "roles": dict(self.roles),
        }
