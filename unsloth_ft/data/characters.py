"""Characters that no reader sees, or that are damage: control, zero-width and direction marks, replacement characters, mojibake.

What a script or an emoji needs is left alone: joiners in Persian, Hindi and family emoji, balanced isolates and marks in right-to-left
text, variation selectors, no-break and ideographic spaces, soft hyphens, line and paragraph separators.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

from .content import Problem
from .wording import count, quote

# C0 but for tab, line feed and a carriage return before a line feed; DEL; C1 but for U+0085, which ends a line as U+2028 does.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]|\r(?!\n)")
_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]")
_REPLACEMENT = re.compile("(?<![\"'`])\ufffd+(?![\"'`])")  # quoted alone it is spoken of

# Scripts whose letters join, or whose words have no spaces: there U+200B to U+200D are spelling (UAX #31, section 2.3; UAX #14).
_JOINING = "\u0590-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\ufb1d-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff\U0001e900-\U0001e95f"
_SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
# What may stand on either side of a joiner inside an emoji: pictographs, arrows and signs that have an emoji form, skin tones, U+FE0F.
_EMOJI = "\u00a9\u00ae\u2190-\u2bff\u3030\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff"
_ZERO_WIDTH = re.compile(
    f"(?<![{_JOINING}{_SPACELESS}])\u200b(?![{_JOINING}{_SPACELESS}])"
    f"|(?<![{_JOINING}])\u200c(?![{_JOINING}])"
    f"|(?<![{_JOINING}{_EMOJI}])\u200d|\u200d(?![{_JOINING}{_EMOJI}])(?<![{_JOINING}].)"
    "|[\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb]"
    "|(?<![\u1800-\u18af])\u180e"
)
_DIRECTION_MARKS = re.compile("[\u200e\u200f\u061c]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
# A flag of a region is a black flag, tags, and the cancel tag (UTS #51, ED-14a); tags elsewhere hide ASCII text.
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,10}\U000e007f")
_TAGS = re.compile("[\U000e0000-\U000e007f]+")
# One selector follows its character; a row of them hides bytes. (Written out: re finds a set's first character faster than a repeat's.)
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]" * 3 + "[\ufe00-\ufe0f\U000e0100-\U000e01ef]*")
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069\n\u2029]")
_OVERRIDES, _EMBEDDINGS, _ISOLATES = "\u202d\u202e", "\u202a\u202b", "\u2066\u2067\u2068"
_POP_DIRECTION, _POP_ISOLATE = "\u202c", "\u2069"
# UTF-8's first two bytes as cp1252 (or Latin-1, cp1250), cp1251 and MacRoman read them: where ftfy is asked, not a verdict. Word-final é
# before a quote is among them. Two sets in a row, and nothing else: re finds that in half the time of an alternation.
_MOJIBAKE = re.compile(
    "[\u00c2-\u00d1\u00d7-\u00d9\u00e0-\u00f0\u0102\u0103\u0420\u0421\u0432\u221a\u201a]"
    "[\u0080-\u00bf\u0152-\u0192\u02c6\u02dc\u0402-\u040f\u0452-\u045f\u2013-\u203a\u20ac\u2116\u2122]"
)
_WORD = 40  # characters of a damaged word at most, to either side
_CONTEXT = 12  # characters shown on either side


def strange_characters(text: str, name: str) -> Iterator[Problem]:
    """A warning for each kind that is in the text, at its first place; `name` is what messages call the text."""
    if not _is_plain(text):
        yield from _first(CONTROL.search(text), text, name, "control-character", _control)
        if not text.isascii():
            yield from _first(_ZERO_WIDTH.search(text), text, name, "zero-width", _unseen)
            yield from _first(next(_lone_marks(text), None), text, name, "zero-width", _unseen)
            yield from _first(next(_hidden_tags(text), None), text, name, "hidden-text", _spelled)
            yield from _directions(text, name)
            yield from _first(_PRIVATE.search(text), text, name, "private-use", _private)
    if not text.isascii():
        yield from _first(_SELECTORS.search(text), text, name, "hidden-text", _selected)
        yield from _first(_REPLACEMENT.search(text), text, name, "replacement-character", _replaced)
        yield from _mojibake(text, name)


def unseen(text: str) -> Iterator[tuple[str, int, int]]:
    """(kind, begin, end) of all that `strange_characters` warns of and that can be taken out without losing what a reader sees."""
    if _is_plain(text) or text.isascii():
        return
    for code, found in (
        *(("zero-width", found) for found in _ZERO_WIDTH.finditer(text)),
        *(("zero-width", found) for found in _lone_marks(text)),
        *(("hidden-text", found) for found in _hidden_tags(text)),
        *(("hidden-text", found) for found in _SELECTORS.finditer(text)),
        *(("bidi-control", found) for found in _wrong_directions(text)),
    ):
        yield code, found.start(), found.end()


def _wrong_directions(text: str) -> Iterator[re.Match[str]]:
    """Overrides, what their line doesn't close, and ends that close nothing or an override."""
    opened: list[re.Match[str]] = []
    for found in _DIRECTION.finditer(text):
        if found[0] in "\n\u2029":
            yield from opened
            opened = []
        elif found[0] not in (_POP_DIRECTION, _POP_ISOLATE):
            opened.append(found)
        else:
            closes = (_ISOLATES,) if found[0] == _POP_ISOLATE else (_EMBEDDINGS, _OVERRIDES)
            if found[0] == _POP_ISOLATE:
                while opened and opened[-1][0] not in _ISOLATES:
                    yield opened.pop()
            if not opened or not any(opened[-1][0] in kind for kind in closes):
                yield found
            elif (opener := opened.pop())[0] in _OVERRIDES:
                yield from (opener, found)
    yield from opened


