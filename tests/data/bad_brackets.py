"""Broken arrays and objects of JSON, class by class as JSONTestSuite sorts them, written anew: name, file name, content, the whole message."""

from __future__ import annotations

from tests.data.building import GOOD, extra

BAD_BRACKETS: list[tuple[str, str, bytes, str]] = [
    (
        "array with a missing comma",
        "faq.jsonl",
        extra(b'["a" "b"]'),
        (
            "faq.jsonl:1:49: not valid JSON: found a quote at column 49; expected a comma or a closing bracket. A quote "
            'inside text is written \\".'
        ),
    ),
    ("array with two commas", "faq.jsonl", extra(b"[1,,2]"), 'faq.jsonl:1:47: not valid JSON: found "," at column 47; expected a value.'),
    ("array with a comma first", "faq.jsonl", extra(b"[,1]"), 'faq.jsonl:1:45: not valid JSON: found "," at column 45; expected a value.'),
    ("array of a comma alone", "faq.jsonl", extra(b"[,]"), "faq.jsonl:1:45: not valid JSON: a trailing comma at column 45. Remove it."),
    (
        "array with two trailing commas",
        "faq.jsonl",
        extra(b"[1,,]"),
        "faq.jsonl:1:47: not valid JSON: a trailing comma at column 47. Remove it.",
    ),
    (
        "array with a colon",
        "faq.jsonl",
        extra(b"[1:2]"),
        (
            'faq.jsonl:1:46: not valid JSON: found ":" at column 46; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    ("array with a star", "faq.jsonl", extra(b"[*]"), 'faq.jsonl:1:45: not valid JSON: found "*" at column 45; expected a value.'),
    (
        "array closed by a brace",
        "faq.jsonl",
        extra(b"[1}"),
        'faq.jsonl:1:46: not valid JSON: found "}" at column 46; expected a comma or a closing bracket. Mend it there.',
    ),
    (
        "array closed twice",
        "faq.jsonl",
        extra(b"[1]]"),
        'faq.jsonl:1:47: not valid JSON: found "]" at column 47; expected a comma or a closing bracket. Mend it there.',
    ),
    (
        "array of an open object",
        "faq.jsonl",
        extra(b"[{}"),
        'faq.jsonl:1:47: not valid JSON: found "}" at column 47; expected a comma or a closing bracket. Mend it there.',
    ),
    (
        "array with a form feed",
        "faq.jsonl",
        extra(b"[1,\f2]"),
        'faq.jsonl:1:47: not valid JSON: found "\\f" at column 47; expected a value.',
    ),
    (
        "array with a no-break space",
        "faq.jsonl",
        extra("[1,\u00a02]".encode()),
        'faq.jsonl:1:47: not valid JSON: found "\\u00a0" at column 47; expected a value.',
    ),
    (
        "array with a word joiner",
        "faq.jsonl",
        extra("[\u2060]".encode()),
        'faq.jsonl:1:45: not valid JSON: found "\\u2060" at column 45; expected a value.',
    ),
    (
        "object with a comma for a colon",
        "faq.jsonl",
        b'{"question", "Who?", "answer": "Me."}\n',
        'faq.jsonl:1:12: not valid JSON: found "," at column 12; expected a colon after the key.',
    ),
    (
        "object with two colons",
        "faq.jsonl",
        b'{"question":: "Who?", "answer": "Me."}\n',
        'faq.jsonl:1:13: not valid JSON: found ":" at column 13; expected a value.',
    ),
    (
        "object with an equals sign",
        "faq.jsonl",
        b'{"question" = "Who?", "answer": "Me."}\n',
        'faq.jsonl:1:13: not valid JSON: found "=" at column 13; expected a colon after the key.',
    ),
    (
        "object with a semicolon",
        "faq.jsonl",
        b'{"question": "Who?"; "answer": "Me."}\n',
        (
            'faq.jsonl:1:20: not valid JSON: found ";" at column 20; expected a comma or a closing bracket. A quote inside '
            'text is written \\".'
        ),
    ),
    (
        "object without a key",
        "faq.jsonl",
        b'{: "Who?", "answer": "Me."}\n',
        'faq.jsonl:1:2: not valid JSON: found ":" at column 2; expected a key in double quotes.',
    ),
    (
        "object without a value",
        "faq.jsonl",
        b'{"question": , "answer": "Me."}\n',
        'faq.jsonl:1:14: not valid JSON: found "," at column 14; expected a value.',
    ),
    (
        "object with a key alone",
        "faq.jsonl",
        b'{"question"}\n',
        'faq.jsonl:1:12: not valid JSON: found "}" at column 12; expected a colon after the key.',
    ),
    (
        "object with a value that is no pair",
        "faq.jsonl",
        b'{"question": "Who?", "answer"}\n',
        'faq.jsonl:1:30: not valid JSON: found "}" at column 30; expected a colon after the key.',
    ),
    (
        "object with a number as key",
        "faq.jsonl",
        b'{1: "Who?", "answer": "Me."}\n',
        'faq.jsonl:1:2: not valid JSON: found "1" at column 2; expected a key in double quotes.',
    ),
    (
        "object with null as key",
        "faq.jsonl",
        b'{null: "Who?", "answer": "Me."}\n',
        'faq.jsonl:1:2: not valid JSON: found "null" at column 2; expected a key in double quotes.',
    ),
    (
        "object with a bracket as key",
        "faq.jsonl",
        b'{[: "Who?"}\n',
        'faq.jsonl:1:2: not valid JSON: found "[" at column 2; expected a key in double quotes.',
    ),
    (
        "object with an emoji as key",
        "faq.jsonl",
        '{😀: "Who?"}\n'.encode(),
        'faq.jsonl:1:2: not valid JSON: found "😀" at column 2; expected a key in double quotes.',
    ),
    (
        "object with one key in single quotes",
        "faq.jsonl",
        b"""{"question": "Who?", 'answer': "Me."}\n""",
        (
            "faq.jsonl:1:22: not valid JSON: single quotes at column 22; JSON has double quotes only. This may be Python's "
            "notation: write it with json.dumps."
        ),
    ),
    (
        "object with curly quotes",
        "faq.jsonl",
        "{“question”: “Who?”}\n".encode(),
        'faq.jsonl:1:2: not valid JSON: found "“" at column 2; expected a key in double quotes.',
    ),
    (
        "object with a comma first",
        "faq.jsonl",
        b'{, "question": "Who?"}\n',
        'faq.jsonl:1:2: not valid JSON: found "," at column 2; expected a key in double quotes.',
    ),
    (
        "object with two commas inside",
        "faq.jsonl",
        b'{"question": "Who?",, "answer": "Me."}\n',
        'faq.jsonl:1:21: not valid JSON: found "," at column 21; expected a key in double quotes.',
    ),
    (
        "object with two trailing commas",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "Me.",,}\n',
        "faq.jsonl:1:38: not valid JSON: a trailing comma at column 38. Remove it.",
    ),
    (
        "object closed by a bracket",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "Me."]\n',
        'faq.jsonl:1:37: not valid JSON: found "]" at column 37; expected a comma or a closing bracket. Mend it there.',
    ),
    (
        "object not closed",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "Me."\n',
        "faq.jsonl:1:37: not valid JSON: it ends in the middle of a value, at column 37. The file may be cut off.",
    ),
    (
        "object that ends in a comma",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "Me.",\n',
        "faq.jsonl:1:38: not valid JSON: it ends in the middle of a value, at column 38. The file may be cut off.",
    ),
    (
        "object that ends in a colon",
        "faq.jsonl",
        b'{"question":\n',
        "faq.jsonl:1:13: not valid JSON: it ends in the middle of a value, at column 13. The file may be cut off.",
    ),
    (
        "object of a brace alone",
        "faq.jsonl",
        b"{\n",
        "faq.jsonl:1:2: not valid JSON: it ends in the middle of a value, at column 2. The file may be cut off.",
    ),
    (
        "object with a comment inside",
        "faq.jsonl",
        b'{"question": "Who?", /* mine */ "answer": "Me."}\n',
        "faq.jsonl:1:22: not valid JSON: a comment at column 22; JSON has none. Remove it.",
    ),
    (
        "object with a comment for a value",
        "faq.jsonl",
        b'{"question": /* mine */ "Who?", "answer": "Me."}\n',
        "faq.jsonl:1:14: not valid JSON: a comment at column 14; JSON has none. Remove it.",
    ),
    (
        "object with a comment behind it",
        "faq.jsonl",
        GOOD.encode() + b" // mine\n",
        "faq.jsonl:1:39: not valid JSON: a comment at column 39; JSON has none. Remove it.",
    ),
    (
        "object with a hash comment before it",
        "faq.jsonl",
        b"# mine\n" + GOOD.encode(),
        "faq.jsonl:1:1: not valid JSON: a comment at column 1; JSON has none. Remove it.",
    ),
    (
        "object in parentheses",
        "faq.jsonl",
        b"(" + GOOD.encode() + b")\n",
        'faq.jsonl:1:1: not valid JSON: found "(" at column 1; expected a value.',
    ),
    (
        "object as a JSONP call",
        "faq.jsonl",
        b"callback(" + GOOD.encode() + b");\n",
        'faq.jsonl:1:1: not valid JSON: found "callback" at column 1; expected a value.',
    ),
    (
        "object behind an anti-hijacking prefix",
        "faq.jsonl",
        b")]}'" + GOOD.encode() + b"\n",
        'faq.jsonl:1:1: not valid JSON: found ")" at column 1; expected a value.',
    ),
    (
        "object with a semicolon behind it",
        "faq.jsonl",
        GOOD.encode() + b";\n",
        "faq.jsonl:1:38: not valid JSON: text after the object at column 38. Remove it.",
    ),
    (
        "object with a second object in brackets",
        "faq.jsonl",
        GOOD.encode() + b"[]\n",
        "faq.jsonl:1:38: a second value starts at column 38; expected one object a line. Put a line break before it.",
    ),
    (
        "key twice inside",
        "faq.jsonl",
        extra(b'{"a": 1, "a": 1}'),
        'faq.jsonl:1: the key "a" is there twice in one object. Remove or rename one of them.',
    ),
    (
        "key twice in two spellings",
        "faq.jsonl",
        b'{"question": "a", "\\u0071uestion": "b", "answer": "c"}\n',
        'faq.jsonl:1: the key "question" is there twice in one object. Remove or rename one of them.',
    ),
]
