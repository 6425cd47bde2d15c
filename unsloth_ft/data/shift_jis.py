"""Whether bytes that are not UTF-8 are Japanese in Shift_JIS, as Excel on a Japanese Windows writes CSV."""

from __future__ import annotations

import re

NAME = "CP932"  # Windows' Shift_JIS, which has the characters that its text editors write
_JAPANESE = re.compile("[\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e]")
_TWO = re.compile("[\u3040-\u30ff\u4e00-\u9fff]{2}")


def is_shift_jis(raw: bytes) -> bool:
    """By its words, two characters at least, of nothing but kana, kanji and wide signs.

    Half of the characters must be common ones, whose first byte (0x81 to 0x9f) is a quotation mark or nothing at all in Windows-1252:
    "éléments" would be two rare kanji.
    """
    try:
        text = raw.decode(NAME)
    except UnicodeDecodeError:
        return False
    beyond = [character for character in text if not character.isascii()]
    if not _TWO.search(text) or not all(map(_JAPANESE.match, beyond)):
        return False
    common = sum(0x81 <= character.encode(NAME)[0] <= 0x9F for character in beyond)
    return 2 * common >= len(beyond)
