"""Small builders of data files and of their rows for the tests, and what is said of a file that is refused."""

from __future__ import annotations

import io
import json

import pyarrow
import pyarrow.parquet
import pytest

from unsloth_ft.data import Conversation, Message, load
from unsloth_ft.errors import UserError

GOOD = '{"question": "Who?", "answer": "Me."}'
KNOWN = "messages; conversations; instruction, output (input, system); prompt, completion; question, answer; text"
FORMATS = "JSON Lines or a JSON array (.jsonl, .json), CSV (.csv, .tsv), Parquet (.parquet), also with .gz or .zst"


def qa(question: str = "Who?", answer: str = "Me.") -> dict[str, str]:
    """A question/answer row."""
    return {"question": question, "answer": answer}


def row(question: str, answer: str = "x", line: int = 1, *, file: str = "faq.jsonl", system: str | None = None) -> Conversation:
    """A question and its answer as they are once they are read."""
    first = () if system is None else (Message("system", system),)
    return Conversation((*first, Message("user", question), Message("assistant", answer)), file, line)


def lines(*rows: object) -> bytes:
    """Rows as JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def chat(*turns: tuple[str, object]) -> bytes:
    """One line with a row of messages, each given as role and content."""
    return lines({"messages": [{"role": role, "content": content} for role, content in turns]})


def extra(value: bytes) -> bytes:
    """A good row with one more value, which nothing reads."""
    return b'{"question": "Who?", "answer": "Me.", "x": ' + value + b"}\n"


def parquet(rows: pyarrow.Table | dict[str, object], **options: object) -> bytes:
    """A table, or its columns, as a Parquet file."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(rows if isinstance(rows, pyarrow.Table) else pyarrow.table(rows), sink, **options)
    return sink.getvalue()


def flipped(data: bytes, position: int) -> bytes:
    """`data` with every bit of one byte changed."""
    damaged = bytearray(data)
    damaged[position] ^= 0xFF
    return bytes(damaged)


def refusal(path: object, **options: object) -> str:
    """What is said when the file is loaded, which must be refused."""
    with pytest.raises(UserError) as refused:
        load(path, **options)
    return str(refused.value)
