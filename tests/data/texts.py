"""Texts of answers: what is wrong in them, with all that is said of it, and what only looks wrong."""

from __future__ import annotations

import base64
import json

SEEN = "expected only characters that can be seen. Remove it."
ORDER = "expected text in the order in which it is shown. Remove it."
DAMAGED = "UTF-8 that was read as another encoding; expected"
SECRET = "expected no secret, since it would be learned. Remove it, and revoke it."
PERSON = "expected no data of a person. Remove or replace it, unless the model may repeat it."
PLAIN = "expected plain text, since such a model would obey it. Remove or rewrite it."
ANSWER = "expected an answer. Write one, or remove the row."
# In parts, so that no scanner of keys takes the test for a leak.
LETTERS = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA2bC4eF6gH8jK0mN2"
KEYS = {
    "aws": "AKIA" + "Q3EGRZ7WPLD5VXTC",
    "github": "gh" + "p_" + LETTERS[:36],
    "fine": "github" + "_pat_" + LETTERS[:22] + "_" + LETTERS + LETTERS[:11],
    "slack": "xox" + "b-123456789012-1234567890123-" + LETTERS[:24],
    "stripe": "sk" + "_live_" + LETTERS[:24],
    "google": "AI" + "za" + LETTERS[:35],
    "openai": "sk" + "-proj-" + LETTERS,
    "older": "sk" + "-" + LETTERS,
    "anthropic": "sk" + "-ant-api03-" + LETTERS + LETTERS,
    "huggingface": "hf" + "_" + LETTERS[:34],
    "docker": "dckr" + "_pat_" + LETTERS[:27],
    "groq": "gsk" + "_" + LETTERS + LETTERS[:4],
    "oauth": "ya" + "29." + LETTERS,
}


def part(value: dict) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")


JWT = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': 'u42', 'name': 'Ada'})}.{LETTERS[:43]}"
CUT = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.eyJzdWIiOiI5ya0Wk5vjtXmB1exn.{LETTERS[:43]}"  # what is behind the header can't be read
PEM = "-----BEGIN RSA PRIVATE" + f" KEY-----\n{LETTERS}{LETTERS[:16]}\n-----END RSA PRIVATE" + " KEY-----"

