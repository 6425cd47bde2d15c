"""What one part of a file comes to: a piece of work for a process of its own, and a result that the next part's is added to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from .checks import normalise
from .chunks import Chunk, Cut
from .conversation import Conversation, said
from .dataset import canonical
from .findings import Collector, Finding
from .index import ROW_FIELDS, numbered, row_dtype
from .inspection import inspect
from .jsonfiles import Record, Unfinished, line_records
from .once import SaidOnce
from .rows import rows
from .survey import Survey

if TYPE_CHECKING:
    import numpy as np

Take = Callable[[Conversation], None]
SIGNED_AT_ONCE = 2000  # rows whose shingles are held
LEARNED_ROWS = 2000  # of each file, that show what is a template's
LEARNED_BYTES = 2**24  # of their words: eight bytes a word are held beside them


@dataclass(frozen=True)
class Work:
    """What is to be read: a file, its number among the files, and how its rows are to be understood; `common` are the shingles of a template."""

    path: str
    number: int
    columns: Mapping[str, str]
    roles: Mapping[str, str]
    common: np.ndarray | None = None


@dataclass
class Part:
    """What was found in some rows. `index` holds a record of `row_dtype` a row; `unfinished`: the file must be read on from here in one go."""

    items: int = 0
    rows: int = 0
    found: Collector = field(default_factory=Collector)
    survey: Survey = field(default_factory=Survey)
    once: SaidOnce = field(default_factory=lambda: SaidOnce(""))
    index: bytes = b""
    unfinished: bool = False


def of_cut(work: Work, cut: Cut, take: Take | None = None) -> Part:
    """A part of a file. From an unfinished one nothing is taken."""
    if not isinstance(cut, Chunk):
        return of_items(work, cut, take)
    if cut.raw is None:
        return Part(unfinished=True)
    held: list[Conversation] = []
    try:
        part = of_items(work, line_records(work.path, cut.lines(), part=not cut.last), held.append if take else None)
    except Unfinished:
        return Part(unfinished=True)
    for conversation in held if take else ():
        take(conversation)
    return part


def of_items(work: Work, items: Iterable[Record | Finding], take: Take | None = None) -> Part:
    """Records, or what was found in their place."""
    part = Part(once=SaidOnce(work.path))
    conversations: list[Conversation] = []
    for item in rows(work.path, _counted(items, part), columns=work.columns, roles=work.roles, once=part.once):
        if isinstance(item, Finding):
            part.found.add(item)
            continue
        conversations.append(item.conversation)
        part.survey.add(item.conversation)
        part.found.extend(inspect(item.conversation))
        if take is not None:
            take(item.conversation)
    part.rows = len(conversations)
    if conversations:
        part.index = _index(work, conversations)
    return part


def _counted(items: Iterable[Record | Finding], part: Part) -> Iterator[Record | Finding]:
    for item in items:
        part.items += 1
        yield item


def _index(work: Work, conversations: Sequence[Conversation]) -> bytes:
    """The rows' records."""
    import numpy as np

    index = np.empty(len(conversations), dtype=row_dtype())
    numbers = np.array([_numbers(conversation, work.number) for conversation in conversations], dtype=np.uint64)
    for place, name in enumerate(ROW_FIELDS):
        index[name] = numbers[:, place]
    index["signature"] = signed(conversations, work.common)
    return index.tobytes()


def learned(files: Iterable[Iterable[Conversation]]) -> np.ndarray | None:
    """The shingles of templates: those that the first rows of one file share. One rule for the check and for the split."""
    import numpy as np

    from . import signatures

    found = None
    for conversations in files:
        texts: list[bytes] = []
        size = 0
        for conversation in islice(conversations, LEARNED_ROWS):
            texts += signatures.parts(conversation)
            size += len(texts[-1]) + len(texts[-2])
            if size > LEARNED_BYTES:
                break
        if texts:
            new = signatures.common(signatures.shingles(texts))
            found = new if found is None else np.union1d(found, new)
    return found


def signed(conversations: Sequence[Conversation], common: np.ndarray | None) -> np.ndarray:
    """Signatures of what isn't a template's."""
    import numpy as np

    from . import signatures

    found = signatures.shingles([part for conversation in conversations for part in signatures.parts(conversation)])
    found = found if common is None else signatures.without(found, common)
    salts = np.array([salt for conversation in conversations for salt in (0, _system_hash(conversation))], dtype=np.uint64)
    return signatures.signatures(signatures.salted(found, salts))


def _system_hash(conversation: Conversation) -> int:
    """Of the system prompt, 0 without one. Answers under different ones are never alike: who plays two roles says some things in both."""
    system = _system(conversation)
    return _hash(system) if system else 0


def _system(conversation: Conversation) -> str:
    return next((message.content for message in conversation.messages if message.role == "system"), "")


def signed_all(conversations: Sequence[Conversation]) -> np.ndarray:
    """Signatures of rows that are held, a part at a time; the rows of a file stand together."""
    import numpy as np

    from .signatures import PERMUTATIONS

    found = [np.zeros((0, 2 * PERMUTATIONS), dtype=np.uint16)]
    common = learned(map(conversations.__getitem__, _first_rows(conversations)))
    found += (signed(conversations[start : start + SIGNED_AT_ONCE], common) for start in range(0, len(conversations), SIGNED_AT_ONCE))
    return np.concatenate(found)


def _first_rows(conversations: Sequence[Conversation]) -> Iterator[slice]:
    """Of each file, without a look at its other rows."""
    start = 0
    while start < len(conversations):
        file = conversations[start].file
        behind = range(start, len(conversations))
        end = start + bisect_left(behind, True, key=lambda place: conversations[place].file != file)  # noqa: B023  called here
        yield slice(start, min(end, start + LEARNED_ROWS))
        start = end


def _numbers(conversation: Conversation, file: int) -> tuple[int, ...]:
    question = normalise(conversation.question)
    asked = answer = 0  # rendered text has no answer that could contradict another
    if conversation.text is None:
        given = (_system(conversation), question, conversation.tools or "", *(one.content for one in conversation.messages if one.role == "tool"))
        asked = _hash("\0".join(given))
        answer = _hash(next((said(message) for message in reversed(conversation.messages) if message.role == "assistant"), "").strip())
    return numbered(file, conversation.line), _hash(_same(conversation)), asked, answer, _hash(question)


def _hash(text: str) -> int:
    """64 bits: among a million rows two different ones agree once in 40 million files."""
    from xxhash import xxh3_64_intdigest

    return xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def _same(conversation: Conversation) -> str:
    """A text that two conversations share exactly when `canonical` is the same. No message holds a NUL, so that the plain ones need no JSON."""
    if conversation.text is not None or conversation.tools is not None:
        return canonical(conversation)
    parts: list[str] = []
    for message in conversation.messages:
        if message.tool_calls is not None or message.tool_call_id is not None or not message.learned:
            return canonical(conversation)
        parts += (message.role, message.content)
    return "\0".join(parts)
