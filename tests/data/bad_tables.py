"""Bad CSV, Parquet and packed files, and what is none of them: name, file name, content, the whole message."""

from __future__ import annotations

import gzip

import zstandard

from tests.data.building import FORMATS, KNOWN, flipped, lines, qa

BAD_TABLES: list[tuple[str, str, bytes, str]] = [
    (
        "csv ragged",
        "faq.csv",
        b"question,answer\na,b,c\n",
        'faq.csv:1: 3 cells under a header of 2 ("question" and "answer"). Quote cells that hold the delimiter.',
    ),
    (
        "csv short",
        "faq.csv",
        b"question,answer\na\n",
        'faq.csv:1: 1 cell under a header of 2 ("question" and "answer"). Quote cells that hold the delimiter.',
    ),
    ("csv empty cell", "faq.csv", b"question,answer\na,\n", 'faq.csv:1: "answer" is empty; expected text. Fill it in, or remove the row.'),
    (
        "csv open quote",
        "faq.csv",
        b'question,answer\na,"b\nc,d\n',
        ("faq.csv:1: a quoted cell is never closed. Close its quote; a quote inside a quoted cell is written twice."),
    ),
    (
        "csv quote inside",
        "faq.csv",
        b'question,answer\na,"b"c\n',
        "faq.csv:1: text after a closing quote. A quote inside a quoted cell is written twice.",
    ),
    ("csv header only", "faq.csv", b"question,answer\n", "faq.csv: the file holds no rows; expected at least one."),
    (
        "csv with the index of pandas",
        "faq.csv",
        b",question,answer\n0,a,b\n",
        (
            "faq.csv: the header's column 1 has no name. Name it, or remove the column. "
            "pandas wrote its index there: write with to_csv(…, index=False)."
        ),
    ),
    ("csv no name", "faq.csv", b"question,answer,\na,b,c\n", "faq.csv: the header's column 3 has no name. Name it, or remove the column."),
    ("csv twice", "faq.csv", b"question,answer,answer\na,b,c\n", 'faq.csv: the header has "answer" twice. Rename one of them.'),
    (
        "csv no header",
        "faq.csv",
        b"What is it?,It is this.\nb,c\n",
        (
            'faq.csv:1: no known shape in the keys "What is it?" and "It is this."; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "csv old mac",
        "faq.csv",
        b"question,answer\ra,b\r",
        "faq.csv:1: lines end in a lone carriage return, as on old Macs. Save the file with LF or CRLF line ends.",
    ),
    (
        "csv latin1",
        "faq.csv",
        b"question,answer\na,caf\xe9\n",
        ("faq.csv: line 2: byte 21 of the file (0xe9) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.csv > faq.clean.csv"),
    ),
    (
        "csv messages",
        "faq.csv",
        b'messages\n"[{""role"": 1}]"\n',
        (
            'faq.csv:1: "messages" is the text "[{\\"role\\": 1}]"; expected an array of messages. '
            "It is JSON in quotes: write the rows as JSON Lines, the array without quotes."
        ),
    ),
    (
        "gzip cut",
        "faq.jsonl.gz",
        gzip.compress(lines(qa()), mtime=0)[:-12],
        "faq.jsonl.gz: the gzip data ends too early. The file is cut off: copy it again.",
    ),
    (
        "gzip damaged",
        "faq.jsonl.gz",
        flipped(gzip.compress(lines(qa()), mtime=0), 12),
        "faq.jsonl.gz: the gzip data is damaged. Copy the file again.",
    ),
    (
        "not gzip",
        "faq.jsonl.gz",
        lines(qa()),
        "faq.jsonl.gz: the name ends in .gz, but the content is not packed. Rename it, or copy it again.",
    ),
    (
        "zstd cut",
        "faq.jsonl.zst",
        zstandard.compress(lines(qa()) * 100)[:-5],
        "faq.jsonl.zst: the zstd data ends too early. The file is cut off: copy it again.",
    ),
    (
        "zstd damaged",
        "faq.jsonl.zst",
        flipped(zstandard.ZstdCompressor(write_checksum=True).compress(lines(qa())), -1),
        "faq.jsonl.zst: the zstd data is damaged. Copy the file again.",
    ),
    (
        "not parquet",
        "faq.parquet",
        lines(qa()),
        "faq.parquet: the name ends in .parquet, but the content is not Parquet. Rename it, or copy it again.",
    ),
    (
        "parquet damaged",
        "faq.parquet",
        b"PAR1" + b"x" * 100 + b"PAR1",
        "faq.parquet: the Parquet data is damaged at its beginning or end. Copy the file again.",
    ),
    ("unknown format", "faq.txt", b"hello\n", (f"faq.txt: the format can't be told from the name; expected {FORMATS}.")),
    (
        "excel",
        "faq.xlsx",
        b"PK\x03\x04aaaa",
        (f"faq.xlsx: this is a zip archive or an Excel workbook; expected {FORMATS}. Unpack it, or export the sheet as CSV."),
    ),
    (
        "lfs",
        "faq.jsonl",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        (f"faq.jsonl: this is a Git LFS pointer, not the file it stands for; expected {FORMATS}. Run: git lfs pull"),
    ),
    ("html", "faq.jsonl", b"<!DOCTYPE html>\n<html>", (f"faq.jsonl: this is a web page; expected {FORMATS}. Download the file itself.")),
]
