"""Bad CSV and Parquet: name, file name, content, the whole message."""

from __future__ import annotations

import datetime
import gzip
import io

import pyarrow
import pyarrow.parquet

from tests.data.building import FORMATS, GOOD, KNOWN, flipped

HEAD = b"question,answer\n"


def table(columns: dict[str, object]) -> bytes:
    """A Parquet file."""
    return written(pyarrow.table(columns))


def written(rows: pyarrow.Table) -> bytes:
    """A table as a Parquet file."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


PARQUET = table({"question": ["Who?"] * 50, "answer": [f"Me, {number}." for number in range(50)]})
LATIN = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\x04\0\0\0"), pyarrow.py_buffer(b"caf\xe9")])
TWICE = pyarrow.Table.from_arrays([pyarrow.array([text]) for text in "abc"], ["question", "answer", "answer"])
BOMB = "x" * 2**26

BAD_COLUMNS: list[tuple[str, str, bytes, str]] = [
    ("csv of nothing but line breaks", "faq.csv", b"\n\r\n\n", "faq.csv: the file holds no rows; expected at least one."),
    (
        "csv ragged late",
        "faq.csv",
        HEAD + b"a,b\n" * 3 + b"c\n" + b"d,e,f\n",
        (
            'faq.csv:4: 1 cell under a header of 2 ("question" and "answer"). Quote cells that hold the delimiter.\n'
            'faq.csv:5: 3 cells under a header of 2 ("question" and "answer"). Quote cells that hold the delimiter.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "csv with a header of one column",
        "faq.csv",
        b"question\nWho?\n",
        'faq.csv:1: "answer" is missing; the row has "question". Add it, or pass --set data.columns.answer=NAME.',
    ),
    (
        "csv with a header that ends in a comma",
        "faq.csv",
        b"question,answer,\na,b\n",
        "faq.csv: the header's column 3 has no name. Name it, or remove the column.",
    ),
    (
        "csv with a header quote left open",
        "faq.csv",
        b'"question,answer\na,b\n',
        "faq.csv:1: a quoted cell is never closed. Close its quote; a quote inside a quoted cell is written twice.",
    ),
    (
        "csv with the same header twice but for spaces",
        "faq.csv",
        b"question, question ,answer\na,b,c\n",
        'faq.csv: the header has "question" twice. Rename one of them.',
    ),
    (
        "csv with its header repeated as a row",
        "faq.csv",
        HEAD + b"a,b\n" + b"question,answer\n",
        "faq.csv:2: the row is the header once more, as joined files have it. Remove it.",
    ),
    (
        "csv with NUL in a cell",
        "faq.csv",
        HEAD + b"a,b\0c\n",
        "faq.csv: line 2: a NUL byte at byte 19 of the file. Remove it: tr -d '\\000' < faq.csv > faq.clean.csv",
    ),
    (
        "csv padded with NUL",
        "faq.csv",
        HEAD + b"a,b\n" + b"\0" * 100,
        (
            "faq.csv: line 3: 100 NUL bytes from byte 20 of the file, as an interrupted copy leaves them. Remove it: tr -d "
            "'\\000' < faq.csv > faq.clean.csv"
        ),
    ),
    (
        "csv with a pipe between cells",
        "faq.csv",
        b"question|answer\na|b\n",
        (
            'faq.csv: the header is one column, "question|answer"; expected commas between its columns. Write it again with '
            "commas, and quotes around cells that hold one."
        ),
    ),
    (
        "csv with carets between cells",
        "faq.csv",
        b"question^answer\na^b\n",
        (
            'faq.csv: the header is one column, "question^answer"; expected commas between its columns. Write it again with '
            "commas, and quotes around cells that hold one."
        ),
    ),
    (
        "csv with a comma in a semicolon header",
        "faq.csv",
        b"question;answer, short\na;b\n",
        'faq.csv:1: 1 cell under a header of 2 ("question;answer" and "short"). Quote cells that hold the delimiter.',
    ),
    (
        "csv with single quotes around cells",
        "faq.csv",
        HEAD + b"'Who, me?','You, too.'\n",
        'faq.csv:1: 4 cells under a header of 2 ("question" and "answer"). Quote cells that hold the delimiter.',
    ),
    (
        "csv with a backslash before a quote",
        "faq.csv",
        HEAD + b'"a \\"b\\" c",d\n',
        "faq.csv:1: text after a closing quote. A quote inside a quoted cell is written twice.",
    ),
    (
        "csv with a space before a quoted cell with a comma",
        "faq.csv",
        HEAD + b'a, "b, c"\n',
        'faq.csv:1: 3 cells under a header of 2 ("question" and "answer"). Quote cells that hold the delimiter.',
    ),
    (
        "csv with an empty question",
        "faq.csv",
        HEAD + b",b\n",
        'faq.csv:1: "question" is empty; expected text. Fill it in, or remove the row.',
    ),
    (
        "csv with a blank answer",
        "faq.csv",
        HEAD + b'a,"  "\n',
        'faq.csv:1: "answer" is only white space; expected text. Fill it in, or remove the row.',
    ),
    (
        "csv with None as answer",
        "faq.csv",
        HEAD + b"a,None\n",
        'faq.csv:1: "answer" is "None", as Python writes a missing value. Leave it out, or write what is meant.',
    ),
    (
        "csv with the quote of its last cell left open",
        "faq.csv",
        HEAD + b'a,b\nc,"d',
        "faq.csv:2: a quoted cell is never closed. Close its quote; a quote inside a quoted cell is written twice.",
    ),
    (
        "csv with a raw carriage return in a cell",
        "faq.csv",
        HEAD + b"a,b\rc\n",
        "faq.csv:1: lines end in a lone carriage return, as on old Macs. Save the file with LF or CRLF line ends.",
    ),
    (
        "csv with a comment before its header",
        "faq.csv",
        b"# exported today\nquestion,answer\na,b\n",
        (
            'faq.csv:1: 2 cells under a header of 1 ("# exported today"). Quote cells that hold the delimiter.\n'
            'faq.csv:2: 2 cells under a header of 1 ("# exported today"). Quote cells that hold the delimiter.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "csv of surrogates",
        "faq.csv",
        HEAD + b"a,\xed\xa0\x80\n",
        ("faq.csv: line 2: byte 18 of the file (0xed) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.csv > faq.clean.csv"),
    ),
    (
        "csv with unknown columns",
        "faq.csv",
        b"left,right,number\na,b,1\n",
        (
            'faq.csv:1: no known shape in the keys "left", "right" and "number"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "csv with the whole row in quotes",
        "faq.csv",
        b'"question,answer"\n"a,b"\n',
        (
            'faq.csv: the header is one column, "question,answer"; expected commas between its columns. Write it again with '
            "commas, and quotes around cells that hold one."
        ),
    ),
    (
        "csv with 300 columns",
        "faq.csv",
        ",".join(f"c{n}" for n in range(300)).encode() + b"\n" + b",".join([b"x"] * 300) + b"\n",
        (
            'faq.csv:1: no known shape in the keys "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7" and 292 more; known '
            f"shapes: {KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    ("csv that is JSON Lines", "faq.csv", GOOD.encode() + b"\n", "faq.csv: the name ends in .csv, but the content is JSON. Rename it."),
    (
        "csv in gzip that is ragged",
        "faq.csv.gz",
        gzip.compress(HEAD + b"a\n", mtime=0),
        'faq.csv.gz:1: 1 cell under a header of 2 ("question" and "answer"). Quote cells that hold the delimiter.',
    ),
    (
        "tsv with commas",
        "faq.tsv",
        HEAD + b"a,b\n",
        (
            'faq.tsv: the header is one column, "question,answer"; expected commas between its columns. Write it again with '
            "commas, and quotes around cells that hold one."
        ),
    ),
    (
        "tsv ragged",
        "faq.tsv",
        b"question\tanswer\na\tb\tc\n",
        'faq.tsv:1: 3 cells under a header of 2 ("question" and "answer"). Quote cells that hold the delimiter.',
    ),
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
        written(TWICE),
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
