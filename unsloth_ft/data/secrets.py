"""Keys, tokens and passwords in a text, by the formats that those who give them out have published.

A secret in the training data is learned, and a model says what it has learned. What is found is never repeated whole. Examples out of
manuals pass: a key with EXAMPLE, XXXX or "your" in it, one character over and over, jwt.io's first token, `user:password@host`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator

from .content import Problem

# Name of the group in the pattern: what it is. The formats, in this order:
# docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html (AKIA: a user's key, ASIA: a temporary one);
# github.blog/2021-04-05-behind-githubs-new-authentication-token-formats; docs.gitlab.com/security/tokens (prefixes);
# api.slack.com/authentication/token-types; docs.stripe.com/keys; cloud.google.com/docs/authentication/api-keys;
# platform.openai.com and docs.anthropic.com (keys as the consoles show them); huggingface.co/docs/hub/security-tokens;
# docs.npmjs.com/about-access-tokens; pypi.org/help (the macaroon begins so); docs.sendgrid.com (SG., 22 and 43 characters);
# core.telegram.org/bots/features (number:35 characters); docs.digitalocean.com/reference/api; shopify.dev (shpat_, 32 hex);
# docs.docker.com/security/access-tokens (dckr_); console.groq.com (gsk_); developers.google.com/identity/protocols/oauth2 (ya29.);
# learn.microsoft.com/azure/storage (connection strings); RFC 7519 and 7515 (JWT); RFC 7468 (PEM); RFC 3986, 3.2.1 (userinfo).
_FORMATS = {
    "aws": ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "awssecret": ("an AWS secret key", r"(?i:aws_secret_access_key)[\"']?\s{0,3}[=:]\s{0,3}[\"']?[0-9A-Za-z/+]{40}(?![0-9A-Za-z/+=])"),
    "github": ("a GitHub token", r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59})\b"),
    "gitlab": ("a GitLab token", r"\bgl(?:pat|dt|rt|ptt|cbt)-[0-9A-Za-z_-]{20,}"),
    "slack": ("a Slack token", r"\bxox[abeoprs]-[0-9A-Za-z-]{20,}|\bxapp-\d-[0-9A-Za-z-]{20,}"),
    "slackhook": ("a Slack webhook", r"hooks\.slack\.com/services/T[0-9A-Z]{8,}/B[0-9A-Z]{8,}/[0-9A-Za-z]{20,}"),
    "stripe": ("a Stripe key", r"\b(?:[sr]k_(?:live|test)|whsec)_[0-9A-Za-z]{16,}"),
    "google": ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])|\bGOCSPX-[0-9A-Za-z_-]{28}"),
    "anthropic": ("an Anthropic key", r"\bsk-ant-[0-9a-z]+-[0-9A-Za-z_-]{24,}"),
    "openai": (
        "an OpenAI key",
        r"\bsk-(?:(?:proj|svcacct|admin|None)-[0-9A-Za-z_-]{32,}|[0-9A-Za-z]{20}T3BlbkFJ[0-9A-Za-z]{20}\b|[0-9A-Za-z]{32,64}\b)",
    ),
    "huggingface": ("a Hugging Face token", r"\b(?:hf|api_org)_[0-9A-Za-z]{34,}\b"),
    "npm": ("an npm token", r"\bnpm_[0-9A-Za-z]{36}\b"),
    "pypi": ("a PyPI token", r"\bpypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50,}"),
    "sendgrid": ("a SendGrid key", r"\bSG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}"),
    "telegram": ("a Telegram bot token", r"\b\d{8,10}:AA[0-9A-Za-z_-]{32,35}(?![0-9A-Za-z_-])"),
    "digitalocean": ("a DigitalOcean token", r"\bdo[opr]_v1_[0-9a-f]{64}\b"),
    "shopify": ("a Shopify token", r"\bshp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}\b"),
    "docker": ("a Docker token", r"\bdckr_(?:pat|oat)_[0-9A-Za-z_-]{24,}"),
    "groq": ("a Groq key", r"\bgsk_[0-9A-Za-z]{40,}\b"),
    "googleoauth": ("a Google OAuth token", r"\bya29\.[0-9A-Za-z_-]{30,}"),
    "azure": ("an Azure storage key", r"\bAccountKey=[0-9A-Za-z+/]{86}=="),
    "jwt": ("a JSON Web Token", r"\beyJ[0-9A-Za-z_-]{10,400}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{20,}"),
    "pem": (
        "a private key",
        r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY-----(?:\s|\\n)+(?:[A-Z][A-Za-z-]{2,20}: [^\n]*\n\s*)*[0-9A-Za-z+/=]{40,}",
    ),
    "url": ("a password in a URL", r"(?<![\w.+-])[a-z][a-z0-9+.-]{1,20}://[^\s/:@?#\"'<>{}$]{1,64}:[^\s/:@?#\"'<>]{1,200}@[0-9A-Za-z.-]+"),
}  # fmt: skip
_SECRET = re.compile("|".join(f"(?P<{name}>{pattern})" for name, (_, pattern) in _FORMATS.items()))
# One of them is in every text that the formats match.
_MARKS = (
    "AKIA", "ASIA", "SECRET_ACCESS_KEY", "secret_access_key", "gh", "github_pat_", "gl", "xox", "xapp-", "hooks.slack", "_live_", "_test_",
    "whsec_", "AIza", "GOCSPX", "sk-", "hf_", "api_org_", "npm_", "pypi-", "SG.", ":AA", "_v1_", "shp", "AccountKey", "eyJ", "://",
    "dckr_", "gsk_", "ya29.",
)  # fmt: skip


def may_hold(whole: str, long_words: str) -> bool:
    """Whether a row's texts, joined, are worth a search. `long_words`: those of them with 16 characters or more, joined by spaces."""
    if long_words:
        for mark in _MARKS:  # a loop: half the time of any()
            if mark in long_words:
                return True
    return "PRIVATE KEY-----" in whole


