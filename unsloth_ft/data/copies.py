"""New data files beside the old ones: a place that may be written, rows as lines, and files that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence

from ..disk import finite, sync
from ..errors import MachineError, UserError
from .conversation import Conversation, Message
from .paths import same_file
from .wording import printable, quote

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class NewFile:
    """A file under a temporary name until `keep`; it counts its lines and hashes its bytes while they are written."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines = 0
        # Chance, not the process's number, which in a container is 1 each time: what a kill left must not be in the way.
        self.temporary = os.path.join(os.path.dirname(path), f".unsloth-ft.{secrets.token_hex(8)}.part")
        self._digest = hashlib.sha256()
        try:
            self._file = open(self.temporary, "xb")  # noqa: SIM115  open until it is kept or dropped
        except OSError as error:
            raise self.refusal(error) from None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, line: bytes) -> None:
        """One line with its line break."""
        try:
            self._file.write(line)
        except OSError as error:
            raise self.refusal(error) from None
        self._digest.update(line)
        self.lines += 1

    def flush(self) -> None:
        """All lines are on the disk, still under the temporary name."""
        if self._file.closed:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise self.refusal(error) from None

    def rewrite(self, change: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        """The lines so far are replaced by what `change` makes of them, one by one."""
        self.flush()
        try:
            os.rename(self.temporary, self.temporary + ".before")
            self._file, self._digest, self.lines = open(self.temporary, "xb"), hashlib.sha256(), 0  # noqa: SIM115
        except OSError as error:
            raise self.refusal(error) from None
        try:
            with open(self.temporary + ".before", "rb") as before:
                for line in change(iter(before)):
                    self.write(line)
        finally:
            os.unlink(self.temporary + ".before")

    def keep(self) -> None:
        """The file gets its name. Raises: UserError when another process took the name in the meantime."""
        self.flush()
        try:
            _named(self.temporary, self.path)
        except FileExistsError:
            raise UserError(f"{printable(self.path)}: it appeared while this ran. Name another file.") from None
        except OSError as error:
            raise self.refusal(error) from None

    def drop(self) -> None:
        """Nothing is left, whether it was kept or not under way."""
        with contextlib.suppress(OSError):  # a full disk says so again when the last lines are to be written
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.temporary)

    def refusal(self, error: OSError) -> MachineError:
        return MachineError(f"{printable(self.path)}: could not be written: {error.strerror}. Nothing of it is left.")


@contextlib.contextmanager
def new_files(paths: Sequence[str]) -> Iterator[list[NewFile]]:
    """The files, kept together at the end, or none of them when anything is raised.

    Raises: MachineError when they can't be written, UserError when one appeared while they were written.
    """
    with contextlib.ExitStack() as undo:
        opened = []
        for path in paths:
            opened.append(NewFile(path))
            undo.callback(opened[-1].drop)
        yield opened
        for file in opened:
            file.flush()
        for file in opened:
            file.keep()
            undo.callback(os.unlink, file.path)
        try:  # the names too: else a power loss could take a file that was said to be there
            sync(os.path.dirname(paths[0]) or ".")
        except OSError as error:
            raise opened[0].refusal(error) from None
        undo.pop_all()


def _named(temporary: str, path: str) -> None:
    """Gives the file its name. Raises: FileExistsError where something has it, which is never replaced."""
    try:
        os.link(temporary, path)  # unlike a rename it never replaces what is there
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with open(path, "xb"):  # FAT, and shares that know no second names: the name is taken first
            pass
        try:
            os.replace(temporary, path)
        except OSError:
            os.unlink(path)
            raise
    else:
        os.unlink(temporary)


def refuse_target(path: str, inputs: Sequence[str], option: str) -> None:
    """Raises UserError where a new file can't be: over an input, whatever its name, over any other file, or in no folder."""
    if "\0" in path or not os.path.basename(path):
        raise UserError(f"{option} {quote(path)}: expected the name of a new file.")
    same = next((given for given in inputs if same_file(path, given)), None)
    if same is not None:
        way = "" if same == path else f" (as {printable(same)})"
        raise UserError(f"{option} {printable(path)}: this is an input{way}, which is never written over. Name a new file.")
    if os.path.lexists(path):
        raise UserError(f"{option} {printable(path)}: already there, and never written over. Name a new file, or remove that one.")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UserError(f"{option} {printable(path)}: there is no folder {quote(folder)}. Make it first.")


def as_line(row: dict[str, object]) -> bytes:
    """A row as one line of JSON, in UTF-8 and with its line break."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(finite(row), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, in a key that nobody reads
        return json.dumps(finite(row)).encode("ascii") + b"\n"


def as_row(conversation: Conversation) -> dict[str, object]:
    """A conversation as the row that is read as it: `messages` (or `text`), with tools, calls and weights where it has them."""
    if conversation.text is not None:
        return {"text": conversation.text}
    row: dict[str, object] = {"messages": [_as_object(message) for message in conversation.messages]}
    if conversation.tools is not None:
        row["tools"] = json.loads(conversation.tools)
    return row


def _as_object(message: Message) -> dict[str, object]:
    found: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls is not None:
        found["tool_calls"] = json.loads(message.tool_calls)
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if not message.learned:
        found["weight"] = 0
    return found