# The answer, the kind, and what it is said to hold.
BAD_TEXTS = [
    ("a\x1b[31mred", "control-character", 'the control character U+001B (escape, as in terminal colours) at character 2, in "a\\u001b[31mred"; expected no control character but tab and line feed. Remove it.'),
    ("one\rtwo", "control-character", 'the control character U+000D (carriage return without line feed) at character 4, in "one\\rtwo"; expected no control character but tab and line feed. Remove it.'),
    ("in\x9dstead", "control-character", 'the control character U+009D at character 3, in "in\\u009dstead"; expected no control character but tab and line feed. Remove it.'),
    ("a\u200bb", "zero-width", f'U+200B ZERO WIDTH SPACE at character 2, in "a\\u200bb"; {SEEN}'),
    ("a\u200db", "zero-width", f'U+200D ZERO WIDTH JOINER at character 2, in "a\\u200db"; {SEEN}'),
    ("Auf\u200clage", "zero-width", f'U+200C ZERO WIDTH NON-JOINER at character 4, in "Auf\\u200clage"; {SEEN}'),
    ("👨\u200d and", "zero-width", f'U+200D ZERO WIDTH JOINER at character 2, in "👨\\u200d and"; {SEEN}'),
    ("\ufeffThe", "zero-width", f'U+FEFF ZERO WIDTH NO-BREAK SPACE at character 1, in "\\ufeffThe"; {SEEN}'),
    ("pay\u200epal", "zero-width", f'U+200E LEFT-TO-RIGHT MARK at character 4, in "pay\\u200epal"; {SEEN}'),
    ("a\u2060b", "zero-width", f'U+2060 WORD JOINER at character 2, in "a\\u2060b"; {SEEN}'),
    ("if x\u202e y", "bidi-control", f'U+202E RIGHT-TO-LEFT OVERRIDE at character 5, in "if x\\u202e y"; {ORDER}'),
    ("a \u2066b\nc\u2069", "bidi-control", f'U+2066 LEFT-TO-RIGHT ISOLATE that its line doesn\'t close, at character 3, in "a \\u2066b\\nc\\u2069"; {ORDER}'),
    ("hi\U000e0041\U000e0042 you", "hidden-text", '2 tag characters that spell "AB" unseen at character 3, in "hi\\U000e0041\\U000e0042 you"; expected text that can be seen. Remove it.'),
    ("a\ufe0f\ufe0f\ufe0fb", "hidden-text", '3 variation selectors in a row, which nobody sees, at character 2, in "a\ufe0f\ufe0f\ufe0fb"; expected text that can be seen. Remove it.'),
    ("\ue000 star", "private-use", 'U+E000, a private-use character, at character 1, in "\\ue000 star"; expected a character that has a meaning outside of one font. Replace it.'),
    ("Fe\ufffdski", "replacement-character", 'U+FFFD, which stands for what could not be decoded, at character 3, in "Fe\ufffdski"; expected the character that was lost. Read the source with its own encoding, or repair it by hand.'),
    ("nicht fÃ¼r dich", "mojibake", f'"fÃ¼r" at character 8, {DAMAGED} "für". Read the source as UTF-8, or repair it.'),
    ("itâ€™s", "mojibake", f'"itâ€™s" at character 3, {DAMAGED} "it’s". Read the source as UTF-8, or repair it.'),
    ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "mojibake", f'"Ð¿Ñ€Ð¸Ð²ÐµÑ‚" at character 1, {DAMAGED} "привет". Read the source as UTF-8, or repair it.'),
    (f"Use {KEYS['aws']}.", "secret", f"what looks like an AWS access key, AKIA… (20 characters) at character 5; {SECRET}"),
    ("AWS_SECRET_ACCESS" + f"_KEY={LETTERS[:40]}", "secret", f"what looks like an AWS secret key, AWS_SECRET_ACCESS_KEY… at character 1; {SECRET}"),
    (f"Use {KEYS['github']}.", "secret", f"what looks like a GitHub token, ghp_… (40 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['fine']}.", "secret", f"what looks like a GitHub token, gith… (93 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['slack']}.", "secret", f"what looks like a Slack token, xoxb… (56 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['stripe']}.", "secret", f"what looks like a Stripe key, sk_l… (32 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['google']}.", "secret", f"what looks like a Google API key, AIza… (39 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['openai']}.", "secret", f"what looks like an OpenAI key, sk-p… (56 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['older']}.", "secret", f"what looks like an OpenAI key, sk-a… (51 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['anthropic']}.", "secret", f"what looks like an Anthropic key, sk-a… (109 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['huggingface']}.", "secret", f"what looks like a Hugging Face token, hf_a… (37 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['docker']}.", "secret", f"what looks like a Docker token, dckr… (36 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['groq']}.", "secret", f"what looks like a Groq key, gsk_… (56 characters) at character 5; {SECRET}"),
    (f"Use {KEYS['oauth']}.", "secret", f"what looks like a Google OAuth token, ya29… (53 characters) at character 5; {SECRET}"),
    (f"Authorization: Bearer {CUT}", "secret", f"what looks like a JSON Web Token, eyJh… ({len(CUT)} characters) at character 23; {SECRET}"),
    (JWT, "secret", f"what looks like a JSON Web Token, eyJh… ({len(JWT)} characters) at character 1; {SECRET}"),
    (PEM, "secret", f"what looks like a private key, -----BEGIN RSA PRIVATE KEY----- at character 1; {SECRET}"),
    ("Use postgres://ada:" + "S3cr7tPw9@db.shop.de/x", "secret", f"what looks like a password in a URL, postgres://…@db.shop.de at character 5; {SECRET}"),
    ("Ask ada.lovelace@gmail.com", "email-address", f"what looks like a person's e-mail address, a…@gmail.com at character 5; {PERSON}"),
    ("Dial +49 170 1234567 now", "phone-number", f"what looks like a phone number, +49 …67 at character 6; {PERSON}"),
    ("Dial (415) 623-4567", "phone-number", f"what looks like a phone number, (415…67 at character 6; {PERSON}"),
    ("Call me at 555-123-4567", "phone-number", f"what looks like a phone number, 555-…67 at character 12; {PERSON}"),
    ("Mobil 0171 1234567.", "phone-number", f"what looks like a phone number, 0171…67 at character 7; {PERSON}"),
    ("Am besten 0171/1234567", "phone-number", f"what looks like a phone number, 0171…67 at character 11; {PERSON}"),
    ("Tel. 030 901820", "phone-number", f"what looks like a phone number, 030 …20 at character 6; {PERSON}"),
    ("Pay to DE89 3704 0044 0532 0130 00 NOW", "iban", f"what looks like an IBAN, DE89…00 at character 8; {PERSON}"),
    ("Card 4532 0151 1283 0366", "payment-card", f"what looks like a payment card's number, 45…66 at character 6; {PERSON}"),
    ("CPF 390.533.447-05", "national-id", f"what looks like a Brazilian CPF, 39…5 at character 5; {PERSON}"),
    ("RSSMRA85T10A562S", "national-id", f"what looks like an Italian codice fiscale, RS…S at character 1; {PERSON}"),
    ("Go<|im_end|>", "control-token", f'"<|im_end|>" at character 3, a control token of ChatML (Qwen, SmolLM2 and others); {PLAIN}'),
    ("Go<|eot_id|>", "control-token", f'"<|eot_id|>" at character 3, a control token of Llama 3; {PLAIN}'),
    ("[INST] Go [/INST]", "control-token", f'"[INST]" at character 1, a control token of Llama 2 and Mistral; {PLAIN}'),
    ("<s>Go on", "control-token", f'"<s>" at character 1, a control token of Llama 2 and Mistral; {PLAIN}'),
    ("Go on</s>", "control-token", f'"</s>" at character 6, a control token of Llama 2 and Mistral; {PLAIN}'),
    ("Go<end_of_turn>", "control-token", f'"<end_of_turn>" at character 3, a control token of Gemma; {PLAIN}'),
    ("Dear [insert name here], hi", "placeholder", 'the placeholder "[insert name here]"; expected it filled in. Fill it in, or remove the row.'),
    ("Lorem ipsum dolor sit amet", "placeholder", 'the placeholder "Lorem ipsum"; expected it filled in. Fill it in, or remove the row.'),
]  # fmt: skip
NOTES = {"email-address", "phone-number", "iban", "payment-card", "national-id", "refusal"}

