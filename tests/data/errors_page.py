"""`python -m tests.data.errors_page` writes docs/data-errors.md: every bad file of the tests with what is said of it."""

from __future__ import annotations

from pathlib import Path

from tests.data.bad_brackets import BAD_BRACKETS
from tests.data.bad_csv import BAD_CSV
from tests.data.bad_encodings import BAD_ENCODINGS
from tests.data.bad_fields import BAD_FIELDS
from tests.data.bad_lines import BAD_LINES
from tests.data.bad_literals import BAD_LITERALS
from tests.data.bad_messages import BAD_MESSAGES
from tests.data.bad_packed import BAD_PACKED
from tests.data.bad_parquet import BAD_PARQUET
from tests.data.bad_rows import BAD_ROWS
from tests.data.bad_shapes import BAD_SHAPES
from tests.data.bad_strings import BAD_STRINGS
from tests.data.bad_syntax import BAD_SYNTAX
from tests.data.bad_tables import BAD_TABLES
from tests.data.near_misses import NEAR_MISSES
from tests.data.test_good_files import GOOD_FILES
from tests.data.texts import BAD_TEXTS, NOTES

PAGE = Path(__file__).parents[2] / "docs" / "data-errors.md"
SECTIONS = (
    ("JSON that is none", [*BAD_SYNTAX, *BAD_LITERALS, *BAD_BRACKETS, *BAD_STRINGS, *BAD_LINES]),
    ("Encodings, and files of other kinds", BAD_ENCODINGS),
    ("Rows that can't be learned", [*BAD_ROWS, *BAD_FIELDS, *BAD_MESSAGES, *BAD_SHAPES]),
    ("CSV and Parquet", [*BAD_TABLES, *BAD_CSV, *BAD_PARQUET]),
    ("Packed files", BAD_PACKED),
)
HEAD = """# What is said of bad data files

Every bad file that the tests have, with all that `unsloth-ft data check` says of it before it ends with exit code 2; `run` says the same
and writes nothing. Files, and the messages they must give, stand in `tests/data/bad_*.py`; this page is written from them by
`make data-errors`, and a test fails when it is stale. After it come the files that look wrong and are right.

What JSON leaves open is decided so:

- A key twice in one object, `NaN` and `Infinity`, nesting deeper than 64 levels and numbers of more than 4,300 digits are refused, wherever they stand.
- Half of a surrogate pair, and NUL, are refused in texts that are used; in values that nothing reads they are left alone, like numbers beyond a double.
- A byte order mark may stand at the beginning of the file and nowhere else; white space is what JSON calls so, and a blank line is no row.
- Bytes must be UTF-8 in its shortest form: no overlong sequence, no surrogate, nothing beyond U+10FFFF. U+2028 and U+2029 are characters, not line ends.
- A line, a record or a cell may have 16 MiB; what is packed may unpack to 200 times its size, or 16 MiB.
"""

TEXTS = """What is inside the texts stops no run: warnings are recorded, notes are for a person to judge. The texts stand in `tests/data/texts.py`,
and beside them those that only look so: other scripts, emoji, code, formulas, addresses of the web, numbers, placeholders of keys."""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, cases in SECTIONS:
        parts.append(f"\n## {title} ({len(cases)})\n\n| file | what is said |\n|---|---|\n")
        parts += [f"| {_cell(name)} | {_code(message)} |\n" for name, _, _, message in cases]
    parts.append(f"\n## Read, and spoken of ({len(BAD_TEXTS)})\n\n{TEXTS}\n\n| kind | what the answer is said to hold |\n|---|---|\n")
    parts += [f"| {'note' if code in NOTES else 'warning'}: {code} | {_code(message)} |\n" for _, code, message in BAD_TEXTS]
    parts.append(f"\n## Right, though it looks wrong ({len(NEAR_MISSES) + len(GOOD_FILES)})\n\n")
    parts.append(
        "Their texts arrive exactly as they were written, and those of `tests/data/near_misses.py` without a word of any kind.\n\n"
    )
    parts += [f"- {name}\n" for name, *_ in [*NEAR_MISSES, *GOOD_FILES]]
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(message: str) -> str:
    lines = [line.replace("|", "\\|") for line in message.split("\n")]
    return "<br>".join(f"`` {line} ``" if "`" in line else f"`{line}`" for line in lines)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
