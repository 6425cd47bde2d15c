"""Bad CSV, beyond that in bad_tables: name, file name, content, the whole message."""

from __future__ import annotations

import gzip

from tests.data.building import GOOD, KNOWN

HEAD = b"question,answer\n"

BAD_CSV: list[tuple[str, str, bytes, str]] = [
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
]
