"""Files that are not readable text or JSON: name, file name, content, the whole message."""

from __future__ import annotations

import json

from tests.data.building import GOOD, qa

BAD_SYNTAX: list[tuple[str, str, bytes, str]] = [
    ("empty file", "faq.jsonl", b"", "faq.jsonl: the file is empty; expected at least one row."),
    ("only blank lines", "faq.jsonl", b"\n \n\r\n", "faq.jsonl: the file holds no rows; expected at least one."),
    (
        "NUL inside",
        "faq.jsonl",
        GOOD.encode() + b'\n{"question": "W\0ho?"}\n',
        "faq.jsonl:2: a NUL byte at byte 53 of the file. Remove it: tr -d '\\000' < faq.jsonl > faq.clean.jsonl",
    ),
    (
        "NUL at the end",
        "faq.jsonl",
        GOOD.encode() + b"\n" + b"\0" * 512,
        (
            "faq.jsonl:2: 512 NUL bytes from byte 38 of the file, as an interrupted copy leaves them. "
            "Remove it: tr -d '\\000' < faq.jsonl > faq.clean.jsonl"
        ),
    ),
    (
        "Latin-1",
        "faq.jsonl",
        GOOD.encode() + b'\n{"question": "Caf\xe9?", "answer": "x"}\n',
        ("faq.jsonl:2: byte 55 of the file (0xe9) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-16",
        "faq.jsonl",
        GOOD.encode("utf-16"),
        ("faq.jsonl:1: the file is UTF-16; expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-16 without a mark",
        "faq.jsonl",
        GOOD.encode("utf-16-le"),
        ("faq.jsonl:1: the file is UTF-16LE; expected UTF-8. Convert it: iconv -f UTF-16LE -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "UTF-32",
        "faq.jsonl",
        GOOD.encode("utf-32"),
        ("faq.jsonl:1: the file is UTF-32; expected UTF-8. Convert it: iconv -f UTF-32 -t UTF-8 faq.jsonl > faq.clean.jsonl"),
    ),
    (
        "trailing comma in object",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "Me.",}\n',
        "faq.jsonl:1:37: not valid JSON: a trailing comma at column 37. Remove it.",
    ),
    (
        "trailing comma array",
        "faq.jsonl",
        b'{"messages": [1, 2, ]}\n',
        "faq.jsonl:1:19: not valid JSON: a trailing comma at column 19. Remove it.",
    ),
    (
        "comma after object",
        "faq.jsonl",
        (GOOD + ",\n" + GOOD + "\n").encode(),
        ("faq.jsonl:1:38: not valid JSON: a comma after the object at column 38. Remove it: JSON Lines has no commas between rows."),
    ),
    (
        "pretty",
        "faq.jsonl",
        b"".join(json.dumps(qa(q), indent=2).encode() + b"\n" for q in "ab"),
        (
            "faq.jsonl:1: a row is spread over several lines (pretty-printed); expected one object a line. "
            "Rewrite the file: jq -c . faq.jsonl > faq.clean.jsonl"
        ),
    ),
    ("string row", "faq.jsonl", b'"hello"\n', 'faq.jsonl:1: the row is the text "hello"; expected one JSON object a line.'),
    ("number row", "faq.jsonl", b"42\n", "faq.jsonl:1: the row is the number 42; expected one JSON object a line."),
    ("null row", "faq.jsonl", b"null\n", "faq.jsonl:1: the row is null; expected one JSON object a line."),
    ("true row", "faq.jsonl", b"true\n", "faq.jsonl:1: the row is true; expected one JSON object a line."),
    ("array row", "faq.jsonl", b'["a", "b"]\n' + GOOD.encode(), "faq.jsonl:1: the row is an array; expected one JSON object a line."),
    (
        "two objects",
        "faq.jsonl",
        (GOOD + GOOD + "\n").encode(),
        "faq.jsonl:1:38: a second value starts at column 38; expected one object a line. Put a line break before it.",
    ),
    (
        "two objects spaced",
        "faq.jsonl",
        (GOOD + " " + GOOD + "\n").encode(),
        "faq.jsonl:1:39: a second value starts at column 39; expected one object a line. Put a line break before it.",
    ),
    ("text after", "faq.jsonl", (GOOD + " ok\n").encode(), "faq.jsonl:1:39: not valid JSON: text after the object at column 39. Remove it."),
    ("brace too many", "faq.jsonl", (GOOD + "}\n").encode(), "faq.jsonl:1:38: not valid JSON: one } too many at column 38. Remove it."),
    (
        "NaN",
        "faq.jsonl",
        b'{"question": "a", "answer": "b", "score": NaN}\n',
        "faq.jsonl:1: NaN is not JSON. Write null, or leave the key out.",
    ),
    (
        "Infinity",
        "faq.jsonl",
        b'{"question": "a", "answer": "b", "score": -Infinity}\n',
        "faq.jsonl:1: -Infinity is not JSON. Write null, or leave the key out.",
    ),
    (
        "deep",
        "faq.jsonl",
        b'{"a":' * 20000 + b"1" + b"}" * 20000 + b"\n",
        "faq.jsonl:1: nested deeper than 64 levels; a row needs three. Remove it.",
    ),
    (
        "deep array",
        "faq.json",
        b"[" * 20000 + b"]" * 20000 + b"\n",
        "faq.json:1: nested deeper than 64 levels; a row needs three. Remove it.",
    ),
    (
        "depth 65",
        "faq.jsonl",
        b'{"question": "a", "answer": "b", "x": ' + b"[" * 64 + b"]" * 64 + b"}\n",
        "faq.jsonl:1: nested deeper than 64 levels; a row needs three. Remove it.",
    ),
    (
        "single quotes",
        "faq.jsonl",
        b"{'question': 'a', 'answer': 'b'}\n",
        (
            "faq.jsonl:1:2: not valid JSON: single quotes at column 2; JSON has double quotes only. "
            "This may be Python's notation: write it with json.dumps."
        ),
    ),
    (
        "python none",
        "faq.jsonl",
        b'{"question": "a", "answer": None}\n',
        "faq.jsonl:1:29: not valid JSON: None at column 29 is Python's word. Write null.",
    ),
    ("comment", "faq.jsonl", b"// mine\n" + GOOD.encode(), "faq.jsonl:1:1: not valid JSON: a comment at column 1; JSON has none. Remove it."),
    (
        "unclosed string",
        "faq.jsonl",
        b'{"question": "a", "answer": "b}\n',
        (
            "faq.jsonl:1:29: not valid JSON: the string that starts at column 29 has no closing quote. "
            "Close it, or write a line break inside text as \\n."
        ),
    ),
    (
        "cut",
        "faq.jsonl",
        GOOD.encode() + b'\n{"question": "a", "answer": \n',
        "faq.jsonl:2:28: not valid JSON: it ends in the middle of a value, at column 28. The file may be cut off.",
    ),
    (
        "cut open",
        "faq.jsonl",
        b'{"messages": [\n{"messages": []}\n',
        (
            "faq.jsonl:1:15: not valid JSON: it ends in the middle of a value, at column 15. The file may be cut off.\n"
            "faq.jsonl:2: \"messages\" is an empty array; expected a user's and an assistant's message.\n"
            "2 errors; nothing was written."
        ),
    ),
    (
        "raw tab",
        "faq.jsonl",
        b'{"question": "a\tb", "answer": "b"}\n',
        "faq.jsonl:1:16: not valid JSON: a raw tab inside a string at column 16. Write it as \\t.",
    ),
    (
        "bad escape",
        "faq.jsonl",
        b'{"question": "C:\\Users", "answer": "b"}\n',
        "faq.jsonl:1:17: not valid JSON: an unknown backslash escape at column 17. Write a backslash in text as \\\\.",
    ),
    (
        "missing comma",
        "faq.jsonl",
        b'{"question": "a" "answer": "b"}\n',
        (
            "faq.jsonl:1:18: not valid JSON: found a quote at column 18; expected a comma or a closing bracket. "
            'A quote inside text is written \\".'
        ),
    ),
    (
        "missing colon",
        "faq.jsonl",
        b'{"question" "a"}\n',
        "faq.jsonl:1:13: not valid JSON: found a quote at column 13; expected a colon after the key.",
    ),
    (
        "unquoted key",
        "faq.jsonl",
        b'{question: "a"}\n',
        'faq.jsonl:1:2: not valid JSON: found "question" at column 2; expected a key in double quotes.',
    ),
    (
        "inner quote",
        "faq.jsonl",
        b'{"question": "say "hi"", "answer": "b"}\n',
        (
            'faq.jsonl:1:20: not valid JSON: found "hi" at column 20; expected a comma or a closing bracket. '
            'A quote inside text is written \\".'
        ),
    ),
    (
        "repeated key",
        "faq.jsonl",
        b'{"question": "a", "question": "c", "answer": "b"}\n',
        'faq.jsonl:1: the key "question" is there twice in one object. Remove or rename one of them.',
    ),
    (
        "long number",
        "faq.jsonl",
        b'{"question": "a", "answer": "b", "id": ' + b"9" * 5000 + b"}\n",
        "faq.jsonl:1: a number has more than 4,300 digits; write it as text.",
    ),
    (
        "a number that would be infinity",
        "faq.jsonl",
        b'{"question": "a", "answer": "b", "score": -1e999}\n',
        'faq.jsonl:1: the number "-1e999" is too large: it would be read as infinity. Write it as text.',
    ),
    (
        "bom in the middle",
        "faq.jsonl",
        GOOD.encode() + b"\n\xef\xbb\xbf" + GOOD.encode() + b"\n",
        ("faq.jsonl:2:1: not valid JSON: a byte order mark at column 1; only the first line of a file may have one. Remove it."),
    ),
    (
        "csv as jsonl",
        "faq.jsonl",
        b"question,answer\na,b\n",
        (
            'faq.jsonl:1:1: not valid JSON: found "question" at column 1; expected a value.\n'
            'faq.jsonl:2:1: not valid JSON: found "a" at column 1; expected a value.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "array unclosed",
        "faq.json",
        b'[{"question": "a", "answer": "b"},\n {"question": "c"',
        "faq.json: the array has no closing ]; the file ends in or after record 2. It may be cut off.",
    ),
    (
        "array unclosed between",
        "faq.json",
        b'[{"question": "a", "answer": "b"},',
        "faq.json: the array has no closing ]; the file ends in or after record 2. It may be cut off.",
    ),
    (
        "array trailing comma",
        "faq.json",
        b'[{"question": "a", "answer": "b"},]',
        "faq.json:1: not valid JSON: a trailing comma after record 1, before the closing ]. Remove it.",
    ),
    (
        "array two commas",
        "faq.json",
        b'[{"question": "a", "answer": "b"},,{"question": "c", "answer": "b"}]',
        "faq.json:2: not valid JSON: nothing between two commas. Remove one.",
    ),
    (
        "array of scalars",
        "faq.json",
        b'[{"question": "a", "answer": "b"}, 3]',
        "faq.json:2: the row is the number 3; expected one JSON object a record.",
    ),
    (
        "array then more",
        "faq.json",
        b'[{"question": "a", "answer": "b"}]\n[{}]',
        ("faq.json: more data after the array's end, at line 2, column 1; expected one array, or one object a line. Remove it."),
    ),
    (
        "array syntax",
        "faq.json",
        b'[{"question": "a", "answer": "b"},\n {"question": "c", "answer": "d",}]',
        "faq.json:2: not valid JSON: a trailing comma at line 2, column 33. Remove it.",
    ),
    (
        "array latin1",
        "faq.json",
        b'[{"question": "a", "answer": "b"},\n {"question": "caf\xe9", "answer": "d"}]',
        ("faq.json:2: byte 53 of the file (0xe9) is not UTF-8. Convert it, from Windows-1252 if it is that: iconv -f WINDOWS-1252 -t UTF-8 faq.json > faq.clean.json"),
    ),
    ("array empty", "faq.json", b"[]", "faq.json: the file holds no rows; expected at least one."),
    (
        "wrapped",
        "faq.json",
        b'{"version": 1, "data": [{"question": "a", "answer": "b"}]}',
        ('faq.json:1: no known shape in the keys "version" and "data"; the rows may be inside "data". Write that array alone to a file.'),
    ),
]