_EXAMPLE = re.compile(
    r"example|x{4}|\*{3}|\.{3}|your|placeholder|redacted|dummy|fake|sample|changeme|insert|replace|secret[_-]?key|(.)\1{5}|<|>|\{|\$",
    re.IGNORECASE,
)
_PUBLISHED = ("sk_test_4eC39HqLyjWDarjtT1zdP7dc", "sk_test_BQokikJOvBiI2HlWgH4olfQ2")  # in Stripe's own manual
_LEAST_CHARACTERS = 8  # different ones: AAAABBBB… is nobody's key
_PASSWORD_WORDS = frozenset(
    "password passwd pass pwd passwort secret token key test admin root guest user username hunter2 1234 12345 123456".split()
)
_EXAMPLE_HOSTS = re.compile(
    r"(?:^|\.)(?:example(?:\.(?:com|org|net))?|test|invalid)$|^(?:host|hostname|server|proxy|domain)$", re.IGNORECASE
)  # RFC 2606
_FIRST_SUBJECT = "1234567890"  # of jwt.io's example


def secrets(text: str, name: str) -> Iterator[Problem]:
    """A warning for each kind of secret, at its first place; `name` is what messages call the text."""
    told: set[str] = set()
    for found in _SECRET.finditer(text):
        kind = found.lastgroup
        if kind is None or kind in told or _is_example(kind, found[0]):
            continue
        told.add(kind)
        shown = f"{_shown(kind, found[0])} at character {found.start() + 1}"
        message = f"{name} holds what looks like {_FORMATS[kind][0]}, {shown}; expected no secret, since it would be learned."
        yield Problem("secret", f"{message} Remove it, and revoke it.", "warning")


def _is_example(kind: str, secret: str) -> bool:
    if kind == "url":
        return _example_url(secret)
    if kind == "jwt":
        return _example_token(secret)
    if kind in ("pem", "awssecret"):
        own = secret.rpartition("-----")[2] if kind == "pem" else secret[-40:]
        return len(set(own)) < _LEAST_CHARACTERS or "EXAMPLE" in own
    return bool(_EXAMPLE.search(secret)) or len(set(secret)) < _LEAST_CHARACTERS or secret in _PUBLISHED


def _example_url(url: str) -> bool:
    """A password that says it is one, or that is the user's name; a host kept for examples."""
    userinfo, _, host = url.partition("://")[2].rpartition("@")
    user, _, password = userinfo.partition(":")
    plain = password.casefold()
    if plain == user.casefold() or plain in _PASSWORD_WORDS or _EXAMPLE_HOSTS.search(host):
        return True
    return len(password) < 4 or bool(_EXAMPLE.search(password)) or "pass" in plain or "secret" in plain or plain.startswith(("[", "%", "("))


def _example_token(token: str) -> bool:
    """No JWT after all, or jwt.io's own. What is behind the header may be encrypted, or cut."""
    header, payload = (_object(part) for part in token.split(".")[:2])
    return header is None or "alg" not in header or (payload is not None and payload.get("sub") == _FIRST_SUBJECT)


def _object(part: str) -> dict[str, object] | None:
    """The object in one base64url part of a token."""
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _shown(kind: str, secret: str) -> str:
    """What can be said of it: the public beginning, the name, or the host."""
    if kind == "url":
        scheme, _, rest = secret.partition("://")
        return f"{scheme}://…@{rest.rpartition('@')[2]}"
    if kind == "pem":
        return re.split(r"\s*(?:\n|\\n)", secret, maxsplit=1)[0]
    if kind == "awssecret":
        return f"{secret[:21]}…"
    return f"{secret[:4]}… ({len(secret)} characters)"
