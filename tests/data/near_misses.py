"""Files that look wrong and are right: name, file name, content, and the texts of each row, exactly as they must arrive."""

from __future__ import annotations

import gzip
import json
import struct
import unicodedata

import pyarrow
import zstandard

from tests.data.building import GOOD, chat, extra, lines, parquet, qa

ROW = ("Who?", "Me.")
Texts = list[tuple[str, ...]]


def told(*pairs: tuple[str, str], **more: object) -> bytes:
    """Rows of question and answer, in UTF-8 as it is, with `more` beside them."""
    return "".join(json.dumps({**qa(*pair), **more}, ensure_ascii=False) + "\n" for pair in pairs).encode()


def packed(content: bytes, **options: object) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(content)


REGEX = ("Match a path?", r"^(?:[A-Z]:\\|\\\\)[^\"<>|?*]+\.(?:txt|md)$")
LATEX = ("Half?", "\\frac{1}{2} = 0{,}5 \\text{ and } \\nu \\neq \\beta")
SHELL = ("Print it?", "echo \"${HOME}\" '$1' `date` && { ls; } | grep -v '^#' > out.txt")
HTML = ("Bold?", '<b class="x">&amp; <!-- {"a": 1} --></b>')
TABLE = ("Show a table?", "| a | b |\n|---|---|\n| 1 | 2 |\n\n```json\n{\"a\": [1, 2, {}]}\n```")
NESTED = ("As JSON?", '{"a": ["b\\n", {"c": null}], "d": NaN, // no\n }')
TEMPLATE = ("A template?", "Hello {{ name }}, {% if x %}{0}{% endif %} %s ${y} <%= z %>")
DIFF = ("A diff?", "--- a\n+++ b\n@@ -1,2 +1 @@\n-old\n+new\n\\ No newline at end of file")
LONG = ("Tell it at length?", "A sentence that is not short. " * 40_000)
EMOJI = ("👩🏽‍🚀?", "👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 1️⃣ ❤️")
NFD = (unicodedata.normalize("NFD", "Où est le café à Đà Nẵng?"), unicodedata.normalize("NFD", "서울에 있어요."))
TURNS = [("user" if turn % 2 == 0 else "assistant", f"Turn number {turn}.") for turn in range(100)]
SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<I", 8) + bytes(8)

