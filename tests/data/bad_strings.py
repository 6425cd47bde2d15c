"""Broken strings of JSON, class by class as JSONTestSuite sorts them, written anew: name, file name, content, the whole message."""

from __future__ import annotations

BAD_STRINGS: list[tuple[str, str, bytes, str]] = [
    (
        "string with a raw line break",
        "faq.jsonl",
        b'{"question": "Who\nis it?", "answer": "Me."}\n',
        (
            "faq.jsonl:1:14: not valid JSON: the string that starts at column 14 has no closing quote. Close it, or write a "
            "line break inside text as \\n.\n"
            'faq.jsonl:2:1: not valid JSON: found "is" at column 1; expected a value.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "string with a raw escape character",
        "faq.jsonl",
        b'{"question": "\x1b[1mWho?", "answer": "Me."}\n',
        "faq.jsonl:1:15: not valid JSON: a raw control character U+001B inside a string at column 15. Write it as \\u001b.",
    ),
    (
        "string with a raw form feed",
        "faq.jsonl",
        b'{"question": "a\x0cb", "answer": "Me."}\n',
        "faq.jsonl:1:16: not valid JSON: a raw control character U+000C inside a string at column 16. Write it as \\u000c.",
    ),
    (
        "string with a raw backspace",
        "faq.jsonl",
        b'{"question": "a\x08b", "answer": "Me."}\n',
        "faq.jsonl:1:16: not valid JSON: a raw control character U+0008 inside a string at column 16. Write it as \\u0008.",
    ),
    (
        "string with a raw carriage return",
        "faq.jsonl",
        b'{"question": "a\rb", "answer": "Me."}\n',
        "faq.jsonl:1:16: not valid JSON: a raw carriage return inside a string at column 16. Write it as \\r.",
    ),
    (
        "string with a tab behind a backslash",
        "faq.jsonl",
        b'{"question": "a\\\tb", "answer": "Me."}\n',
        "faq.jsonl:1:16: not valid JSON: an unknown backslash escape at column 16. Write a backslash in text as \\\\.",
    ),
    (
        "string with escape a",
        "faq.jsonl",
        b'{"question": "a\\a", "answer": "Me."}\n',
        "faq.jsonl:1:16: not valid JSON: an unknown backslash escape at column 16. Write a backslash in text as \\\\.",
    ),
    (
        "string with escape x",
        "faq.jsonl",
        b'{"question": "a\\x00", "answer": "Me."}\n',
        "faq.jsonl:1:16: not valid JSON: an unknown backslash escape at column 16. Write a backslash in text as \\\\.",
    ),
    (
        "string with escape 0",
        "faq.jsonl",
        b'{"question": "a\\0", "answer": "Me."}\n',
        "faq.jsonl:1:16: not valid JSON: an unknown backslash escape at column 16. Write a backslash in text as \\\\.",
    ),
    (
        "string with escape U",
        "faq.jsonl",
        b'{"question": "a\\U0001F600", "answer": "Me."}\n',
        "faq.jsonl:1:16: not valid JSON: an unknown backslash escape at column 16. Write a backslash in text as \\\\.",
    ),
    (
        "string with an escaped single quote",
        "faq.jsonl",
        b'{"question": "It\\\'s?", "answer": "Me."}\n',
        "faq.jsonl:1:17: not valid JSON: an unknown backslash escape at column 17. Write a backslash in text as \\\\.",
    ),
    (
        "string with an escaped emoji",
        "faq.jsonl",
        '{"question": "a\\😀", "answer": "Me."}\n'.encode(),
        "faq.jsonl:1:16: not valid JSON: an unknown backslash escape at column 16. Write a backslash in text as \\\\.",
    ),
    (
        "string with an empty Unicode escape",
        "faq.jsonl",
        b'{"question": "a\\u", "answer": "Me."}\n',
        ("faq.jsonl:1:17: not valid JSON: \\u without four hexadecimal digits behind it at column 17. Write a backslash in text as \\\\."),
    ),
    (
        "string with a Unicode escape of one digit",
        "faq.jsonl",
        b'{"question": "a\\u1", "answer": "Me."}\n',
        ("faq.jsonl:1:17: not valid JSON: \\u without four hexadecimal digits behind it at column 17. Write a backslash in text as \\\\."),
    ),
    (
        "string with a Unicode escape of three digits",
        "faq.jsonl",
        b'{"question": "a\\u00A", "answer": "Me."}\n',
        ("faq.jsonl:1:17: not valid JSON: \\u without four hexadecimal digits behind it at column 17. Write a backslash in text as \\\\."),
    ),
    (
        "string with a Unicode escape of other letters",
        "faq.jsonl",
        b'{"question": "a\\uqqqq", "answer": "Me."}\n',
        ("faq.jsonl:1:17: not valid JSON: \\u without four hexadecimal digits behind it at column 17. Write a backslash in text as \\\\."),
    ),
    (
        "string with a Unicode escape in braces",
        "faq.jsonl",
        b'{"question": "a\\u{1F600}", "answer": "Me."}\n',
        ("faq.jsonl:1:17: not valid JSON: \\u without four hexadecimal digits behind it at column 17. Write a backslash in text as \\\\."),
    ),
    (
        "string with a signed Unicode escape",
        "faq.jsonl",
        b'{"question": "a\\u+041", "answer": "Me."}\n',
        ("faq.jsonl:1:17: not valid JSON: \\u without four hexadecimal digits behind it at column 17. Write a backslash in text as \\\\."),
    ),
    (
        "string with an underscore in a Unicode escape",
        "faq.jsonl",
        b'{"question": "a\\u0_41", "answer": "Me."}\n',
        ("faq.jsonl:1:17: not valid JSON: \\u without four hexadecimal digits behind it at column 17. Write a backslash in text as \\\\."),
    ),
    (
        "string with the second half of an emoji alone",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "\\ude00"}\n',
        'faq.jsonl:1: "answer" holds half of a surrogate pair (a cut emoji), which is no character. Remove it.',
    ),
    (
        "string with the halves of an emoji swapped",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "\\ude00\\ud83d"}\n',
        'faq.jsonl:1: "answer" holds half of a surrogate pair (a cut emoji), which is no character. Remove it.',
    ),
    (
        "string with two first halves",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "\\ud83d\\ud83d\\ude00"}\n',
        'faq.jsonl:1: "answer" holds half of a surrogate pair (a cut emoji), which is no character. Remove it.',
    ),
    (
        "string with a half and a cut escape",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "\\ud83d\\u"}\n',
        ("faq.jsonl:1:40: not valid JSON: \\u without four hexadecimal digits behind it at column 40. Write a backslash in text as \\\\."),
    ),
    (
        "string that ends in a backslash",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "\\"}\n',
        (
            "faq.jsonl:1:32: not valid JSON: the string that starts at column 32 has no closing quote. Close it, or write a "
            "line break inside text as \\n."
        ),
    ),
    (
        "string that the file's end cuts",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "Me',
        (
            "faq.jsonl:1:32: not valid JSON: the string that starts at column 32 has no closing quote. Close it, or write a "
            "line break inside text as \\n."
        ),
    ),
    (
        "string cut within an escape",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "Me\\',
        (
            "faq.jsonl:1:32: not valid JSON: the string that starts at column 32 has no closing quote. Close it, or write a "
            "line break inside text as \\n."
        ),
    ),
    (
        "string cut within a Unicode escape",
        "faq.jsonl",
        b'{"question": "Who?", "answer": "Me\\u00',
        ("faq.jsonl:1:36: not valid JSON: \\u without four hexadecimal digits behind it at column 36. Write a backslash in text as \\\\."),
    ),
    (
        "string without quotes",
        "faq.jsonl",
        b'{"question": Who, "answer": "Me."}\n',
        'faq.jsonl:1:14: not valid JSON: found "Who" at column 14; expected a value.',
    ),
    (
        "string with text behind its quote",
        "faq.jsonl",
        b'{"question": "Who"?, "answer": "Me."}\n',
        (
            'faq.jsonl:1:19: not valid JSON: found "?" at column 19; expected a comma or a closing bracket. A quote inside '
            'text is written \\".'
        ),
    ),
    (
        "string in backticks",
        "faq.jsonl",
        b'{"question": `Who?`, "answer": "Me."}\n',
        'faq.jsonl:1:14: not valid JSON: found "`" at column 14; expected a value.',
    ),
    (
        "string in triple quotes",
        "faq.jsonl",
        b'{"question": """Who?""", "answer": "Me."}\n',
        (
            "faq.jsonl:1:16: not valid JSON: found a quote at column 16; expected a comma or a closing bracket. A quote "
            'inside text is written \\".'
        ),
    ),
    (
        "strings joined by a plus",
        "faq.jsonl",
        b'{"question": "Who" + "?", "answer": "Me."}\n',
        (
            'faq.jsonl:1:20: not valid JSON: found "+" at column 20; expected a comma or a closing bracket. A quote inside '
            'text is written \\".'
        ),
    ),
]
