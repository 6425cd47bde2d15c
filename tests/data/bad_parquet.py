"""Bad Parquet, beyond that in bad_tables: name, file name, content, the whole message."""

from __future__ import annotations

import datetime
from functools import partial

import pyarrow

from tests.data.building import FORMATS, KNOWN, flipped, parquet

table = partial(parquet, compression="zstd")
PARQUET = table({"question": ["Who?"] * 50, "answer": [f"Me, {number}." for number in range(50)]})
LATIN = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\x04\0\0\0"), pyarrow.py_buffer(b"caf\xe9")])
TWICE = pyarrow.Table.from_arrays([pyarrow.array([text]) for text in "abc"], ["question", "answer", "answer"])
BOMB = "x" * 2**26

BAD_PARQUET: list[tuple[str, str, bytes, str]] = [
    (
        "parquet of magic alone",
        "faq.parquet",
        b"PAR1",
        "faq.parquet: the Parquet data is damaged at its beginning or end. Copy the file again.",
    ),
    (
        "parquet of magic twice",
        "faq.parquet",
        b"PAR1PAR1",
        "faq.parquet: the Parquet data is damaged at its beginning or end. Copy the file again.",
    ),
    (
        "parquet cut by its last byte",
        "faq.parquet",
        PARQUET[:-1],
        "faq.parquet: the Parquet data is damaged at its beginning or end. Copy the file again.",
    ),
    (
        "parquet cut in the middle",
        "faq.parquet",
        PARQUET[: len(PARQUET) // 2],
        "faq.parquet: the Parquet data is damaged at its beginning or end. Copy the file again.",
    ),
    (
        "parquet without its beginning",
        "faq.parquet",
        PARQUET[100:],
        "faq.parquet: the name ends in .parquet, but the content is not Parquet. Rename it, or copy it again.",
    ),
    (
        "parquet with a footer length of two gigabytes",
        "faq.parquet",
        PARQUET[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
        "faq.parquet: the Parquet data is damaged at its beginning or end. Copy the file again.",
    ),
    (
        "parquet with a footer length of zero",
        "faq.parquet",
        PARQUET[:-8] + bytes(4) + b"PAR1",
        "faq.parquet: the Parquet data is damaged at its beginning or end. Copy the file again.",
    ),
    (
        "parquet with a damaged footer",
        "faq.parquet",
        flipped(PARQUET, len(PARQUET) - 200),
        "faq.parquet: the Parquet data is damaged at its beginning or end. Copy the file again.",
    ),
    (
        "parquet with a damaged page",
        "faq.parquet",
        PARQUET[:8] + bytes(b ^ 0x5A for b in PARQUET[8:200]) + PARQUET[200:],
        "faq.parquet: the Parquet data is damaged at its beginning or end. Copy the file again.",
    ),
    (
        "parquet encrypted",
        "faq.parquet",
        b"PARE" + bytes(60) + b"PARE",
        f"faq.parquet: this is an encrypted Parquet file; expected {FORMATS}. Save it without encryption.",
    ),
    (
        "parquet of no rows",
        "faq.parquet",
        table({"question": pyarrow.array([], pyarrow.string()), "answer": pyarrow.array([], pyarrow.string())}),
        "faq.parquet: the file holds no rows; expected at least one.",
    ),
    ("parquet of no columns", "faq.parquet", table({}), "faq.parquet: the file holds no rows; expected at least one."),
    (
        "parquet of dates alone",
        "faq.parquet",
        table({"at": [datetime.date(2026, 1, 1)]}),
        f"faq.parquet:1: the row has no keys; known shapes: {KNOWN}.",
    ),
    (
        "parquet with a date as answer",
        "faq.parquet",
        table({"question": ["Who?"], "answer": [datetime.date(2026, 1, 1)]}),
        'faq.parquet:1: "answer" is missing; the row has "question". Add it, or pass --set data.columns.answer=NAME.',
    ),
    (
        "parquet with bytes as answer",
        "faq.parquet",
        table({"question": ["Who?"], "answer": [b"Me."]}),
        'faq.parquet:1: "answer" is of type bytes; expected text. Write it as one text.',
    ),
    (
        "parquet with numbers as answers",
        "faq.parquet",
        table({"question": ["a", "b"], "answer": [1.5, float("nan")]}),
        (
            'faq.parquet:1: "answer" is the number 1.5; expected text. Put it in quotes.\n'
            'faq.parquet:2: "answer" is the number nan; expected text. Put it in quotes.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "parquet with a decimal as answer",
        "faq.parquet",
        table({"question": ["a"], "answer": pyarrow.array([1], pyarrow.decimal128(5, 2))}),
        'faq.parquet:1: "answer" is of type Decimal; expected text. Write it as one text.',
    ),
    (
        "parquet with a null answer",
        "faq.parquet",
        table({"question": ["a", "b"], "answer": ["c", None]}),
        'faq.parquet:2: "answer" is null; expected text. Fill it in, or remove the row.',
    ),
    (
        "parquet with null columns",
        "faq.parquet",
        table({"question": pyarrow.nulls(1), "answer": pyarrow.nulls(1)}),
        (
            'faq.parquet:1: "question" is null; expected text. Fill it in, or remove the row.\n'
            'faq.parquet:1: "answer" is null; expected text. Fill it in, or remove the row.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "parquet with a list as answer",
        "faq.parquet",
        table({"question": ["a"], "answer": [["b"]]}),
        'faq.parquet:1: "answer" is an array that holds the text "b"; expected text. Write it as one text.',
    ),
    (
        "parquet with a struct as answer",
        "faq.parquet",
        table({"question": ["a"], "answer": [{"text": "b"}]}),
        'faq.parquet:1: "answer" is an object; expected text. Write it as one text.',
    ),
    (
        "parquet with a map as answer",
        "faq.parquet",
        table({"question": ["a"], "answer": pyarrow.array([[("k", "v")]], pyarrow.map_(pyarrow.string(), pyarrow.string()))}),
        'faq.parquet:1: "answer" is an array that holds an array; expected text. Write it as one text.',
    ),
    (
        "parquet with text that is not UTF-8",
        "faq.parquet",
        table({"question": ["a"], "answer": LATIN}),
        "faq.parquet:1: a text in these rows is not UTF-8. Write the file again.",
    ),
    (
        "parquet with two columns of one name",
        "faq.parquet",
        table(TWICE),
        'faq.parquet: the table has the column "answer" twice. Rename one of them.',
    ),
    (
        "parquet bomb of one text",
        "faq.parquet",
        table({"question": ["a"], "answer": [BOMB]}),
        ("faq.parquet: it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."),
    ),
    (
        "parquet of unknown columns",
        "faq.parquet",
        table({"left": ["a"], "right": ["b"]}),
        (
            'faq.parquet:1: no known shape in the keys "left" and "right"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "parquet with nested conversations",
        "faq.parquet",
        table({"messages": [[[{"role": "user", "content": "a"}]]]}),
        "faq.parquet:1: message 1 is an array; expected an object with role and content.",
    ),
    (
        "parquet with an empty list of messages",
        "faq.parquet",
        table(
            {"messages": pyarrow.array([[]], pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])))}
        ),
        "faq.parquet:1: \"messages\" is an empty array; expected a user's and an assistant's message.",
    ),
]
