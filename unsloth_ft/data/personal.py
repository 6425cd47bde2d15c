"""Hints at personal data: addresses of one person, phone numbers, accounts, cards, national numbers. Each is a note, for a person to judge.

A mailbox of a role (support@, info@; RFC 2142) names nobody and passes, and so do the hosts that are kept for manuals.
Numbers count only where their check digits hold, or where they are written as phone numbers are. What is found is not repeated whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .content import Problem

_EMAIL = re.compile(
    r"(?<![\w.+/:@-])([A-Za-z0-9][\w.+-]{0,63})@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.)+[A-Za-z]{2,24})(?![\w@-]|\.\w|/|:\w)", re.ASCII
)
# RFC 2142's mailboxes, what companies call theirs, and what manuals write where the reader's own name belongs.
_ROLES = frozenset(
    """abuse accounting accounts admin administrator alerts api app ask billing booking bookings bot buchhaltung careers ci contact contato
    contacto customer customercare customerservice datenschutz dev devops dpo editor email enquiries example feedback finance foo bar git
    hallo hello help helpdesk hi hilfe hostmaster hr info inquiries invoices it jobs kontakt kundenservice legal list login mail
    mailer-daemon marketing me media name newsletter no-reply noc noreply notifications office operations ops order orders pedidos
    postmaster presse press privacy recipient recruiting registration reply reservations root sales security sender server service services
    shop somebody someone soporte ssh staff subscribe support team tech test ticket tickets ubuntu unsubscribe user user1 user2 username
    verkauf web webmaster welcome you""".split()
)
_PLACEHOLDER_BOX = re.compile(r"your|example|placeholder|my[._-]?e?mail|^name|firstname|lastname|vorname|nachname|test")
# RFC 2606 and 6761, and what manuals write instead; a file's name such as icon@2x.png is no address, nor is a package's git@v1.so.
_EXAMPLE_HOSTS = re.compile(
    r"(?:^|\.)(?:example(?:\.\w+)*|test|invalid|localhost|local|internal)$"
    r"|^(?:your-?\w*|my-?(?:domain|company|server|site)\w*|domain|foo|bar|beispiel|mustermann)\.\w+$"
    r"|\.(?:png|jpe?g|gif|svg|webp|css|js|ts|py|so|service|json|html?)$",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"[0-9][0-9 ()./-]{6,}[0-9]")  # every number below has such a run, but the Italian one

# E.164: a plus and 15 digits at most; separators as in ITU-T E.123. Sets without nesting: no text makes re try twice.
_INTERNATIONAL = re.compile(r"(?<![\w+.=/*^(-])(\+[1-9][0-9 ()./-]{6,24}[0-9])(?![\w-])")
_NORTH_AMERICAN = re.compile(r"(?<![\w+.-])((?:1[ .-])?\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4})(?![\w-])")
_CALLED = re.compile(
    r"(?:\b(?:phone|telephone|mobile|cell|tel|telefon|mobil|handy|fax|whatsapp|t[ée]l[ée]phone|tel[ée]fono|telefone|rufnummer"
    r"|(?:call|reach|text|ring)(?: (?:me|him|her|us))?|ruf(?:en sie)?(?: mich| uns)? an)"
    r"(?: number|nummer)?(?: (?:is|at|on|ist|est|unter))?[:.]?|☎|📞)"
    r" {0,3}(\(?0[0-9 ()./-]{6,20}[0-9]|[2-9][0-9]{2}[ .-][0-9]{3}[ .-][0-9]{4})(?![\w-])",
    re.IGNORECASE,
)
_MOBILE = re.compile(
    r"(?<![\w+./-])(01[567][0-9][ /-]?[0-9]{7,8}|0[67](?: [0-9]{2}){4}|07[0-9]{3} [0-9]{6})(?![\w-])"
)  # German, French, British
_DATE = re.compile(r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}")
# Of no person: 555-0100 to 555-0199, kept for fiction (NANPA), and numbers that are free to call.
_NOBODY = re.compile(r"\+?1?[2-9][0-9]{2}55501[0-9]{2}|(?:\+?1)?8(?:00|33|44|55|66|77|88)[0-9]{7}|(?:\+[0-9]{2}|0)80[0-9]+")

_ACCOUNT = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,3})?\b")  # ISO 13616, in groups of four or in one piece
_CARD = re.compile(r"(?<![\w.+-])(?:[0-9]{4}([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}|3[47][0-9]{2}([ -]?)[0-9]{6}\2[0-9]{5})(?![\w-]|\.[0-9])")
# ISO/IEC 7812 issuers: Visa, Mastercard, American Express, Discover, JCB.
_ISSUER = re.compile(
    r"4[0-9]{15}|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|3[47][0-9]{13}"
    r"|6(?:011|5[0-9]{2})[0-9]{12}|35(?:2[89]|[3-8][0-9])[0-9]{12}"
)
# National numbers with check digits: what it is, stdnum's country and number, how it is written. A plain run of digits needs its name.
_NATIONAL = (
    ("a Brazilian CPF", "br", "cpf", re.compile(r"(?<![\w.-])([0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2})(?![\w-])")),
    (
        "a French social security number", "fr", "nir",
        re.compile(r"(?<![\w.-])([12] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2})(?![\w-])"),
    ),
    ("a Spanish DNI", "es", "dni", re.compile(r"\b(?:DNI|NIF):? ([0-9]{8}-?[A-Z])\b")),
    (
        "a German tax id", "de", "idnr",
        re.compile(
            r"\b(?:Steuer-?ID|IdNr\.?|Identifikationsnummer|tax id):? (?:ist |is |lautet )?([0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3})\b",
            re.IGNORECASE,
        ),
    ),
    ("a Dutch BSN", "nl", "bsn", re.compile(r"\bBSN:? ([0-9]{9})\b")),
)  # fmt: skip
_ITALIAN = ("an Italian codice fiscale", "it", "codicefiscale", re.compile(r"\b([A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z])\b"))
_TELL = "expected no data of a person. Remove or replace it, unless the model may repeat it."


def may_hold(whole: str, long_words: str) -> bool:
    """Whether a row's texts, joined, are worth a search. `long_words`: those of them with 16 characters or more, joined by spaces."""
    return "@" in whole or _DIGITS.search(whole) is not None or _ITALIAN[-1].search(long_words) is not None


