"""Damaged files and what they become: name, file, its bytes, the rows of the copy, and what is said of the changes."""

from __future__ import annotations

import gzip
import json

from tests.data.building import chat, lines, qa

ONE, TWO = qa(), qa("Caf\u00e9?", "\u00e9t\u00e9")
BYTES = b'{"question": "Who?", "answer": "Me."}\n'
LAST = ":{}: the last line got its line end."


def pretty(row: dict) -> bytes:
    return json.dumps(row, indent=2).encode() + b"\n"


def western(text: str) -> bytes:
    return text.encode("cp1252")


ROW_TWO = '{"question": "Caf\u00e9?", "answer": "\u00e9t\u00e9"}'

REPAIRS: list[tuple[str, str, bytes, list[dict], list[str]]] = [
    ("byte order mark", "d.jsonl", b"\xef\xbb\xbf" + BYTES, [ONE], ["1: the byte order mark at the beginning was removed."]),
    (
        "a byte order mark where two files were joined", "d.jsonl", BYTES + b"\xef\xbb\xbf" + lines(qa("b")), [ONE, qa("b")],
        ["2: a byte order mark in the middle of the file was removed."],
    ),
    ("CRLF", "d.jsonl", lines(ONE, qa("b")).replace(b"\n", b"\r\n"), [ONE, qa("b")], ["1: 2 line ends CR LF became LF."]),
    ("old Mac line ends", "d.jsonl", lines(ONE, qa("b")).replace(b"\n", b"\r"), [ONE, qa("b")],
     ["1: the last line got its line end.", "1: 2 rows on one line became 2 lines."]),
    ("blank lines", "d.jsonl", b"\n" + BYTES + b" \t\n", [ONE], ["1: 2 blank lines removed."]),
    ("no line end at the end", "d.jsonl", BYTES[:-1], [ONE], ["1: the last line got its line end."]),
    ("UTF-16", "d.jsonl", (ROW_TWO + "\n").encode("utf-16"), [TWO], ["1: the file was read as UTF-16 and written as UTF-8."]),
    ("UTF-16 without a mark", "d.jsonl", (ROW_TWO + "\n").encode("utf-16-le"), [TWO],
     ["1: the file was read as UTF-16LE and written as UTF-8."]),
    ("UTF-32", "d.jsonl", (ROW_TWO + "\n").encode("utf-32"), [TWO], ["1: the file was read as UTF-32 and written as UTF-8."]),
    ("a Windows-1252 line among others", "d.jsonl", BYTES + western(ROW_TWO + "\n"), [ONE, TWO],
     ['2: read as Windows-1252: "\u00e9".']),
    ("Windows quotes", "d.jsonl", western('{"question": "\u201ea\u201c \u2026?", "answer": "5 \u20ac"}\n'),
     [qa("\u201ea\u201c \u2026?", "5 \u20ac")], ['1: read as Windows-1252: "\u201e" "\u201c" "\u2026" "\u20ac".']),
    ("a CSV from Excel", "d.csv", western("question;answer\r\nCaf\u00e9?;\u00e9t\u00e9\r\n"), [TWO],
     [": the rows of CSV were written as JSON Lines.", '2: read as Windows-1252: "\u00e9".', "1: 2 line ends CR LF became LF."]),
    ("NUL padding", "d.jsonl", BYTES + b"\0" * 512, [ONE],
     ["2: the last line got its line end.", "2: 512 NUL bytes removed.", "2: 1 blank line removed."]),
    ("NUL inside", "d.jsonl", b'{"question": "W\0ho?", "answer": "Me."}\n', [ONE], ["1: 1 NUL byte removed."]),
    ("a comma behind each row", "d.jsonl", BYTES[:-1] + b",\n", [ONE], ["1: a trailing comma was removed."]),
    ("commas before brackets", "d.jsonl", b'{"messages": [{"role": "user", "content": ",]"},{"role": "assistant", "content": ",}",},],}\n',
     [{"messages": [{"role": "user", "content": ",]"}, {"role": "assistant", "content": ",}"}]}], ["1: a trailing comma was removed."]),
    ("pretty-printed objects", "d.jsonl", pretty(ONE) + pretty(qa("b")), [ONE, qa("b")],
     ["1: a row that was spread over 4 lines was written as one.", "5: a row that was spread over 4 lines was written as one."]),
    ("several objects on a line", "d.jsonl", BYTES[:-1] + lines(qa("b"))[:-1] + b" , " + lines(qa("c")), [ONE, qa("b"), qa("c")],
     ["1: 3 rows on one line became 3 lines."]),
    ("a line break inside a text", "d.jsonl", b'{"question": "Who\nare you?", "answer": "Me."}\n', [qa("Who\nare you?")],
     ["1: a line break, tab or control character inside a string was written as an escape.",
      "1: a row that was spread over 2 lines was written as one."]),
    ("a raw tab", "d.jsonl", b'{"question": "a\tb", "answer": "Me."}\n', [qa("a\tb")],
     ["1: a line break, tab or control character inside a string was written as an escape."]),
    ("Python's notation", "d.jsonl", b"{'question': 'Who?', 'answer': \"Me.\", 'more': [None, True, -1.5, (1, 2)]}\n",
     [{**ONE, "more": [None, True, -1.5, [1, 2]]}], ["1: Python's notation was written as JSON."]),
    ("NaN", "d.jsonl", b'{"question": "Who?", "answer": "Me.", "score": NaN}\n', [{**ONE, "score": None}],
     ["1: NaN became null, which means absent."]),
    ("a key twice with one value", "d.jsonl", b'{"question": "Who?", "answer": "Me.", "question": "Who?"}\n', [ONE],
     ['1: the key "question" was there twice with the same value; one is left.']),
    ("an array", "d.json", json.dumps([ONE, qa("b")], indent=1).encode(), [ONE, qa("b")],
     [": the rows of a JSON array were written as JSON Lines."]),
    ("an array cut off behind a row", "d.json", b"[" + BYTES[:-1] + b", " + lines(qa("b")), [ONE, qa("b")],
     [": the rows of a JSON array were written as JSON Lines.", "2: the array's missing end was taken for its end."]),
    ("an array with a comma too many", "d.json", b"[" + BYTES + b",]", [ONE],
     [": the rows of a JSON array were written as JSON Lines.", "2: a comma that nothing follows was removed."]),
    ("roles under other names", "d.jsonl", chat(("System", "s"), ("User", "a"), ("bot", "b"), ("human", "c"), ("AI", "d")),
     [{"messages": [{"role": role, "content": text} for role, text in
       (("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))]}],
     ['1: the role "System" of message 1 became system.', '1: the role "User" of message 2 became user.',
      '1: the role "bot" of message 3 became assistant.', '1: the role "human" of message 4 became user.',
      '1: the role "AI" of message 5 became assistant.']),
    ("a system message without text", "d.jsonl", chat(("system", " "), ("user", "a"), ("assistant", "b")),
     [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
     ["1: the system message without text was removed."]),
    ("duplicates", "d.jsonl", BYTES * 2 + b'{"answer": "Me.", "question": "Who?", "id": 7}\n', [ONE],
     ["2: the same row as d.jsonl:1 was removed.", "3: the same row as d.jsonl:1 was removed."]),
    ("white space", "d.jsonl", lines(qa("  Who?\n", "\n\n  def f():\n    pass\n\n")), [qa("Who?", "  def f():\n    pass")],
     ['1: white space around "question" was removed.', '1: white space around "answer" was removed.']),
    ("control characters", "d.jsonl", lines(qa("a\x00\x07b\rc", "\x1b[31mred\x1b[0m \x93hi\x94")), [qa("ab\nc", "red \u201chi\u201d")],
     ['1: 1 carriage return became a line feed in "question".', '1: 2 control characters removed in "question".',
      '1: 2 terminal escape sequences removed in "answer".',
      '1: 2 characters U+0080 to U+009F read as Windows-1252 means it in "answer".']),
    ("characters that nobody sees", "d.jsonl", lines(qa("a\u200bb\ufeff \U000e0041\U000e0042?", "x\u202ecba\u202c y\u2066z \U0001f468\u200d\U0001f469")),
     [qa("ab ?", "xcba yz \U0001f468\u200d\U0001f469")],
     ['1: 2 zero-width characters removed in "question".', '1: 2 hidden characters removed in "question".',
      '1: 3 direction characters removed in "answer".']),
    ("half a surrogate pair", "d.jsonl", b'{"question": "Who \\ud83d?", "answer": "\\ud83d\\ude00"}\n', [qa("Who ?", "\U0001f600")],
     ['1: 1 half of a surrogate pair removed in "question".']),
    ("a number as answer", "d.jsonl", b'{"question": "6 x 7?", "answer": 42}\n', [qa("6 x 7?", "42")],
     ['1: the number 42 of "answer" was put in quotes.']),
    ("empty rows", "d.jsonl", b"{}\n" + BYTES + b'null\n{"question": "", "answer": " "}\n', [ONE],
     [f"{line}: a row with nothing in it was removed." for line in (1, 3, 4)]),
    ("rows of two shapes", "d.jsonl", BYTES + chat(("user", "a"), ("assistant", "b")),
     [{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]},
      {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
     ["1: the row's question/answer was written as messages, as other rows are."]),
    ("packed", "d.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + BYTES), [ONE], ["1: the byte order mark at the beginning was removed."]),
]  # fmt: skip

# What has two readings, or none: the first line of the refusal.
UNREPAIRABLE: list[tuple[str, str, bytes, str]] = [
    ("an empty answer", "d.jsonl", BYTES + lines(qa("b", "")), 'd.jsonl:2: "answer" is empty; expected text. Fill it in, or remove the row.'),
    ("a number beyond all bounds, which JSON would write as Infinity", "d.json", b'[{"question": "Who?", "answer": "Me."}, {"question": "b", "answer": "c", "x": 1e400}]',
     'd.json:2: the number "1e400" is too large: it would be read as infinity. Write it as text.'),
    ("None", "d.jsonl", BYTES + lines(qa("b", "None")),
     'd.jsonl:2: "answer" is "None", as Python writes a missing value. Leave it out, or write what is meant.'),
    ("no answer", "d.jsonl", BYTES + b'{"question": "b"}\n',
     'd.jsonl:2: "answer" is missing; the row has "question". Add it, or pass --set data.columns.answer=NAME.'),
    ("a row cut off", "d.jsonl", BYTES + b'{"question": "b", "answer": "c\n',
     "d.jsonl:2: not valid JSON: the string that starts at column 29 has no closing quote. Close it, or write a line break inside text as "
     "\\n."),
    ("a quote inside a text", "d.jsonl", BYTES + b'{"question": "say "hi"", "answer": "c"}\n',
     'd.jsonl:2: not valid JSON: found "hi" at column 20; expected a comma or a closing bracket. A quote inside text is written \\".'),
    ("a row without its last bracket", "d.jsonl", b'{"question": "b", "answer": "c"\n' + BYTES,
     "d.jsonl:1: not valid JSON: it ends in the middle of a value, at column 32. The file may be cut off."),
    ("a key twice with two values", "d.jsonl", BYTES + b'{"question": "b", "question": "c", "answer": "d"}\n',
     'd.jsonl:2: the key "question" is there twice in one object. Remove or rename one of them.'),
    ("Cyrillic in Windows-1251", "d.jsonl", BYTES + '{"question": "\u043a\u0442\u043e \u0442\u044b \u0442\u0430\u043a\u043e\u0439?", "answer": "\u044f"}\n'.encode("cp1251"),
     'd.jsonl:2: byte 0xea is not UTF-8; as Windows-1252 it would read "\u00f2\u00e0\u00ea\u00ee". Name its encoding with --encoding, or mend it by hand.'),
    ("two encodings on one line", "d.jsonl", BYTES + b'{"question": "Caf\xe9 \xc3\xa9?", "answer": "c"}\n',
     "d.jsonl:2: byte 0xe9 is not UTF-8, and other characters of the line are: it was put together from two encodings, or cut. "
     "Name its encoding with --encoding, or mend it by hand."),
]  # fmt: skip