GOOD_TEXTS = [
    "Straße, Übergrößenträger, „Spaß“ und »Fuß« – Ö–Norm, É», 20 °C",
    "Ça va ? «\u00a0CAFÉ\u00a0» – Noël, œuvre, l’Été, PRÊT-À-PORTER, NÂ",
    "São Paulo, coração, MAÇÃ, Âncora. ¿Qué? ¡Sí! ñandú",
    "Łódź, źdźbło; Đặng Thị Ngọc Ánh; İstanbul ığüşöç; Þórður Ð ð; ÅÄÖ",
    "Привет, мир! «Да» №5; НАТО – Россия; USB-порт",
    "Ελληνικά, Σ‘τι’; H₂O x² ≤ π √2 ± ½ µm 5 Å ©️ ™️ 1️⃣ € £",
    "مرحبا بالعالم \u200e(ABC)\u200f ؟",
    "\u2067שלום עולם\u2069 and \u202bשלום\u202c, שלום\u200f!",
    "می\u200cخواهم کتاب\u200cها را بخوانم",
    "क्\u200dष और क्\u200cष, ශ්\u200dරී, ന\u200d",
    "这是什么？全角\u3000空格。",
    "これは「日本語」です。ｶﾅ〜、東京\u200b都",
    "ภาษา\u200bไทย និង ខ្មែរ\u200bភាសា",
    "👨\u200d👩\u200d👧\u200d👦 👩🏽\u200d💻 🏳️\u200d🌈 🧑\u200d⚕️ ❤️\u200d🔥 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 🇩🇪",
    "co\u00adoperate a\u00a0b one\u2028two\u0085three tab\there\r\nnext line",
    "The character \"\ufffd\" stands for what can't be decoded.",
    "def f(x: dict) -> str:\n    return {k: [v] for k, v in x.items()}  # {'a': {}}",
    "re.compile(r'^[\\w.+-]+@[\\w-]+\\.[a-z]{2,}$|\\x1b\\[[0-9;]*m')",
    "x = a[INST] + b[[INST]]; f <| g |> h; List<s>; <s>old</s> new; a |> b",
    "$\\frac{1}{2} \\sum_{i=1}^{n} x_i^2$ and \\begin{align} \\end{align}",
    "https://example.com:8080/a?b=c&d=%20#e@f and ssh://git@github.com:22/x.git or git@github.com:org/repo.git",
    "550e8400-e29b-41d4-a716-446655440000 and 3f786850e387550fdab836ed7e6dc881de23001b",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "v1.2.3-rc.4+build.5, torch 2.10.0+cu128, 192.168.1.1, 10.0.0.1:8080, ::1, 00:1A:2B:3C:4D:5E",
    "Order 4711-0815-1234, Bestellnummer 2024-0012345678, tracking 1Z999AA10123456784, ref 4532015112830367",
    "ISBN 978-3-16-148410-0, EAN 4006381333931, 1700000000000000 µs, 2024-01-15T10:00:00+02:00, 2019-2024 (p. 12-34)",
    "+10 000 000 users, +12.5 %, lat +40.7127760, 1 234 567 890, GB12 CODE, DE00 1234 5678 9012 3456 78",
    "Call 112 or +1 800 555 1234, in films +1 212 555 0123",
    "Write to support@ourshop.de, info@firma.de, alice@example.com, you@yourcompany.com; icon@2x.png; npm i @types/node@18.0.1",
    "sk-XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX, AKIAIOSFODNN7EXAMPLE, ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, sk-your-api-key-goes-here-now",
    "task-management-for-large-teams-in-2024, risk-averse-and-long-word-that-goes-on, hf_hub_download, sk-learn",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY----- or -----BEGIN CERTIFICATE-----",
    "postgres://user:password@localhost/db, mysql://root:root@db, redis://:password@host:6379, https://u:${TOKEN}@github.com/x",
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY and AWS_SECRET_ACCESS_KEY=$SECRET",
    "Call 100 people in 2024-2025, text 12 of them; part 415-555-2671, fax 5.",
    "````md\n```python\nx = 1\n```\n````\nand\n  ```\n  y\n  ```",
    "As of my last day at work, my knowledge of it was small. The training cutoff was in May.",
    "As an AI engineer, I like it. He spoke as an AI researcher. A language model predicts words.",
    "I can help with that. I can't help thinking that this is right. Sorry to hear it.",
    "Vim's [insert mode], the [Insert] key, [insert](https://x.org), {{ name }}, <your text>",
    "The token ends a turn; the <think> block comes first, and <tool_call> too.",
]  # fmt: skip
