"""Numbers and words that aren't JSON's, class by class as JSONTestSuite sorts them, written anew: name, file name, content, the whole message."""

from __future__ import annotations

from tests.data.building import extra

BAD_LITERALS: list[tuple[str, str, bytes, str]] = [
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
]