def may_hold(whole: str) -> bool:
    """Whether a row's texts, joined, are worth a look at each."""
    if not _is_plain(whole):
        return True
    return not whole.isascii() and bool(_may_be_mojibake(whole) or _SELECTORS.search(whole) or "\ufffd" in whole)


def _is_plain(text: str) -> bool:
    """Whether only letters, marks, digits, punctuation, symbols, spaces and line feeds are in it; a loop in C, 1 to 2 ns a character."""
    return text.replace("\n", "").replace("\t", "").isprintable()


def _first(found: re.Match[str] | None, text: str, name: str, code: str, say: Callable[[re.Match[str]], str]) -> Iterator[Problem]:
    if found is not None:
        message = f"{name} holds {say(found)} at character {found.start() + 1}, {_near(text, found)}"
        yield Problem(code, f"{message}; {_EXPECTED[code]}", "warning")


_EXPECTED = {
    "control-character": "expected no control character but tab and line feed. Remove it.",
    "zero-width": "expected only characters that can be seen. Remove it.",
    "hidden-text": "expected text that can be seen. Remove it.",
    "bidi-control": "expected text in the order in which it is shown. Remove it.",
    "private-use": "expected a character that has a meaning outside of one font. Replace it.",
    "replacement-character": "expected the character that was lost. Read the source with its own encoding, or repair it by hand.",
}


def _control(found: re.Match[str]) -> str:
    number = ord(found[0])
    known = {
        0x1B: " (escape, as in terminal colours)",
        0x0D: " (carriage return without line feed)",
        0x0C: " (form feed)",
        0x08: " (backspace)",
    }
    return f"the control character U+{number:04X}{known.get(number, '')}"


def _unseen(found: re.Match[str]) -> str:
    return f"U+{ord(found[0]):04X} {unicodedata.name(found[0], '')}".strip()


def _spelled(found: re.Match[str]) -> str:
    hidden = "".join(chr(ord(tag) - 0xE0000) for tag in found[0] if 0xE0020 <= ord(tag) <= 0xE007E)
    return f"{count(len(found[0]), 'tag character')} that spell {quote(hidden, limit=40)} unseen"


def _selected(found: re.Match[str]) -> str:
    return f"{len(found[0])} variation selectors in a row, which nobody sees,"


def _private(found: re.Match[str]) -> str:
    return f"U+{ord(found[0]):04X}, a private-use character,"


def _replaced(found: re.Match[str]) -> str:
    return "U+FFFD, which stands for what could not be decoded,"


def _lone_marks(text: str) -> Iterator[re.Match[str]]:
    """Direction marks in a text without a right-to-left letter; beside one they are spelling."""
    return iter(()) if _RIGHT_TO_LEFT.search(text) else _DIRECTION_MARKS.finditer(text)


def _hidden_tags(text: str) -> Iterator[re.Match[str]]:
    flags = {found.start() + 1 for found in _FLAG.finditer(text)}
    return (found for found in _TAGS.finditer(text) if found.start() not in flags)


def _directions(text: str, name: str) -> Iterator[Problem]:
    """Overrides anywhere, embeddings and isolates that their line doesn't close ("Trojan Source", CVE-2021-42574)."""
    opened: list[re.Match[str]] = []
    for found in _DIRECTION.finditer(text):
        character = found[0]
        if character in "\n\u2029":
            if opened:
                break
        elif character in _OVERRIDES:
            yield from _first(found, text, name, "bidi-control", _unseen)
            return
        elif character == _POP_DIRECTION:
            if opened and opened[-1][0] in _EMBEDDINGS:
                opened.pop()
        elif character == _POP_ISOLATE:
            while opened and opened[-1][0] in _EMBEDDINGS:  # an isolate's end ends what was embedded in it (UAX #9, X6a)
                opened.pop()
            if opened:
                opened.pop()
        else:
            opened.append(found)
    if opened:
        yield from _first(opened[0], text, name, "bidi-control", lambda found: f"{_unseen(found)} that its line doesn't close,")


def _mojibake(text: str, name: str) -> Iterator[Problem]:
    """UTF-8 that was read as another encoding, by ftfy's table of what no language writes, and what it repairs."""
    if not _may_be_mojibake(text):
        return
    import ftfy
    from ftfy.badness import BADNESS_RE

    found = BADNESS_RE.search(text)
    if found is None:
        return
    begin = max(text.rfind(" ", 0, found.start()) + 1, found.start() - _WORD)
    end = text.find(" ", found.end(), found.end() + _WORD)
    damaged = text[begin : end if end >= 0 else found.end() + _WORD]
    repaired = ftfy.fix_encoding(damaged)
    if repaired != damaged:
        message = f"{name} holds {quote(damaged, limit=30)} at character {found.start() + 1}, UTF-8 that was read as another encoding"
        yield Problem("mojibake", f"{message}; expected {quote(repaired, limit=30)}. Read the source as UTF-8, or repair it.", "warning")


def _may_be_mojibake(text: str) -> bool:
    return "Ã " in text or "√" in text or _MOJIBAKE.search(text) is not None


def _near(text: str, found: re.Match[str]) -> str:
    """The place, with what is not shown written as escapes."""
    begin, end = max(0, found.start() - _CONTEXT), min(len(text), found.end() + _CONTEXT)
    return f"in {quote(text[begin:end], limit=60)}"
