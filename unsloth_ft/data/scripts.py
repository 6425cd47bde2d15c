"""Which script a text is written in, by Unicode's ranges."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

# Where each script's letters begin in Unicode 16 (Blocks.txt); what lies between belongs to the one before it, "" to none.
_RANGES = (
    (0x0000, "Latin"), (0x0250, "Latin"), (0x02B0, ""), (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"), (0x0590, "Hebrew"),
    (0x0600, "Arabic"), (0x0700, "Syriac"), (0x0750, "Arabic"), (0x0780, "Thaana"), (0x07C0, "N'Ko"), (0x0800, "other"), (0x0870, "Arabic"),
    (0x0900, "Devanagari"), (0x0980, "Bengali"), (0x0A00, "Gurmukhi"), (0x0A80, "Gujarati"), (0x0B00, "Odia"), (0x0B80, "Tamil"),
    (0x0C00, "Telugu"), (0x0C80, "Kannada"), (0x0D00, "Malayalam"), (0x0D80, "Sinhala"), (0x0E00, "Thai"), (0x0E80, "Lao"),
    (0x0F00, "Tibetan"), (0x1000, "Myanmar"), (0x10A0, "Georgian"), (0x1100, "Hangul"), (0x1200, "Ethiopic"), (0x13A0, "other"),
    (0x1780, "Khmer"), (0x1800, "Mongolian"), (0x18B0, "other"), (0x1C80, "Cyrillic"), (0x1C90, "Georgian"), (0x1CC0, "other"),
    (0x1D00, "Latin"), (0x1F00, "Greek"), (0x2000, ""), (0x2C60, "Latin"), (0x2C80, "other"), (0x2D00, "Georgian"), (0x2D30, "other"),
    (0x2D80, "Ethiopic"), (0x2DE0, "Cyrillic"), (0x2E00, ""), (0x2E80, "Han"), (0x3000, ""), (0x3041, "Kana"), (0x3100, "other"),
    (0x3130, "Hangul"), (0x3190, ""), (0x31F0, "Kana"), (0x3200, ""), (0x3400, "Han"), (0xA000, "other"), (0xA640, "Cyrillic"),
    (0xA6A0, "other"), (0xA720, "Latin"), (0xA800, "other"), (0xAC00, "Hangul"), (0xD800, ""), (0xF900, "Han"), (0xFB00, "Latin"),
    (0xFB13, "Armenian"), (0xFB1D, "Hebrew"), (0xFB50, "Arabic"), (0xFE00, ""), (0xFE70, "Arabic"), (0xFEFF, ""), (0xFF21, "Latin"),
    (0xFF66, "Kana"), (0xFFA0, "Hangul"), (0xFFE0, ""), (0x10000, "other"), (0x1B000, "Kana"), (0x1B130, "other"), (0x1D000, ""),
    (0x1E000, "other"), (0x1F000, ""), (0x20000, "Han"), (0xE0000, ""),
)  # fmt: skip
_STARTS = tuple(start for start, _ in _RANGES)
_FIRST_NOT_LATIN = "\u0370"
_LOOKED_AT = 64  # characters of a text, evenly spread: enough to tell its script
NONE = "no letters"


def script(text: str) -> str:
    """The script of most of its letters: "Latin", "Cyrillic", "Han" …; "Japanese" for Kana with or without Han; NONE without letters."""
    looked_at = text if len(text) <= _LOOKED_AT else text[:: len(text) // _LOOKED_AT]
    if looked_at.isascii() or not any(map(str.isalpha, [letter for letter in looked_at if letter >= _FIRST_NOT_LATIN])):
        return "Latin" if looked_at.lower() != looked_at.upper() else NONE
    found: Counter[str] = Counter(map(_of, filter(str.isalpha, looked_at)))
    found.pop("", None)
    if found["Kana"] and 10 * found["Kana"] >= found["Han"]:
        found["Japanese"] = found.pop("Kana") + found.pop("Han", 0)
    return max(found, key=found.__getitem__, default=NONE)


def _of(letter: str) -> str:
    return _RANGES[bisect_right(_STARTS, ord(letter)) - 1][1]
