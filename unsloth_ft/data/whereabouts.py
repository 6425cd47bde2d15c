"""Where each of many rows is, in few bytes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from .conversation import Conversation
from .places import Place


class Whereabouts:
    """file and line of rows in their order, 12 bytes each."""

    def __init__(self) -> None:
        self._files: list[str] = []
        self._known: dict[str, int] = {}
        self._numbers, self._lines = array("I"), array("q")

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Place:
        return Place(self._files[self._numbers[index]], self._lines[index])

    def add(self, conversation: Conversation) -> None:
        """One more row."""
        file = conversation.file
        if file not in self._known:
            self._known[file] = len(self._files)
            self._files.append(file)
        self._numbers.append(self._known[file])
        self._lines.append(conversation.line)

    def passing(self, conversations: Iterable[Conversation]) -> Iterator[Conversation]:
        """The conversations as they come, their places noted."""
        for conversation in conversations:
            self.add(conversation)
            yield conversation

    def where(self, index: int) -> str:
        """As `Conversation.where`."""
        return f"{self._files[self._numbers[index]]}:{self._lines[index]}"
