"""Lines that are no rows, nesting without end, and broken arrays of rows: name, file name, content, the whole message."""

from __future__ import annotations

from tests.data.building import GOOD, extra

BAD_LINES: list[tuple[str, str, bytes, str]] = [
    (
        "line of a closing bracket",
        "faq.jsonl",
        GOOD.encode() + b"\n]\n",
        'faq.jsonl:2:1: not valid JSON: found "]" at column 1; expected a value.',
    ),
    ("line of a comma", "faq.jsonl", GOOD.encode() + b"\n,\n", 'faq.jsonl:2:1: not valid JSON: found "," at column 1; expected a value.'),
    (
        "line of a word",
        "faq.jsonl",
        GOOD.encode() + b"\nend\n",
        'faq.jsonl:2:1: not valid JSON: found "end" at column 1; expected a value.',
    ),
    (
        "line of a quote",
        "faq.jsonl",
        GOOD.encode() + b'\n"\n',
        (
            "faq.jsonl:2:1: not valid JSON: the string that starts at column 1 has no closing quote. Close it, or write a "
            "line break inside text as \\n."
        ),
    ),
    (
        "line of dashes",
        "faq.jsonl",
        GOOD.encode() + b"\n---\n",
        (
            'faq.jsonl:2:1: not valid JSON: found "-" at column 1; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "line of a no-break space",
        "faq.jsonl",
        GOOD.encode() + b"\n\xc2\xa0\n",
        'faq.jsonl:2:1: not valid JSON: found "\\u00a0" at column 1; expected a value.',
    ),
    (
        "line of a form feed",
        "faq.jsonl",
        GOOD.encode() + b"\n\f\n",
        'faq.jsonl:2:1: not valid JSON: found "\\f" at column 1; expected a value.',
    ),
    ("line of a byte order mark alone", "faq.jsonl", b"\xef\xbb\xbf", "faq.jsonl: the file holds no rows; expected at least one."),
    (
        "byte order mark twice",
        "faq.jsonl",
        b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD.encode(),
        ("faq.jsonl:1:1: not valid JSON: a byte order mark at column 1; only the first line of a file may have one. Remove it."),
    ),
    (
        "byte order mark cut",
        "faq.jsonl",
        b"\xef\xbb" + GOOD.encode(),
        ("faq.jsonl:1: byte 0 of the file (0xef) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "byte order mark behind a brace",
        "faq.jsonl",
        b"{\xef\xbb\xbf" + GOOD.encode()[1:],
        ("faq.jsonl:1:2: not valid JSON: a byte order mark at column 2; only the first line of a file may have one. Remove it."),
    ),
    (
        "record separators between rows",
        "faq.jsonl",
        b"\x1e" + GOOD.encode() + b"\n",
        'faq.jsonl:1:1: not valid JSON: found "\\u001e" at column 1; expected a value.',
    ),
    (
        "rows behind a log's time",
        "faq.jsonl",
        b"2026-01-01 " + GOOD.encode() + b"\n",
        "faq.jsonl:1:5: not valid JSON: text after the value at column 5. Remove it.",
    ),
    (
        "Markdown fence around the rows",
        "faq.jsonl",
        b"```json\n" + GOOD.encode() + b"\n```\n",
        (
            'faq.jsonl:1:1: not valid JSON: found "`" at column 1; expected a value.\n'
            'faq.jsonl:3:1: not valid JSON: found "`" at column 1; expected a value.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "YAML",
        "faq.jsonl",
        b"question: Who?\nanswer: Me.\n",
        (
            'faq.jsonl:1:1: not valid JSON: found "question" at column 1; expected a value.\n'
            'faq.jsonl:2:1: not valid JSON: found "answer" at column 1; expected a value.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "XML",
        "faq.jsonl",
        b"<row><question>Who?</question></row>\n",
        'faq.jsonl:1:1: not valid JSON: found "<" at column 1; expected a value.',
    ),
    (
        "rows that end in old Mac line ends",
        "faq.jsonl",
        GOOD.encode() + b"\r" + GOOD.encode() + b"\r",
        "faq.jsonl:1:39: a second value starts at column 39; expected one object a line. Put a line break before it.",
    ),
    (
        "rows run together with commas",
        "faq.jsonl",
        GOOD.encode() + b"," + GOOD.encode() + b"\n",
        ("faq.jsonl:1:38: not valid JSON: a comma after the object at column 38. Remove it: JSON Lines has no commas between rows."),
    ),
    ("100,000 open brackets", "faq.jsonl", b"[" * 100_000, "faq.jsonl:1: nested deeper than 64 levels; a row needs three. Remove it."),
    (
        "100,000 nested arrays in a row",
        "faq.jsonl",
        extra(b"[" * 100_000 + b"]" * 100_000),
        "faq.jsonl:1: nested deeper than 64 levels; a row needs three. Remove it.",
    ),
    (
        "100,000 nested objects",
        "faq.jsonl",
        extra(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "faq.jsonl:1: nested deeper than 64 levels; a row needs three. Remove it.",
    ),
    (
        "100,000 open objects in an array",
        "faq.json",
        b'[{"a":' * 50_000,
        "faq.json: the array has no closing ]; the file ends in or after record 1. It may be cut off.",
    ),
    (
        "nesting hidden behind quotes in text",
        "faq.jsonl",
        extra(b'"\\"[[", ' + b'"y": ' + b"[" * 65 + b"]" * 65),
        "faq.jsonl:1: nested deeper than 64 levels; a row needs three. Remove it.",
    ),
    (
        "number of 5,000 digits as answer",
        "faq.jsonl",
        b'{"question": "Who?", "answer": ' + b"1" * 5000 + b"}\n",
        "faq.jsonl:1: a number has more than 4,300 digits; write it as text.",
    ),
    (
        "number beyond all bounds as answer",
        "faq.jsonl",
        b'{"question": "Who?", "answer": 1e400}\n',
        'faq.jsonl:1: the number "1e400" is too large: it would be read as infinity. Write it as text.',
    ),
    (
        "array of rows with a semicolon",
        "faq.json",
        b"[" + GOOD.encode() + b";" + GOOD.encode() + b"]",
        "faq.json:1: not valid JSON: text after the object at line 1, column 39. Remove it.",
    ),
    (
        "array of rows without a comma",
        "faq.json",
        b"[" + GOOD.encode() + b"\n" + GOOD.encode() + b"]",
        "faq.json:1: a second value starts at line 2, column 1; expected a comma between two records. Put one there.",
    ),
    (
        "array of rows with a comma first",
        "faq.json",
        b"[," + GOOD.encode() + b"]",
        'faq.json:1:2: not valid JSON: found "," at column 2; expected a value.',
    ),
    (
        "array of rows closed by a brace",
        "faq.json",
        b"[" + GOOD.encode() + b"}",
        ("faq.json:1: not valid JSON: the } at line 1, column 39 closes no object; expected a comma or the array's ]. Mend it there."),
    ),
    (
        "array of rows closed twice",
        "faq.json",
        b"[" + GOOD.encode() + b"]]",
        ("faq.json: more data after the array's end, at line 1, column 40; expected one array, or one object a line. Remove it."),
    ),
    (
        "array of rows in an array",
        "faq.json",
        b"[[" + GOOD.encode() + b"]]",
        "faq.json:1: the row is an array; expected one JSON object a line.",
    ),
    ("array of nothing but a comma", "faq.json", b"[,]", "faq.json:1:2: not valid JSON: a trailing comma at column 2. Remove it."),
    ("array of strings", "faq.json", b'["Who?", "Me."]', "faq.json:1: the row is an array; expected one JSON object a line."),
    ("array of null", "faq.json", b"[null]", "faq.json:1: the row is an array; expected one JSON object a line."),
    (
        "array of rows with a comment",
        "faq.json",
        b"[\n" + GOOD.encode() + b",\n// the second\n" + GOOD.encode() + b"]",
        "faq.json:2: not valid JSON: a comment at line 3, column 1; JSON has none. Remove it.",
    ),
    (
        "array of rows with a string left open",
        "faq.json",
        b"[" + GOOD.encode() + b', {"question": "Who?]',
        "faq.json: the array has no closing ]; the file ends in or after record 2. It may be cut off.",
    ),
    (
        "array of rows with NaN",
        "faq.json",
        b"[" + GOOD.encode() + b', {"question": "a", "answer": "b", "x": NaN}]',
        "faq.json:2: NaN is not JSON. Write null, or leave the key out.",
    ),
    (
        "array of rows with NUL behind it",
        "faq.json",
        b"[" + GOOD.encode() + b"]" + b"\0" * 512,
        (
            "faq.json:1: 512 NUL bytes from byte 39 of the file, as an interrupted copy leaves them. Remove it: tr -d '\\000' "
            "< faq.json > faq.clean.json"
        ),
    ),
    (
        "array of rows that is cut within a row",
        "faq.json",
        b"[" + GOOD.encode() + b",\n" + GOOD.encode()[:-4],
        "faq.json: the array has no closing ]; the file ends in or after record 2. It may be cut off.",
    ),
    (
        "array opened and nothing more",
        "faq.json",
        b"[",
        "faq.json: the array has no closing ]; the file ends in or after record 1. It may be cut off.",
    ),
    (
        "array of rows with a raw tab on line 3",
        "faq.json",
        b"[\n" + GOOD.encode() + b',\n  {"question": "a\tb", "answer": "c"}\n]',
        "faq.json:2: not valid JSON: a raw tab inside a string at line 3, column 18. Write it as \\t.",
    ),
]
