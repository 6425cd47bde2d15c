"""Conversations as rows in a file: tokenized once, kept for the next time, and read where they lie.

A file's name is what was asked for and the sha256 of what is in it, so a half-written or damaged one is noticed before it is read,
and two processes that make the same one at once make the same file. What is kept is removed by `rm -r` at any time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from unsloth_ft import cache, record
from unsloth_ft.chat import TOGETHER, Chat
from unsloth_ft.chat_row import Tokenized
from unsloth_ft.data import conversations_sha256
from unsloth_ft.data.conversation import Conversation
from unsloth_ft.data.whereabouts import Whereabouts
from unsloth_ft.errors import UserError
from unsloth_ft.token_rows import Rows, record_batch

if TYPE_CHECKING:
    import pyarrow

    Batches = Sequence[pyarrow.RecordBatch]

FORMAT = 1  # of the files: columns and their types
KEPT_FROM = 2_000  # rows; fewer are tokenized in half a second, which no file is worth
LARGEST_BYTES = 4 * 2**30  # of all kept files together: 7 million rows of 130 tokens
ABANDONED_SECONDS = 24 * 3600  # a temporary file this old has nobody who writes it
SHOWN_MISTAKES = 10
TOKENS_TOGETHER = 2**22  # of a batch, 16 MB, however few rows they are; its places are counted in 31 bits


@dataclass(frozen=True)
class Stored:
    """The rows of each part that was asked for, and the sha256 of its conversations. `warnings` say why they are not kept for the next time."""

    parts: tuple[Rows, ...]
    sha256: tuple[str, ...]
    warnings: tuple[str, ...]


def tokenized(parts: Sequence[Sequence[Conversation]], *, chat: Chat) -> Stored:
    """Every conversation as a row, part by part; from a file of an earlier time where there is one.

    Raises one UserError with the first ten mistakes of all parts and their total.
    """
    places = Whereabouts()
    sha256 = tuple(conversations_sha256(places.passing(part)) for part in parts)
    total = sum(map(len, parts))

    def write(stream: BinaryIO) -> None:
        _write(stream, _batches(chat.tokenize_all(chain.from_iterable(parts)), total))

    batches, warnings = (_in_memory(write), ()) if total < KEPT_FROM else _kept(key(" ".join(sha256), chat), write)
    rows = Rows(batches, places)
    borders = pairwise(accumulate(map(len, parts), initial=0))
    return Stored(tuple(rows[begin:end] for begin, end in borders), sha256, warnings)


def key(conversations: str, chat: Chat) -> str:
    """sha256 of all that decides the rows. `conversations`: sha256 of these, part by part."""
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("chat*.py")):  # a row of a time when something else was learned is another row
        code.update(file.read_bytes())
    asked = {"format": FORMAT, "conversations": conversations, "chat": chat.fingerprint(), "code": code.hexdigest()}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def folder() -> Path:
    """Where files are kept."""
    return cache.folder() / "tokens"


def _batches(found: Iterable[Tokenized | UserError], total: int) -> Iterator[pyarrow.RecordBatch]:
    """The rows, TOGETHER at a time, or fewer where they are long. Raises UserError when there were mistakes, of which all are counted."""
    rows: list[Tokenized] = []
    shown: list[str] = []
    mistakes = tokens = 0
    for one in found:
        if isinstance(one, UserError):
            mistakes += 1
            shown += [str(one)] if mistakes <= SHOWN_MISTAKES else []
        elif not mistakes:
            rows.append(one)
            tokens += len(one.ids)
        if len(rows) == TOGETHER or tokens > TOKENS_TOGETHER:
            yield record_batch(rows)
            rows.clear()
            tokens = 0
    if mistakes:
        said = f"\n{mistakes:,} of {total:,} rows can't be trained on" if mistakes > 1 else ""
        said += f"; the first {SHOWN_MISTAKES} are listed." if mistakes > SHOWN_MISTAKES else "." if said else ""
        raise UserError("\n".join(shown) + said)
    yield record_batch(rows)  # perhaps of no row: a file has a schema


def _write(stream: BinaryIO, batches: Iterator[pyarrow.RecordBatch]) -> None:
    import pyarrow

    first = next(batches)
    with pyarrow.ipc.new_file(stream, first.schema) as writer:
        for batch in chain([first], batches):
            writer.write_batch(batch)


def _in_memory(write: Callable[[BinaryIO], None]) -> Batches:
    import pyarrow

    stream = io.BytesIO()
    write(stream)
    return _read(pyarrow.py_buffer(stream.getbuffer()))


def _read(source: pyarrow.Buffer | pyarrow.MemoryMappedFile) -> Batches:
    import pyarrow

    reader = pyarrow.ipc.open_file(source)
    return [reader.get_batch(number) for number in range(reader.num_record_batches)]


def _kept(name: str, write: Callable[[BinaryIO], None]) -> tuple[Batches, tuple[str, ...]]:
    """The file of that name, made if there is no whole one. Where none can be, the rows stay in memory, and why is said."""
    import pyarrow

    try:
        file = _whole(name) or _made(name, write)
        return _read(pyarrow.memory_map(os.fspath(file))), ()
    except OSError as error:  # the folder can't be made or written, the disk is full, or another process removed the file just now
        return _in_memory(write), (cache.not_kept("tokenized rows are not kept for the next time", error),)


def _whole(name: str) -> Path | None:
    """The kept file, if it is what its name says; damaged ones are removed."""
    for file in sorted(folder().glob(f"{name}-*.arrow")):
        try:
            found = record.sha256(file)
        except FileNotFoundError:  # another process made room
            continue
        if found == file.stem.partition("-")[2]:
            with suppress(OSError):  # another user's; it is whole all the same
                os.utime(file)  # used last: removed last
            return file
        file.unlink(missing_ok=True)
    return None


def _made(name: str, write: Callable[[BinaryIO], None]) -> Path:
    """A new file, for the user alone. It isn't synced: what a power cut leaves of it doesn't match its name."""
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder(), suffix=".part")
    try:
        with open(descriptor, "wb") as stream:
            write(stream)
        file = folder() / f"{name}-{record.sha256(Path(temporary))}.arrow"
        os.replace(temporary, file)
    finally:
        Path(temporary).unlink(missing_ok=True)
    with suppress(OSError):  # the new file is there, whatever becomes of the old ones
        _make_room(file)
    return file


def _make_room(newest: Path) -> None:
    """Removes what was used longest ago, until the files come to LARGEST_BYTES, and what nobody will finish."""
    room = LARGEST_BYTES
    files = []
    for file in folder().iterdir():
        with suppress(FileNotFoundError):  # another process's, which has it no longer
            files.append((file.stat(), file))
    for status, file in sorted(files, key=lambda one: -one[0].st_mtime):
        room -= status.st_size
        abandoned = file.suffix == ".part" and status.st_mtime < time.time() - ABANDONED_SECONDS
        if file != newest and (abandoned or (file.suffix == ".arrow" and room < 0)):
            file.unlink(missing_ok=True)
