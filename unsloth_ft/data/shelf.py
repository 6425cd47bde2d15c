"""Many conversations without holding them: their text lies in a temporary file without a name, and each is made when it is asked for."""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import overload

from ..errors import MachineError
from .conversation import Conversation, Message
from .dataset import canonical
from .whereabouts import Whereabouts

HELD = 2_000  # conversations; as many are held as they are, a few megabytes


class Shelf(Sequence[Conversation]):
    """Conversations in the order they were appended; 20 bytes of memory each.

    Appending and looking raise MachineError when the disk is full: what was appended is written at any time until it is looked at.
    """

    def __init__(self) -> None:
        self._stream = tempfile.TemporaryFile()
        self._ends = array("q", [0])
        self._places = Whereabouts()
        self._chosen: array[int] | None = None

    def append(self, conversation: Conversation) -> None:
        """One more."""
        line = canonical(conversation).encode("utf-8")
        try:
            self._stream.write(line)
        except OSError as error:
            raise _no_room(error) from None
        self._places.add(conversation)
        self._ends.append(self._ends[-1] + len(line))

    def __len__(self) -> int:
        return len(self._places) if self._chosen is None else len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> Shelf: ...
    def __getitem__(self, index: int | slice) -> Conversation | Shelf:
        if isinstance(index, slice):
            return self.chosen(range(len(self))[index])
        at = range(len(self))[index]
        place = at if self._chosen is None else self._chosen[at]
        begin, end = self._ends[place], self._ends[place + 1]
        try:
            self._stream.flush()
            line = os.pread(self._stream.fileno(), end - begin, begin)
        except OSError as error:
            raise _no_room(error) from None
        return _conversation(line, *self._places[place])

    def chosen(self, places: Iterable[int]) -> Shelf:
        """The conversations at these places; nothing is copied, and no more are to be appended."""
        found = object.__new__(Shelf)
        found.__dict__.update(self.__dict__)
        found._chosen = array("q", places if self._chosen is None else (self._chosen[place] for place in places))
        return found


class Joined(Sequence[Conversation]):
    """Several sequences one behind the other; nothing is copied."""

    def __init__(self, *parts: Sequence[Conversation]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Conversation]:
        return chain.from_iterable(self._parts)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Conversation, ...]: ...
    def __getitem__(self, index: int | slice) -> Conversation | tuple[Conversation, ...]:
        if isinstance(index, slice):
            return tuple(self[at] for at in range(len(self))[index])
        at = range(len(self))[index]
        number = bisect_right(self._ends, at)
        return self._parts[number][at - self._ends[number]]  # counted from the part's end


class Collected:
    """Takes conversations as they are read: a few are held, many go on a shelf."""

    def __init__(self) -> None:
        self._held: list[Conversation] = []
        self._shelf: Shelf | None = None

    def take(self, conversation: Conversation) -> None:
        """One more."""
        if self._shelf is not None:
            self._shelf.append(conversation)
            return
        self._held.append(conversation)
        if len(self._held) > HELD:
            self._shelf = Shelf()
            for one in self._held:
                self._shelf.append(one)
            self._held.clear()

    def all(self) -> Sequence[Conversation]:
        """All of them, in order."""
        return tuple(self._held) if self._shelf is None else self._shelf


def chosen(conversations: Sequence[Conversation], places: Iterable[int]) -> Sequence[Conversation]:
    """The conversations at these places, without copying what lies on a shelf."""
    return conversations.chosen(places) if isinstance(conversations, Shelf) else tuple(conversations[place] for place in places)


def _no_room(error: OSError) -> MachineError:
    folder = tempfile.gettempdir()
    return MachineError(f"the rows don't fit into {folder}: {error.strerror}. Free some space, or set TMPDIR to another folder.")


def _conversation(line: bytes, file: str, number: int) -> Conversation:
    """What `dataset.canonical` wrote."""
    row = json.loads(line)
    if "text" in row:
        return Conversation((), file, number, text=row["text"])
    messages = tuple(Message(role, content, **dict(*more)) for role, content, *more in row["messages"])
    return Conversation(messages, file, number, tools=row.get("tools"))
