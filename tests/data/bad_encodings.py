"""Files in other encodings than UTF-8, and bytes that are no text: name, file name, content, the whole message."""

from __future__ import annotations

import bz2
import lzma
import pickle

from tests.data.building import FORMATS, GOOD

ROW = '{"question": "Was heißt „Größe“ auf Englisch? – Naïve, 5 €", "answer": "size"}\n'


def told(question: bytes) -> bytes:
    """A row whose question is these bytes."""
    return b'{"question": "' + question + b'", "answer": "Me."}\n'


BAD_ENCODINGS: list[tuple[str, str, bytes, str]] = [
    (
        "UTF-16 little-endian with a mark",
        "faq.jsonl",
        b"\xff\xfe" + ROW.encode("utf-16-le"),
        ("faq.jsonl:1: the file is UTF-16; expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-16 big-endian with a mark",
        "faq.jsonl",
        b"\xfe\xff" + ROW.encode("utf-16-be"),
        ("faq.jsonl:1: the file is UTF-16; expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-16 big-endian without a mark",
        "faq.jsonl",
        ROW.encode("utf-16-be"),
        ("faq.jsonl:1: the file is UTF-16BE; expected UTF-8. Convert it: iconv -f UTF-16BE -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-16 of Japanese without a mark",
        "faq.jsonl",
        '{"question": "東京はどこですか。東京はどこですか。", "answer": "日本です。"}\n'.encode("utf-16-le"),
        ("faq.jsonl:1: the file is UTF-16LE; expected UTF-8. Convert it: iconv -f UTF-16LE -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-16 CSV from a spreadsheet",
        "faq.csv",
        "question\tanswer\r\nWho?\tMe.\r\n".encode("utf-16"),
        "faq.csv:1: the file is UTF-16; expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 faq.csv > faq.clean.csv",
    ),
    (
        "UTF-32 little-endian without a mark",
        "faq.jsonl",
        ROW.encode("utf-32-le"),
        ("faq.jsonl:1: the file is UTF-32LE; expected UTF-8. Convert it: iconv -f UTF-32LE -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-32 big-endian with a mark",
        "faq.jsonl",
        b"\0\0\xfe\xff" + ROW.encode("utf-32-be"),
        ("faq.jsonl:1: the file is UTF-32; expected UTF-8. Convert it: iconv -f UTF-32 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-32 big-endian without a mark",
        "faq.jsonl",
        ROW.encode("utf-32-be"),
        ("faq.jsonl:1: the file is UTF-32BE; expected UTF-8. Convert it: iconv -f UTF-32BE -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-7 mark",
        "faq.jsonl",
        b"+/v8-" + GOOD.encode(),
        (
            'faq.jsonl:1:1: not valid JSON: found "+" at column 1; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "Windows-1252 quotes",
        "faq.jsonl",
        told(b"\x93Who?\x94"),
        ("faq.jsonl:1: byte 14 of the file (0x93) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "Windows-1252 euro",
        "faq.jsonl",
        told(b"5 \x80"),
        ("faq.jsonl:1: byte 16 of the file (0x80) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "Windows-1251",
        "faq.jsonl",
        told("Кто это?".encode("cp1251")),
        ("faq.jsonl:1: byte 14 of the file (0xca) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "Latin-1 umlaut at the end of a text",
        "faq.jsonl",
        told(b"Caf\xe9"),
        ("faq.jsonl:1: byte 17 of the file (0xe9) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "Mac Roman",
        "faq.jsonl",
        told("Café".encode("mac-roman")),
        ("faq.jsonl:1: byte 17 of the file (0x8e) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "Shift-JIS",
        "faq.jsonl",
        told("東京".encode("shift-jis")),
        ("faq.jsonl:1: byte 14 of the file (0x93) is not UTF-8. Convert it, from Shift_JIS as it seems: iconv -f CP932 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "EUC-KR",
        "faq.jsonl",
        told("서울".encode("euc-kr")),
        ("faq.jsonl:1: byte 14 of the file (0xbc) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "GB18030",
        "faq.jsonl",
        told("北京".encode("gb18030")),
        ("faq.jsonl:1: byte 14 of the file (0xb1) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "Big5",
        "faq.jsonl",
        told("台北".encode("big5")),
        ("faq.jsonl:1: byte 14 of the file (0xa5) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "EBCDIC",
        "faq.jsonl",
        ROW.replace("„", "").replace("“", "").replace("–", "").replace("€", "").encode("cp500"),
        ("faq.jsonl:1: byte 0 of the file (0xc0) is not UTF-8. Nor is it Windows-1252. Convert it from the encoding that it was written in: iconv -f ENCODING -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "half a character at a text's end",
        "faq.jsonl",
        told("Wh\u00e9".encode()[:-1]),
        ("faq.jsonl:1: byte 16 of the file (0xc3) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "half a character at the file's end",
        "faq.jsonl",
        GOOD.encode() + b"\n" + "é".encode()[:1],
        ("faq.jsonl:2: byte 38 of the file (0xc3) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "half an emoji of four bytes",
        "faq.jsonl",
        told("😀".encode()[:3]),
        ("faq.jsonl:1: byte 14 of the file (0xf0) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "continuation byte alone",
        "faq.jsonl",
        told(b"\x80"),
        ("faq.jsonl:1: byte 14 of the file (0x80) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "overlong slash",
        "faq.jsonl",
        told(b"\xc0\xaf"),
        ("faq.jsonl:1: byte 14 of the file (0xc0) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "overlong NUL",
        "faq.jsonl",
        told(b"\xc0\x80"),
        ("faq.jsonl:1: byte 14 of the file (0xc0) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "overlong of three bytes",
        "faq.jsonl",
        told(b"\xe0\x80\xaf"),
        ("faq.jsonl:1: byte 14 of the file (0xe0) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "surrogate in UTF-8",
        "faq.jsonl",
        told(b"\xed\xa0\x80"),
        ("faq.jsonl:1: byte 14 of the file (0xed) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "emoji as two surrogates, as Java writes it",
        "faq.jsonl",
        told(b"\xed\xa0\xbd\xed\xb8\x80"),
        ("faq.jsonl:1: byte 14 of the file (0xed) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "character beyond Unicode",
        "faq.jsonl",
        told(b"\xf4\x90\x80\x80"),
        ("faq.jsonl:1: byte 14 of the file (0xf4) is not UTF-8. Nor is it Windows-1252. Convert it from the encoding that it was written in: iconv -f ENCODING -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "sequence of five bytes",
        "faq.jsonl",
        told(b"\xf8\x88\x80\x80\x80"),
        ("faq.jsonl:1: byte 14 of the file (0xf8) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "bytes FE and FF",
        "faq.jsonl",
        told(b"a\xfe\xffb"),
        ("faq.jsonl:1: byte 15 of the file (0xfe) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "invalid byte behind a backslash",
        "faq.jsonl",
        told(b"\\\xe9"),
        ("faq.jsonl:1: byte 15 of the file (0xe9) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "invalid byte in a key",
        "faq.jsonl",
        b'{"question\xff": "a", "answer": "b"}\n',
        ("faq.jsonl:1: byte 10 of the file (0xff) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "invalid byte outside strings",
        "faq.jsonl",
        b"\xa0" + GOOD.encode() + b"\n",
        ("faq.jsonl:1: byte 0 of the file (0xa0) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "invalid byte in an unused value",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "Me.", "x": "\xe9"}\n',
        ("faq.jsonl:1: byte 44 of the file (0xe9) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "invalid byte on a line of its own",
        "faq.jsonl",
        GOOD.encode() + b"\n\xff\n" + GOOD.encode() + b"\n",
        ("faq.jsonl:2: byte 38 of the file (0xff) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "invalid byte behind a megabyte of rows",
        "faq.jsonl",
        (GOOD.encode() + b"\n") * 3_000 + told(b"Caf\xe9"),
        (
            "faq.jsonl:3001: byte 114017 of the file (0xe9) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 "
            "faq.jsonl > faq.clean.jsonl"
        ),
    ),
    (
        "invalid byte in an array",
        "faq.json",
        b"[" + GOOD.encode() + b",\n " + told(b"Caf\xe9") + b"]",
        ("faq.json:2: byte 58 of the file (0xe9) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.json > faq.clean.json"),
    ),
    (
        "NUL for each space",
        "faq.jsonl",
        GOOD.encode().replace(b" ", b"\0"),
        "faq.jsonl:1: a NUL byte at byte 12 of the file. Remove it: tr -d '\\000' < faq.jsonl > faq.clean.jsonl",
    ),
    (
        "NUL as the first byte",
        "faq.jsonl",
        b"\0" + GOOD.encode(),
        "faq.jsonl:1: a NUL byte at byte 0 of the file. Remove it: tr -d '\\000' < faq.jsonl > faq.clean.jsonl",
    ),
    (
        "NUL within an array's text",
        "faq.json",
        b"[" + told(b"a\0b") + b"]",
        "faq.json:1: a NUL byte at byte 16 of the file. Remove it: tr -d '\\000' < faq.json > faq.clean.json",
    ),
    (
        "file of NUL alone",
        "faq.jsonl",
        b"\0" * 4096,
        (
            "faq.jsonl:1: 4,096 NUL bytes from byte 0 of the file, as an interrupted copy leaves them. Remove it: tr -d "
            "'\\000' < faq.jsonl > faq.clean.jsonl"
        ),
    ),
    (
        "random bytes",
        "faq.jsonl",
        bytes((n * 167 + n * n * 13 + 91) % 256 for n in range(600)),
        ("faq.jsonl:1: byte 2 of the file (0xdd) is not UTF-8. Nor is it Windows-1252. Convert it from the encoding that it was written in: iconv -f ENCODING -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    ("PDF", "faq.jsonl", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", f"faq.jsonl: this is a PDF; expected {FORMATS}. Write its text as JSON Lines."),
    (
        "SQLite",
        "faq.json",
        b"SQLite format 3\0" + bytes(84),
        f"faq.json: this is an SQLite database; expected {FORMATS}. Export the table as CSV.",
    ),
    ("Arrow", "faq.jsonl", b"ARROW1\0\0" + bytes(32), f"faq.jsonl: this is an Arrow file; expected {FORMATS}. Save it as Parquet."),
    (
        "bzip2",
        "faq.jsonl.bz2",
        bz2.compress(GOOD.encode()),
        f"faq.jsonl.bz2: this is packed with bzip2; expected {FORMATS}. Unpack it with bunzip2.",
    ),
    ("xz", "faq.jsonl.xz", lzma.compress(GOOD.encode()), f"faq.jsonl.xz: this is packed with xz; expected {FORMATS}. Unpack it with unxz."),
    (
        "zip",
        "faq.jsonl.zip",
        b"PK\x03\x04" + bytes(60),
        f"faq.jsonl.zip: this is a zip archive or an Excel workbook; expected {FORMATS}. Unpack it, or export the sheet as CSV.",
    ),
    (
        "old Excel",
        "faq.xls",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
        f"faq.xls: this is an old Excel or Word file; expected {FORMATS}. Export the sheet as CSV.",
    ),
    (
        "pickle",
        "faq.jsonl",
        pickle.dumps({"question": "Who?"}, protocol=4),
        f"faq.jsonl: this is a Python pickle; expected {FORMATS}. Save it as JSON Lines.",
    ),
    (
        "newer pickle",
        "faq.jsonl",
        pickle.dumps({"question": "Who?"}, protocol=5),
        f"faq.jsonl: this is a Python pickle; expected {FORMATS}. Save it as JSON Lines.",
    ),
    (
        "PNG",
        "faq.jsonl",
        b"\x89PNG\r\n\x1a\n" + bytes(32),
        f"faq.jsonl: this is a picture; expected {FORMATS}. Write its text as JSON Lines.",
    ),
    (
        "NumPy",
        "faq.jsonl",
        b"\x93NUMPY\x01\0v\0" + b"{'descr': '<f8'}" + b"\n",
        f"faq.jsonl: this is a NumPy array; expected {FORMATS}. Save it as JSON Lines.",
    ),
    (
        "safetensors",
        "faq.jsonl",
        b"\x08\0\0\0\0\0\0\0" + b"{}      ",
        "faq.jsonl:1: a NUL byte at byte 1 of the file. Remove it: tr -d '\\000' < faq.jsonl > faq.clean.jsonl",
    ),
    ("GGUF", "faq.jsonl", b"GGUF\x03\0\0\0" + bytes(16), f"faq.jsonl: this is a GGUF model; expected {FORMATS}. Pass the data."),
    (
        "tar",
        "faq.tar",
        b"faq.jsonl" + bytes(248) + b"ustar\x0000" + bytes(247),
        f"faq.tar: the format can't be told from the name; expected {FORMATS}.",
    ),
    ("XML feed", "faq.xml", b'<?xml version="1.0"?><faq/>', f"faq.xml: this is XML; expected {FORMATS}. Write its rows as JSON Lines."),
    (
        "web page saved as CSV",
        "faq.csv",
        b"<html><body>Sign in</body></html>",
        f"faq.csv: this is a web page; expected {FORMATS}. Download the file itself.",
    ),
    (
        "web page with a mark and spaces before it",
        "faq.jsonl",
        b"\xef\xbb\xbf \n<!doctype HTML><p>404",
        f"faq.jsonl: this is a web page; expected {FORMATS}. Download the file itself.",
    ),
    ("rich text", "faq.rtf", b"{\\rtf1\\ansi Who?}", f"faq.rtf: this is rich text; expected {FORMATS}. Write it as JSON Lines."),
    (
        "JSON without an ending that is known",
        "faq.dat",
        b"question=Who?&answer=Me.",
        f"faq.dat: the format can't be told from the name; expected {FORMATS}.",
    ),
]
