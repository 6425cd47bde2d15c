"""Broken JSON, class by class as JSONTestSuite sorts it, written anew as rows of a data file: name, file name, content, the whole message."""

from __future__ import annotations

from tests.data.building import GOOD


def extra(value: bytes) -> bytes:
    """A good row with one more value, which nothing reads."""
    return b'{"question": "Who?", "answer": "Me.", "x": ' + value + b"}\n"


BAD_JSON: list[tuple[str, str, bytes, str]] = [
    (
        "number with a leading zero",
        "faq.jsonl",
        extra(b"012"),
        (
            'faq.jsonl:1:45: not valid JSON: found "1" at column 45; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number negative with a leading zero",
        "faq.jsonl",
        extra(b"-012"),
        (
            'faq.jsonl:1:46: not valid JSON: found "1" at column 46; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with a plus sign",
        "faq.jsonl",
        extra(b"+1"),
        (
            'faq.jsonl:1:44: not valid JSON: found "+" at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with two plus signs",
        "faq.jsonl",
        extra(b"++1"),
        (
            'faq.jsonl:1:44: not valid JSON: found "+" at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "number without digits before the point",
        "faq.jsonl",
        extra(b".5"),
        (
            'faq.jsonl:1:44: not valid JSON: found "." at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "number negative without digits before the point",
        "faq.jsonl",
        extra(b"-.5"),
        (
            'faq.jsonl:1:44: not valid JSON: found "-" at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "number without digits after the point",
        "faq.jsonl",
        extra(b"1."),
        (
            'faq.jsonl:1:45: not valid JSON: found "." at column 45; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number without digits between point and exponent",
        "faq.jsonl",
        extra(b"2.e3"),
        (
            'faq.jsonl:1:45: not valid JSON: found "." at column 45; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with two points",
        "faq.jsonl",
        extra(b"0.1.2"),
        (
            'faq.jsonl:1:47: not valid JSON: found "." at column 47; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with an empty exponent",
        "faq.jsonl",
        extra(b"0.3e"),
        (
            'faq.jsonl:1:47: not valid JSON: found "e" at column 47; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with a signed empty exponent",
        "faq.jsonl",
        extra(b"0.3e+"),
        (
            'faq.jsonl:1:47: not valid JSON: found "e" at column 47; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with two exponents",
        "faq.jsonl",
        extra(b"1eE2"),
        (
            'faq.jsonl:1:45: not valid JSON: found "eE" at column 45; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with letters in the exponent",
        "faq.jsonl",
        extra(b"1ea"),
        (
            'faq.jsonl:1:45: not valid JSON: found "ea" at column 45; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number in hexadecimal",
        "faq.jsonl",
        extra(b"0x1F"),
        (
            'faq.jsonl:1:45: not valid JSON: found "x" at column 45; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with a space inside",
        "faq.jsonl",
        extra(b"1 000.0"),
        (
            'faq.jsonl:1:46: not valid JSON: found "0" at column 46; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with an underscore",
        "faq.jsonl",
        extra(b"1_000"),
        (
            'faq.jsonl:1:45: not valid JSON: found "_" at column 45; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with a thousands comma",
        "faq.jsonl",
        extra(b"1,000"),
        'faq.jsonl:1:46: not valid JSON: found "0" at column 46; expected a key in double quotes.',
    ),
    (
        "number as a sum",
        "faq.jsonl",
        extra(b"1+2"),
        (
            'faq.jsonl:1:45: not valid JSON: found "+" at column 45; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number of a minus sign alone",
        "faq.jsonl",
        extra(b"-"),
        (
            'faq.jsonl:1:44: not valid JSON: found "-" at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with a space after the minus sign",
        "faq.jsonl",
        extra(b"- 1"),
        (
            'faq.jsonl:1:44: not valid JSON: found "-" at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "number with a letter at its end",
        "faq.jsonl",
        extra(b"12x"),
        (
            'faq.jsonl:1:46: not valid JSON: found "x" at column 46; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number ending in an at sign",
        "faq.jsonl",
        extra(b"2@"),
        (
            'faq.jsonl:1:45: not valid JSON: found "@" at column 45; expected a comma or a closing bracket. JSON\'s numbers '
            "are like -12, 0.5 and 1e9; write it so, or in quotes."
        ),
    ),
    (
        "number minus word",
        "faq.jsonl",
        extra(b"-foo"),
        (
            'faq.jsonl:1:44: not valid JSON: found "-" at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "number of a point after a minus sign",
        "faq.jsonl",
        extra(b".-1"),
        (
            'faq.jsonl:1:44: not valid JSON: found "." at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "number in full-width digits",
        "faq.jsonl",
        extra("１".encode()),
        (
            'faq.jsonl:1:44: not valid JSON: found "１" at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "NaN with a minus sign",
        "faq.jsonl",
        extra(b"-NaN"),
        (
            'faq.jsonl:1:44: not valid JSON: found "-" at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    (
        "Infinity with a plus sign",
        "faq.jsonl",
        extra(b"+Infinity"),
        (
            'faq.jsonl:1:44: not valid JSON: found "+" at column 44; expected a value. JSON\'s numbers are like -12, 0.5 and '
            "1e9; write it so, or in quotes."
        ),
    ),
    ("nan in lower case", "faq.jsonl", extra(b"nan"), 'faq.jsonl:1:44: not valid JSON: found "nan" at column 44; expected a value.'),
    ("Inf cut short", "faq.jsonl", extra(b"Inf"), 'faq.jsonl:1:44: not valid JSON: found "Inf" at column 44; expected a value.'),
    ("true cut short", "faq.jsonl", extra(b"tru"), 'faq.jsonl:1:44: not valid JSON: found "tru" at column 44; expected a value.'),
    ("false cut short", "faq.jsonl", extra(b"fals"), 'faq.jsonl:1:44: not valid JSON: found "fals" at column 44; expected a value.'),
    ("null cut short", "faq.jsonl", extra(b"nul"), 'faq.jsonl:1:44: not valid JSON: found "nul" at column 44; expected a value.'),
    ("true misspelt", "faq.jsonl", extra(b"truth"), 'faq.jsonl:1:44: not valid JSON: found "truth" at column 44; expected a value.'),
    ("Python's True", "faq.jsonl", extra(b"True"), "faq.jsonl:1:44: not valid JSON: True at column 44 is Python's word. Write true."),
    ("Python's False", "faq.jsonl", extra(b"False"), "faq.jsonl:1:44: not valid JSON: False at column 44 is Python's word. Write false."),
    (
        "JavaScript's undefined",
        "faq.jsonl",
        extra(b"undefined"),
        'faq.jsonl:1:44: not valid JSON: found "undefined" at column 44; expected a value.',
    ),
    ("null in angle brackets", "faq.jsonl", extra(b"<null>"), 'faq.jsonl:1:44: not valid JSON: found "<" at column 44; expected a value.'),
    (
        "a template's placeholder",
        "faq.jsonl",
        extra(b"{{ value }}"),
        'faq.jsonl:1:45: not valid JSON: found "{" at column 45; expected a key in double quotes.',
    ),
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