NEAR_MISSES: list[tuple[str, str, bytes, Texts]] = [
    # the file around the rows
    ("mark, CRLF and blank last lines at once", "faq.jsonl", b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n\r\n \r\n\t\n", [ROW]),
    ("CRLF but for the last line", "faq.jsonl", GOOD.encode() + b"\r\n" + told(("a", "b"))[:-1], [ROW, ("a", "b")]),
    ("no line break behind the last row of two", "faq.jsonl", told(ROW, ("a", "b"))[:-1], [ROW, ("a", "b")]),
    ("10,000 blank lines between two rows", "faq.jsonl", GOOD.encode() + b"\n" * 10_000 + told(("a", "b")), [ROW, ("a", "b")]),
    ("spaces and tabs behind each row", "faq.jsonl", GOOD.encode() + b" \t \n" + b"\t" + told(("a", "b")), [ROW, ("a", "b")]),
    ("space between all tokens", "faq.jsonl", b' { "question" :\t"Who?" , "answer" : "Me." } \n', [ROW]),
    ("no space between tokens", "faq.jsonl", b'{"question":"Who?","answer":"Me."}\n', [ROW]),
    ("array with a row a line", "faq.jsonl", b"[\n" + GOOD.encode() + b",\n" + told(("a", "b")) + b"]\n\n", [ROW, ("a", "b")]),
    ("array indented with tabs and CRLF", "faq.json", json.dumps([qa(), qa("a", "b")], indent="\t").replace("\n", "\r\n").encode(), [ROW, ("a", "b")]),
    ("array behind blank lines", "faq.json", b"\n\n  [" + GOOD.encode() + b"]", [ROW]),
    ("NDJSON in capitals", "FAQ.NDJSON", GOOD.encode(), [ROW]),
    ("spaces in the name", "my faq (2).jsonl", GOOD.encode(), [ROW]),
    ("brackets and a star in the name", "faq [1]*.jsonl", GOOD.encode(), [ROW]),
    ("Unicode in the name", "häufige Fragen 😀.jsonl", GOOD.encode(), [ROW]),
    ("several points in the name", "faq.v2.1.final.jsonl", GOOD.encode(), [ROW]),
    # JSON
    ("escapes of every kind", "faq.jsonl", rb'{"question": "\"\\\/\n\r\n\t", "answer": "\u0041\u00e9\u4e1c"}', [('"\\/\n\r\n\t', "Aé东")]),
    ("escaped slashes, as PHP writes them", "faq.jsonl", rb'{"question": "Where?", "answer": "https:\/\/example.org\/a<\/b>"}', [("Where?", "https://example.org/a</b>")]),
    ("surrogate pairs in both cases", "faq.jsonl", rb'{"question": "\uD83D\uDE00", "answer": "\ud83d\ude00 \uD834\udd1e"}', [("😀", "😀 𝄞")]),
    ("escaped keys", "faq.jsonl", rb'{"\u0071uestion": "Who?", "\u0061nswer": "Me."}', [ROW]),
    ("every kind of number", "faq.jsonl", extra(b"[0, -0, -0.0, 1e5, 1E+2, 1.5e-10, 0e0, 123456789012345678901234567890, 0.1]"), [ROW]),
    ("numbers as small as a double and smaller", "faq.jsonl", extra(b"[1e-400, 5e-324, 1.7976931348623157e308]"), [ROW]),
    ("number of 4,300 digits", "faq.jsonl", extra(b"9" * 4300), [ROW]),
    ("half an emoji in what nothing reads", "faq.jsonl", extra(rb'"\ud83d"'), [ROW]),
    ("NUL escaped in what nothing reads", "faq.jsonl", extra(rb'"\u0000"'), [ROW]),
    ("empty containers in containers", "faq.jsonl", extra(b'[[], {}, [[]], [{"a": []}], {"": {}}]'), [ROW]),
    ("brackets in a string of what nothing reads", "faq.jsonl", extra(b'"' + b"[{" * 1000 + b'"'), [ROW]),
    ("keys in another order", "faq.jsonl", b'{"answer": "Me.", "id": 1, "question": "Who?"}\n' + told(("a", "b")), [ROW, ("a", "b")]),
    ("more keys in some rows", "faq.jsonl", GOOD.encode() + b"\n" + told(("a", "b"), source="x", score=0.5), [ROW, ("a", "b")]),
    ("1,000 more keys", "faq.jsonl", told(ROW, **{f"k{number}": None for number in range(1000)}), [ROW]),
    ("an empty key and a long one", "faq.jsonl", told(ROW, **{"": 1, "k" * 10_000: 2, "ключ": 3}), [ROW]),
    ("keys like those of messages beside a pair", "faq.jsonl", told(ROW, role="x", id=7, date="2026-01-01", tags=["a"]), [ROW]),
    # texts
    ("code in braces", "faq.jsonl", told(("C?", "int main(void) { return (int[]){1, 2}[0]; } // }}}")), [("C?", "int main(void) { return (int[]){1, 2}[0]; } // }}}")]),
    ("a regular expression", "faq.jsonl", told(REGEX), [REGEX]),
    ("LaTeX", "faq.jsonl", told(LATEX), [LATEX]),
    ("shell", "faq.jsonl", told(SHELL), [SHELL]),
    ("HTML with a comment", "faq.jsonl", told(HTML), [HTML]),
    ("a Markdown table and a fence", "faq.jsonl", told(TABLE), [TABLE]),
    ("JSON in a text, broken there", "faq.jsonl", told(NESTED), [NESTED]),
    ("placeholders of templates", "faq.jsonl", told(TEMPLATE), [TEMPLATE]),
    ("a diff", "faq.jsonl", told(DIFF), [DIFF]),
    ("a Windows path", "faq.jsonl", told(("Where?", "C:\\new\\table\\u0041")), [("Where?", "C:\\new\\table\\u0041")]),
    ("null as a word in a sentence", "faq.jsonl", told(("Is null zero?", "No, null is nothing; None and NaN are others.")), [("Is null zero?", "No, null is nothing; None and NaN are others.")]),
    ("questions that are literals", "faq.jsonl", told(("null", "Nothing."), ("true", "Yes."), ("undefined", "No value.")), [("null", "Nothing."), ("true", "Yes."), ("undefined", "No value.")]),
    ("numbers as texts", "faq.jsonl", told(("6 × 7?", "42"), ("Pi?", "3.14159"), ("1e3?", "1,000"), ("Half?", "½")), [("6 × 7?", "42"), ("Pi?", "3.14159"), ("1e3?", "1,000"), ("Half?", "½")]),
    ("answers of one character", "faq.jsonl", told(("Yes or no?", "Y"), ("好?", "是"), ("Like it?", "👍")), [("Yes or no?", "Y"), ("好?", "是"), ("Like it?", "👍")]),
    ("a row of a megabyte among short ones", "faq.jsonl", told(ROW, LONG, ("a", "b")), [ROW, LONG, ("a", "b")]),
    ("white space kept at both ends", "faq.jsonl", told(("  Who?\n", "\tMe.\n\n")), [("  Who?\n", "\tMe.\n\n")]),
    # Unicode
    ("emoji of several characters", "faq.jsonl", told(EMOJI), [EMOJI]),
    ("decomposed letters (NFD)", "faq.jsonl", told(NFD), [NFD]),
    ("Arabic and Hebrew", "faq.jsonl", told(("ما هي عاصمة مصر؟", "القاهرة."), ("מה שלומך?", "טוֹב, תודה.")), [("ما هي عاصمة مصر؟", "القاهرة."), ("מה שלומך?", "טוֹב, תודה.")]),
    ("Persian with its non-joiner", "faq.jsonl", told(("چه می\u200cخواهی؟", "نمی\u200cدانم.")), [("چه می\u200cخواهی؟", "نمی\u200cدانم.")]),
    ("Hindi with its joiner", "faq.jsonl", told(("क्\u200dष क्या है?", "एक अक्षर।")), [("क्\u200dष क्या है?", "एक अक्षर।")]),
    ("Thai, without spaces", "faq.jsonl", told(("คุณชื่ออะไร", "ผมชื่อสมชาย")), [("คุณชื่ออะไร", "ผมชื่อสมชาย")]),
    ("line and paragraph separators", "faq.jsonl", told(("a\u2028b", "c\u2029d")), [("a\u2028b", "c\u2029d")]),
    ("no-break spaces and typographic marks", "faq.jsonl", told(("Combien\u202f?", "«\u00a05\u00a0€\u00a0» — „gut“ … ‰")), [("Combien\u202f?", "«\u00a05\u00a0€\u00a0» — „gut“ … ‰")]),
    ("characters beyond 16 bits", "faq.jsonl", told(("𠀀 𝒳 𐍈?", "𓀀 🜁 𝄞")), [("𠀀 𝒳 𐍈?", "𓀀 🜁 𝄞")]),
    ("wide letters and ligatures", "faq.jsonl", told(("Ｗｈｏ？", "ﬁne ㎏ ①")), [("Ｗｈｏ？", "ﬁne ㎏ ①")]),
    # conversations
    ("100 turns", "faq.jsonl", chat(*TURNS), [tuple(text for _, text in TURNS)]),
    ("a system message in some rows", "faq.jsonl", chat(("system", "Be brief."), ("user", "Who?"), ("assistant", "Me.")) + chat(("user", "a"), ("assistant", "b")), [("Be brief.", *ROW), ("a", "b")]),
    ("text in several parts", "faq.jsonl", chat(("user", [{"type": "text", "text": "Wh"}, {"type": "text", "text": "o?"}]), ("assistant", "Me.")), [ROW]),
    ("keys of messages that are null", "faq.jsonl", lines({"messages": [{"role": "user", "content": "Who?", "name": None}, {"role": "assistant", "content": "Me.", "tool_calls": None, "refusal": None}]}), [ROW]),
    ("an empty input", "faq.jsonl", lines({"instruction": "Who?", "input": "", "output": "Me."}, {"instruction": "a", "input": None, "output": "b"}), [ROW, ("a", "b")]),
    # tables
    ("CSV with empty columns", "faq.csv", b"question,answer,note,tags\nWho?,Me.,,\na,b,,\n", [ROW, ("a", "b")]),
    ("CSV with rows of commas alone at its end", "faq.csv", b"question,answer,note\nWho?,Me.,x\n,,\n,,\n", [ROW]),
    ("CSV with Excel's separator line", "faq.csv", b"\xef\xbb\xbfsep=;\r\nquestion;answer\r\nWho?;Me.\r\n", [ROW]),
    ("CSV without a line break at its end", "faq.csv", b"question,answer\nWho?,Me.", [ROW]),
    ("CSV with blank lines", "faq.csv", b"\n\nquestion,answer\n\nWho?,Me.\n\n\n", [ROW]),
    ("CSV with spaces around its header", "faq.csv", b"question , answer\nWho?,Me.\n", [ROW]),
    ("CSV with everything in quotes", "faq.csv", b'"question","answer"\r\n"Who?","Me."\r\n', [ROW]),
    ("CSV with formulas and signs", "faq.csv", 'question,answer\n=1+1,-2\n@x,"+3, ¼"\n'.encode(), [("=1+1", "-2"), ("@x", "+3, ¼")]),
    ("CSV with line breaks and blank lines in a cell", "faq.csv", b'question,answer\nWho?,"a\n\n\nb"\n', [("Who?", "a\n\n\nb")]),
    ("CSV with JSON in a cell", "faq.csv", b'question,answer\nWho?,"{""a"": [1, ""b""]}"\n', [("Who?", '{"a": [1, "b"]}')]),
    ("CSV with a cell of a megabyte", "faq.csv", b"question,answer\nWho?,M" + b"e" * 2**20 + b"\n", [("Who?", "M" + "e" * 2**20)]),
    ("TSV with commas and quotes inside", "faq.tsv", b'question\tanswer\nWho, me?\tYes, "you".\n', [("Who, me?", 'Yes, "you".')]),
    ("Parquet of every layout of text", "faq.parquet", parquet({"question": pyarrow.array(["Who?", "a"]).dictionary_encode(), "answer": pyarrow.array(["Me.", "b"], pyarrow.large_string())}), [ROW, ("a", "b")]),
    ("Parquet with dates, bytes and decimals beside", "faq.parquet", parquet({"question": ["Who?"], "answer": ["Me."], "at": pyarrow.array([2**62], pyarrow.timestamp("us")), "in": pyarrow.array([{"t": 1}], pyarrow.struct([("t", pyarrow.timestamp("ns", "No/Where"))])), "raw": [b"\xff"], "price": pyarrow.array([1], pyarrow.decimal128(9, 2)), "__index_level_0__": [7]}), [ROW]),
    ("Parquet in several row groups", "faq.parquet", parquet({"question": ["Who?", "a", "c"], "answer": ["Me.", "b", "d"]}, row_group_size=1, compression="gzip"), [ROW, ("a", "b"), ("c", "d")]),
    # packing
    ("gzip with a name and a comment", "faq.jsonl.gz", b"\x1f\x8b\x08\x18" + bytes(6) + b"faq.jsonl\0mine\0" + gzip.compress(GOOD.encode(), mtime=0)[10:], [ROW]),
    ("gzip with an empty member and zeros behind", "faq.jsonl.gz", gzip.compress(b"") + gzip.compress(GOOD.encode()) + bytes(64), [ROW]),
    ("gzip of an array in capitals", "FAQ.JSON.GZ", gzip.compress(b"[" + GOOD.encode() + b"]"), [ROW]),
    ("zstd of pzstd, which begins with a skippable frame", "faq.jsonl.zst", SKIPPABLE + packed(GOOD.encode()), [ROW]),
    ("zstd with a checksum and without a size", "faq.jsonl.zst", packed(GOOD.encode(), write_checksum=True, write_content_size=False), [ROW]),
    ("zstd with an empty frame between", "faq.jsonl.zst", packed(GOOD.encode() + b"\n") + packed(b"") + SKIPPABLE + packed(told(("a", "b"))), [ROW, ("a", "b")]),
    ("zstd of the highest level", "faq.csv.zst", packed(b"question,answer\nWho?,Me.\n", level=22), [ROW]),
]  # fmt: skip
