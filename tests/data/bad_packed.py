"""Packed files that are cut off, damaged or out to harm: name, file name, content, the whole message."""

from __future__ import annotations

import gzip
import struct
import zlib

import zstandard

from tests.data.building import FORMATS, GOOD, flipped, lines, qa

ROWS = lines(*[qa(f"Who is number {number}?") for number in range(200)])
GZIP = gzip.compress(ROWS, mtime=0)
ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(ROWS)

BAD_PACKED: list[tuple[str, str, bytes, str]] = [
    ("gzip of nothing", "faq.jsonl.gz", gzip.compress(b"", mtime=0), "faq.jsonl.gz: the file holds no rows; expected at least one."),
    (
        "gzip of blank lines",
        "faq.jsonl.gz",
        gzip.compress(b"\n\n", mtime=0),
        "faq.jsonl.gz: the file holds no rows; expected at least one.",
    ),
    ("gzip of two bytes", "faq.jsonl.gz", GZIP[:2], "faq.jsonl.gz: the gzip data ends too early. The file is cut off: copy it again."),
    ("gzip cut in its header", "faq.jsonl.gz", GZIP[:7], "faq.jsonl.gz: the gzip data ends too early. The file is cut off: copy it again."),
    (
        "gzip cut in the middle",
        "faq.jsonl.gz",
        GZIP[: len(GZIP) // 2],
        "faq.jsonl.gz: the gzip data ends too early. The file is cut off: copy it again.",
    ),
    (
        "gzip cut by its last byte",
        "faq.jsonl.gz",
        GZIP[:-1],
        "faq.jsonl.gz: the gzip data ends too early. The file is cut off: copy it again.",
    ),
    (
        "gzip without its checksum",
        "faq.jsonl.gz",
        GZIP[:-8],
        "faq.jsonl.gz: the gzip data ends too early. The file is cut off: copy it again.",
    ),
    ("gzip with a wrong checksum", "faq.jsonl.gz", flipped(GZIP, -8), "faq.jsonl.gz: the gzip data is damaged. Copy the file again."),
    ("gzip with a wrong length", "faq.jsonl.gz", flipped(GZIP, -1), "faq.jsonl.gz: the gzip data is damaged. Copy the file again."),
    ("gzip with a flipped byte inside", "faq.jsonl.gz", flipped(GZIP, 200), "faq.jsonl.gz: the gzip data is damaged. Copy the file again."),
    (
        "gzip of an unknown method",
        "faq.jsonl.gz",
        GZIP[:2] + b"\x07" + GZIP[3:],
        "faq.jsonl.gz: the gzip data is damaged. Copy the file again.",
    ),
    ("gzip with rows behind it", "faq.jsonl.gz", GZIP + GOOD.encode(), "faq.jsonl.gz: the gzip data is damaged. Copy the file again."),
    (
        "gzip with a damaged second member",
        "faq.jsonl.gz",
        GZIP + flipped(GZIP, -8),
        "faq.jsonl.gz: the gzip data is damaged. Copy the file again.",
    ),
    (
        "gzip with a cut second member",
        "faq.jsonl.gz",
        GZIP + GZIP[:40],
        "faq.jsonl.gz: the gzip data ends too early. The file is cut off: copy it again.",
    ),
    (
        "gzip in gzip",
        "faq.jsonl.gz",
        gzip.compress(GZIP, mtime=0),
        "faq.jsonl.gz: packed once more inside, as gzip. Unpack it once, and pass the result.",
    ),
    (
        "zstd in gzip",
        "faq.jsonl.gz",
        gzip.compress(ZSTD, mtime=0),
        "faq.jsonl.gz: packed once more inside, as zstd. Unpack it once, and pass the result.",
    ),
    (
        "gzip of UTF-16",
        "faq.jsonl.gz",
        gzip.compress(GOOD.encode("utf-16"), mtime=0),
        ("faq.jsonl.gz:1: the file is UTF-16; expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 FILE > CLEAN, on the unpacked file"),
    ),
    (
        "gzip of Latin-1",
        "faq.jsonl.gz",
        gzip.compress(ROWS + b'{"question": "Caf\xe9"}', mtime=0),
        (
            "faq.jsonl.gz:201: byte 10307 of the file (0xe9) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 FILE > "
            "CLEAN, on the unpacked file"
        ),
    ),
    (
        "gzip of a broken row",
        "faq.jsonl.gz",
        gzip.compress(ROWS + b"{\n", mtime=0),
        "faq.jsonl.gz:201:2: not valid JSON: it ends in the middle of a value, at column 2. The file may be cut off.",
    ),
    (
        "gzip of a web page",
        "faq.jsonl.gz",
        gzip.compress(b"<html>", mtime=0),
        f"faq.jsonl.gz: this is a web page; expected {FORMATS}. Download the file itself.",
    ),
    (
        "gzip of a tar",
        "faq.tar.gz",
        gzip.compress(b"faq.jsonl" + bytes(503), mtime=0),
        f"faq.tar.gz: the format can't be told from the name; expected {FORMATS}.",
    ),
    (
        "gzip under another ending",
        "faq.parquet",
        GZIP,
        "faq.parquet: the name ends in .parquet, but the content is not Parquet. Rename it, or copy it again.",
    ),
    (
        "gzip of Parquet",
        "faq.parquet.gz",
        gzip.compress(b"PAR1" + bytes(40) + b"PAR1", mtime=0),
        "faq.parquet.gz: Parquet packed once more. Unpack it and pass the .parquet file.",
    ),
    (
        "gzip bomb of zeros",
        "faq.jsonl.gz",
        gzip.compress(bytes(64 * 2**20), mtime=0),
        ("faq.jsonl.gz: it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."),
    ),
    (
        "gzip bomb of blank lines",
        "faq.jsonl.gz",
        gzip.compress(b"\n" * (20 * 2**20), mtime=0),
        ("faq.jsonl.gz: it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."),
    ),
    (
        "gzip bomb of many members",
        "faq.jsonl.gz",
        gzip.compress(b"\n" * 2**20, mtime=0) * 20,
        ("faq.jsonl.gz: it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."),
    ),
    (
        "gzip ending on plain rows",
        "faq.jsonl.gz",
        ROWS,
        "faq.jsonl.gz: the name ends in .gz, but the content is not packed. Rename it, or copy it again.",
    ),
    (
        "zstd ending on plain rows",
        "faq.jsonl.zst",
        ROWS,
        "faq.jsonl.zst: the name ends in .zst, but the content is not packed. Rename it, or copy it again.",
    ),
    (
        "zstd ending on plain CSV",
        "faq.csv.zst",
        b"question,answer\na,b\n",
        "faq.csv.zst: the name ends in .zst, but the content is not packed. Rename it, or copy it again.",
    ),
    ("zstd of nothing", "faq.jsonl.zst", zstandard.compress(b""), "faq.jsonl.zst: the file holds no rows; expected at least one."),
    (
        "zstd of its magic alone",
        "faq.jsonl.zst",
        ZSTD[:4],
        "faq.jsonl.zst: the zstd data ends too early. The file is cut off: copy it again.",
    ),
    (
        "zstd cut in its header",
        "faq.jsonl.zst",
        ZSTD[:6],
        "faq.jsonl.zst: the zstd data ends too early. The file is cut off: copy it again.",
    ),
    (
        "zstd cut in the middle",
        "faq.jsonl.zst",
        ZSTD[: len(ZSTD) // 2],
        "faq.jsonl.zst: the zstd data ends too early. The file is cut off: copy it again.",
    ),
    (
        "zstd cut by its last byte",
        "faq.jsonl.zst",
        ZSTD[:-1],
        "faq.jsonl.zst: the zstd data ends too early. The file is cut off: copy it again.",
    ),
    ("zstd with a wrong checksum", "faq.jsonl.zst", flipped(ZSTD, -1), "faq.jsonl.zst: the zstd data is damaged. Copy the file again."),
    (
        "zstd with a flipped byte inside",
        "faq.jsonl.zst",
        flipped(ZSTD, 200),
        "faq.jsonl.zst: the zstd data is damaged. Copy the file again.",
    ),
    (
        "zstd with a reserved bit",
        "faq.jsonl.zst",
        ZSTD[:4] + bytes([ZSTD[4] | 8]) + ZSTD[5:],
        "faq.jsonl.zst: the zstd data is damaged. Copy the file again.",
    ),
    ("zstd with rows behind it", "faq.jsonl.zst", ZSTD + GOOD.encode(), "faq.jsonl.zst: the zstd data is damaged. Copy the file again."),
    (
        "zstd with a cut second frame",
        "faq.jsonl.zst",
        ZSTD + ZSTD[:40],
        "faq.jsonl.zst: the zstd data ends too early. The file is cut off: copy it again.",
    ),
    (
        "zstd with a damaged second frame",
        "faq.jsonl.zst",
        ZSTD + flipped(ZSTD, -1),
        "faq.jsonl.zst: the zstd data is damaged. Copy the file again.",
    ),
    (
        "zstd in zstd",
        "faq.jsonl.zst",
        zstandard.compress(ZSTD),
        "faq.jsonl.zst: packed once more inside, as zstd. Unpack it once, and pass the result.",
    ),
    (
        "gzip in zstd",
        "faq.jsonl.zst",
        zstandard.compress(GZIP),
        "faq.jsonl.zst: packed once more inside, as gzip. Unpack it once, and pass the result.",
    ),
    (
        "zstd of a dictionary that is not there",
        "faq.jsonl.zst",
        b"\x28\xb5\x2f\xfd\x01\x58\x07\x01\0\0",
        "faq.jsonl.zst: the zstd data was packed with a dictionary. Pack it again without one.",
    ),
    (
        "zstd with a window of two gigabytes",
        "faq.jsonl.zst",
        b"\x28\xb5\x2f\xfd\0\xa8" + bytes([1, 0, 0]),
        ("faq.jsonl.zst: the zstd data was packed with a window of 2,048 MiB; expected 128 MiB at most. Pack it again without --long."),
    ),
    (
        "zstd with a skippable frame alone",
        "faq.jsonl.zst",
        b"\x50\x2a\x4d\x18" + struct.pack("<I", 8) + bytes(8),
        "faq.jsonl.zst: the file holds no rows; expected at least one.",
    ),
    (
        "zstd bomb of zeros",
        "faq.jsonl.zst",
        zstandard.compress(bytes(64 * 2**20)),
        ("faq.jsonl.zst: it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."),
    ),
    (
        "zstd bomb of blank lines",
        "faq.jsonl.zst",
        zstandard.compress(b"\n" * (20 * 2**20)),
        ("faq.jsonl.zst: it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."),
    ),
    (
        "zstd bomb of many frames",
        "faq.jsonl.zst",
        zstandard.compress(b"\n" * 2**20) * 20,
        ("faq.jsonl.zst: it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."),
    ),
    (
        "zstd bomb in a zstd",
        "faq.jsonl.zst",
        zstandard.compress(zstandard.compress(bytes(256 * 2**20))),
        "faq.jsonl.zst: packed once more inside, as zstd. Unpack it once, and pass the result.",
    ),
    (
        "zstd bomb as an array",
        "faq.json.zst",
        zstandard.compress(b"[" + b" " * (20 * 2**20) + b"]"),
        ("faq.json.zst: it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."),
    ),
    (
        "zstd bomb as CSV",
        "faq.csv.zst",
        zstandard.compress(b"question,answer\n" + b"\n" * (20 * 2**20)),
        ("faq.csv.zst: it unpacks to more than 200 times its size. If that is right, unpack it yourself and pass the result."),
    ),
    (
        "zlib without a gzip header",
        "faq.jsonl.gz",
        zlib.compress(ROWS),
        "faq.jsonl.gz: the name ends in .gz, but the content is not packed. Rename it, or copy it again.",
    ),
]