def personal_data(text: str, name: str) -> Iterator[Problem]:
    """A note for each kind, at its first place; `name` is what messages call the text."""
    if "@" in text:
        yield from _emails(text, name)
    yield from _national(text, name, _ITALIAN)
    if _DIGITS.search(text):
        yield from _phones(text, name)
        yield from _accounts(text, name)
        yield from _cards(text, name)
        for number in _NATIONAL:
            yield from _national(text, name, number)


def _note(code: str, name: str, what: str, shown: str, place: int) -> Problem:
    return Problem(code, f"{name} holds what looks like {what}, {shown} at character {place + 1}; {_TELL}", "note")


def _emails(text: str, name: str) -> Iterator[Problem]:
    for found in _EMAIL.finditer(text):
        box, host = found[1].casefold(), found[2]
        if box.split("+")[0] in _ROLES or _PLACEHOLDER_BOX.search(box) or _EXAMPLE_HOSTS.search(host):
            continue
        yield _note("email-address", name, "a person's e-mail address", f"{found[1][0]}…@{host}", found.start())
        return


def _phones(text: str, name: str) -> Iterator[Problem]:
    for pattern in (_INTERNATIONAL, _NORTH_AMERICAN, _CALLED, _MOBILE):
        for found in pattern.finditer(text):
            number = found[1]
            if _is_phone(number):
                yield _note("phone-number", name, "a phone number", f"{number[:4]}…{number[-2:]}", found.start(1))
                return


def _is_phone(number: str) -> bool:
    """As many digits as a phone number has, no round number ("+10 000 000"), no decimal, and a person's."""
    digits = re.sub(r"[^0-9+]", "", number)
    long_enough = 9 if number != digits else 11
    if not (8 if digits.startswith("0") else long_enough) <= len(digits.lstrip("+")) <= 15:
        return False
    if re.search(r"000.?000|[ ()./-]{3}", number) or re.fullmatch(r"\+[0-9]+\.[0-9]+", number) or _DATE.search(number):
        return False
    return not _NOBODY.fullmatch(digits)


def _accounts(text: str, name: str) -> Iterator[Problem]:
    for found in _ACCOUNT.finditer(text):
        number = _iban_in(found[0])
        if number:
            yield _note("iban", name, "an IBAN", f"{number[:4]}…{number[-2:]}", found.start())
            return


def _iban_in(text: str) -> str | None:
    """The account number that upper-case words begin with, by its country's form and ISO 7064's check digits."""
    from stdnum import iban

    words = text.split(" ")
    numbers = ("".join(words[:end]) for end in range(len(words), 0, -1))
    return next((number for number in numbers if iban.is_valid(number, check_country=False)), None)


def _cards(text: str, name: str) -> Iterator[Problem]:
    for found in _CARD.finditer(text):
        digits = re.sub(r"[^0-9]", "", found[0])
        if not _ISSUER.fullmatch(digits):
            continue
        from stdnum import luhn

        if luhn.is_valid(digits):
            yield _note("payment-card", name, "a payment card's number", f"{digits[:2]}…{digits[-2:]}", found.start())
            return


def _national(text: str, name: str, number: tuple[str, str, str, re.Pattern[str]]) -> Iterator[Problem]:
    what, country, kind, pattern = number
    found = pattern.search(text)
    if found is None:
        return
    from stdnum.util import get_cc_module

    if get_cc_module(country, kind).is_valid(found[1]):
        yield _note("national-id", name, what, f"{found[1][:2]}…{found[1][-1]}", found.start(1))
