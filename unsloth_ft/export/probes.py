"""Texts and conversations on which an export must give the tokenizer's own ids."""

from __future__ import annotations

from unsloth_ft.chat import Chat
from unsloth_ft.chat_tools import TEMPLATE_ERRORS
from unsloth_ft.data.conversation import Message

# Each is what some tokenizer or converter got wrong once: spaces, digits, contractions, scripts without spaces, joined emoji, marks that
# combine, code, and the bytes of characters that no vocabulary has whole. All are in Unicode's form C, as typed text is.
PROBES = (
    "Hello, world!",
    "The quick brown fox jumps over 13 lazy dogs.",
    "  two leading spaces, two trailing  ",
    "a\n\n\nb\tc\r\nd",
    "naïve café – “quotes” … 50 €",
    "für Öl, ß und Übermut",
    "Здравствуй, мир",
    "你好,世界。今天天气很好。",
    "こんにちは、元気ですか",
    "안녕하세요",
    "مرحبا بالعالم",
    "שלום עולם",
    "🙂👩‍👩‍👧‍👦🇩🇪",
    "3.14159 1,000,000 0x1F 1e-5",
    "def f(x):\n    return {'a': [x ** 2]}  # ok",
    "SELECT * FROM t WHERE a >= 1;",
    "https://example.org/path?q=1&r=%20",
    "don't we'll I've it's",
    "ALLCAPS camelCase snake_case kebab-case",
    "x" * 40,
    "DON'T WE'LL I'VE IT'S",
    "1 12 123 1234 12345 1234567890",
    "no\u00a0break thin\u2009space ideographic\u3000space",
    "trailing newline\n",
    "\n\nleading newlines",
    "tabs\t\tand   runs    of     spaces",
    "a.b,c;d:e!f?g(h)i[j]k{l}m",
    "--- *** === ### ... ???",
    '{"key": [1, 2.5, null], "nested": {"a": "b\\n"}}',
    "<b>bold</b> <!-- comment --> &amp;",
    "\\frac{a}{b} \\sum_{i=0}^{n} x_i^2",
    "C:\\Users\\name\\file.txt /usr/local/bin",
    "user@example.com +49 (0)30 123-456",
    "2026-11-26T12:34:56Z 12:30 pm 25 %",
    "Ελληνικά και πολυτονικό: ᾧ",
    "हिन्दी में नमस्ते",
    "ไทยไม่มีช่องว่าง",
    "Tiếng Việt có dấu",
    "ქართული ენა",
    "አማርኛ",
    "€ £ ¥ ₿ © ® ™ ½ ² ∞ ≠ √",
    "→ ⇒ ↔ ■ ● ★ ✓",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒳 𐍈",
    "👍🏽 ❤️ 🏳️‍🌈",
    "zero\u200bwidth soft\u00adhyphen",
    "١٢٣ ۴۵۶ १२३ ⅷ",
    "O'Brien's rock'n'roll 'quoted' ''double''",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] << 2; }",
    "import numpy as np\n\nclass A:\n\tdef __init__(self):\n\t\tself.x = None",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
)

_TURNS = (
    Message("user", "What is LoRA?"),
    Message("assistant", "A low-rank update."),
    Message("user", "And  QLoRA?\n"),
    Message("assistant", "LoRA on a 4-bit base – 你好."),
    Message("user", 'Why {4} "bits"?'),
)
_SYSTEM = (Message("system", "You answer in one sentence.\nNo {braces}."),)
# One, two and three turns, without and with a system message, each ready for an answer.
CONVERSATIONS = tuple((*system, *_TURNS[:end]) for system in ((), _SYSTEM) for end in (1, 3, 5))


def rendered_probes(chat: Chat) -> list[str]:
    """Each probe as a user's message, ready for an answer.

    Inside a chat, as they will come: a text that stands alone gets a space before it from some tokenizers, and from llama.cpp none.
    """
    return [chat.render(messages, add_generation_prompt=True) for messages in probe_conversations()]


def probe_conversations() -> list[tuple[Message]]:
    return [(Message("user", text),) for text in PROBES]


def rendered_conversations(chat: Chat) -> list[str]:
    """Each conversation as the chat template writes it; one that the template refuses (a system message) is left out."""
    texts = []
    for messages in CONVERSATIONS:
        try:
            texts.append(chat.render(messages, add_generation_prompt=True))
        except TEMPLATE_ERRORS:
            continue
    return texts
