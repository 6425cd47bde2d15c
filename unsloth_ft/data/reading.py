"""Files are read in parts, by this process or by several, and what the parts come to is put together in the files' order."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING

from ..errors import MachineError
from .across import Place
from .chunks import Cut, chunks, cuts, rest
from .conversation import Conversation
from .dataset import FileFacts
from .findings import Collector, Finding
from .index import Index
from .once import SaidOnce
from .part import LEARNED_ROWS, Part, Take, Work, learned, of_cut
from .paths import given_twice
from .rows import rows
from .sources import Source, records_at
from .survey import Survey
from .wording import printable

if TYPE_CHECKING:
    import numpy as np

ALONE_BYTES = 8 * 2**20  # up to this size one process is done before others have started
WAITING = 2  # parts a process that may wait for their turn: 1 MiB each, and what they came to


@dataclass
class Side:
    """What the rows of one side come to: those that are trained on, or those that are held out."""

    rows: int = 0
    shapes: dict[str, None] = field(default_factory=dict)
    files: list[FileFacts] = field(default_factory=list)
    survey: Survey = field(default_factory=Survey)
    index: Index = field(default_factory=Index)


class Reading:
    """Reads files, which are known by their numbers, one after the other."""

    def __init__(self, paths: Sequence[str], columns: Mapping[str, str], roles: Mapping[str, str], *, offline: bool, processes: int) -> None:
        self._paths = tuple(paths)
        self._columns = columns
        self._roles = roles
        self._offline = offline
        self._processes = processes
        self._common: np.ndarray | None = None
        self._sources = [Source(path, offline) for path in paths]

    def learn(self, numbers: Iterable[int]) -> None:
        """What a template's shingles are, from the first rows of these files: before any row is signed, so that all are signed alike."""
        self._common = learned(self._first_rows(number) for number in numbers)

    def _first_rows(self, number: int) -> Iterator[Conversation]:
        path = self._paths[number]
        records = self._sources[number].first(2 * LEARNED_ROWS)  # with mistakes, of which a file may have no end
        for item in rows(path, records, columns=self._columns, roles=self._roles, once=SaidOnce(path)):
            if not isinstance(item, Finding):
                yield item.conversation

    def read(self, numbers: Iterable[int], found: Collector, take: Take | None) -> Side:
        """The files of these numbers. What is said of them goes to `found`."""
        side = Side()
        numbers = tuple(numbers)
        twice = given_twice([self._paths[number] for number in numbers])
        for place, number in enumerate(numbers):
            path = self._paths[number]
            if place in twice:
                found.add(Finding(path, None, "error", "given-twice", twice[place]))
                continue
            work = Work(path, number, self._columns, self._roles, self._common)
            self._read(work, self._sources[number], side, found, take)
        return side

    def questions(self, places: Iterable[Place]) -> Mapping[Place, str]:
        """The questions of the rows at these places, read again: texts are not held."""
        wanted: dict[int, set[int]] = {}
        for number, line in places:
            wanted.setdefault(number, set()).add(line)
        found = {}
        for number, lines in wanted.items():
            path = self._paths[number]
            records = records_at(Source(path, self._offline), lines)
            for item in rows(path, records, columns=self._columns, roles=self._roles, once=SaidOnce(path)):
                if not isinstance(item, Finding):
                    found[number, item.conversation.line] = item.conversation.question
        return found

    def _read(self, work: Work, source: Source, side: Side, found: Collector, take: Take | None) -> None:
        once = SaidOnce(work.path)
        items = count = 0
        for part in self._parts(work, source, take):
            items += part.items
            count += part.rows
            side.survey.merge(part.survey)
            side.index.add(part.index)
            found.merge(part.found.findings())
            once.merge(part.once)
        if not items:
            found.add(source.no_rows())
        found.extend(once.findings())
        side.shapes |= dict.fromkeys(once.shapes)
        side.rows += count
        side.files.append(source.facts(count))

    def _parts(self, work: Work, source: Source, take: Take | None) -> Iterator[Part]:
        """The file's parts, each read once, in order."""
        whole = cuts(source.records(lines=chunks))
        shared = take is None and self._processes > 1 and source.size > ALONE_BYTES
        parts = _shared(work, whole, self._processes) if shared else ((cut, of_cut(work, cut, take)) for cut in whole)
        with closing(parts):
            for cut, part in parts:
                if part.unfinished:
                    yield from (of_cut(work, behind, take) for behind in cuts(source.records(lines=rest(cut))))
                    return
                yield part


def _shared(work: Work, whole: Iterator[Cut], processes: int) -> Iterator[tuple[Cut, Part]]:
    """Each cut with what it came to, in order. Raises MachineError when a process is killed."""
    # Spawned, not forked: the threads of Arrow and of a tokenizer don't survive a fork.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_leave_interrupts_to_the_parent)
    waiting: deque[tuple[Cut, Future[Part]]] = deque()
    try:
        for cut in whole:
            waiting.append((cut, pool.submit(of_cut, work, cut)))
            if len(waiting) > WAITING * processes:
                cut, future = waiting.popleft()
                yield cut, future.result()
        while waiting:
            cut, future = waiting.popleft()
            yield cut, future.result()
    except BrokenProcessPool:
        raise MachineError(f"{printable(work.path)}: a process that read it was killed. Is there too little memory?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
